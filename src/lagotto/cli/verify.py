"""The checks of ``lagotto models verify``: from readable files to a forward pass that gives what it should."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.tokenizer import Tokenizer
from lagotto.cards.card_file import chosen_card
from lagotto.cards.checkpoint import Checkpoint, open_checkpoint
from lagotto.cards.folder import FolderFacts, read_folder
from lagotto.cards.llm_rerankers import is_llm_reranker
from lagotto.cards.model_config import hidden_size
from lagotto.cards.registry import find_card
from lagotto.cards.schema import ModelCard, Task
from lagotto.cards.starter import RECORD, verify_starter
from lagotto.cards.weights import Weights
from lagotto.core.arrays import normalize, sigmoid
from lagotto.core.errors import LagottoError
from lagotto.models.embedder import Embedder
from lagotto.models.finding import find_source
from lagotto.models.loading import Options
from lagotto.models.opening import open_any
from lagotto.models.reranker import Reranker

LEAST_COSINE = 0.999
"""Between vectors that should be the same: alone and in a batch, float32 and another precision."""
LARGEST_GAP = 0.02
"""Between scores (0 to 1) that should be the same."""

_QUERY = "what is a panda?"
_TEXTS = (
    "panda",
    "The giant panda is a bear that lives in the mountains of central China.",
    "熊猫是生活在中国山区的一种熊。",
    "Retrieval finds the passages that answer a question. " * 12,
    "a",
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str


def checks(name: str, options: Options) -> Iterator[Check]:
    """Every check, as it is done; one that the later ones rest on ends them when it fails."""
    step = "files"
    try:
        source, adapter = find_source(name, options, options.places())
        facts = read_folder(source.folder)
        yield Check(step, True, str(source.folder))
        if (source.folder / RECORD).is_file():
            yield _check("sha256", verify_starter(source.folder), "every file is as it was converted")
        step = "config"
        listed = chosen_card(options.card) if options.card else source.row
        prompted = listed is not None and is_llm_reranker(listed)  # of which the folder itself says nothing
        task: Task = "rerank" if facts.reranker or prompted or (adapter and adapter.scores) else "embed"
        checkpoint = open_checkpoint(source, task, card=options.card, pooling=options.pooling, adapter=adapter)
        yield Check(step, True, f"{checkpoint.config.architecture}, {checkpoint.max_length} tokens")
        if (int8 := checkpoint.quantized) is not None:
            yield Check("int8", int8.accepted, int8.verdict)
        named = int8.card if int8 and not options.card else None
        yield _card(find_card(named) if named else listed, facts)
        step = "tokenizer"
        yield Check(step, True, _tokenizer(checkpoint))
        step = "weights"
        yield _weights(checkpoint)
        step = "forward"
        yield from _forward(name, options)
    except (LagottoError, OSError) as error:
        yield Check(step, False, " ".join(str(error).split()))


def _check(name: str, problems: Sequence[str], fine: str) -> Check:
    return Check(name, not problems, "; ".join(problems) or fine)


def _card(row: ModelCard | None, facts: FolderFacts) -> Check:
    """Where both the listed card and the folder say something, they must say the same."""
    if row is None:
        return Check("card", True, "not a listed name; the folder's own files are used")
    problems = [
        f"{what} is {theirs} in the folder, {ours} on the card of {row.name}"
        for what, theirs, ours in _claims(facts, row)
        if theirs is not None and theirs != ours
    ]
    return _check("card", problems, f"agrees with the card of {row.name}")


def _claims(facts: FolderFacts, row: ModelCard) -> Iterator[tuple[str, object, object]]:
    yield "architecture", facts.config.get("model_type"), row.architecture
    if not is_llm_reranker(row):
        yield "task", "rerank" if facts.reranker else "embed", row.task
    yield "max_length", facts.max_length, row.max_length
    if row.task == "embed":
        if "dense" in row.heads:
            width = facts.dense[-1].out_features if facts.dense else hidden_size(facts.config)
            yield "dimension", width, row.dimension
        yield "pooling", facts.pooling, row.pooling
        yield "normalize", facts.normalize, row.normalize
        yield "query prompt", facts.prompts.get("query") or None, "".join(row.query.around())


def _tokenizer(checkpoint: Checkpoint) -> str:
    config = checkpoint.config
    path = checkpoint.folder / "tokenizer.json"
    tokenizer = Tokenizer(path, config.pad_token_id, vocab_size=config.vocab_size, lowercase=checkpoint.lowercase)
    tokens = tokenizer.encode(_TEXTS, checkpoint.max_length).lengths()
    return f"{config.vocab_size} embeddings, the test texts have {', '.join(map(str, tokens))} tokens"


def _weights(checkpoint: Checkpoint) -> Check:
    problems, tensors, numbers = [], 0, 0
    for folder in checkpoint.weight_folders:
        weights = Weights.open(folder)
        for name, values in weights.items():
            tensors, numbers = tensors + 1, numbers + values.size
            if not np.isfinite(values).all():
                problems.append(f"{name} holds {np.count_nonzero(~np.isfinite(values))} numbers that are not finite")
    return _check("weights", problems, f"{tensors} tensors, {numbers:,} numbers, all finite")


def _forward(name: str, options: Options) -> Iterator[Check]:
    """The chosen precision against itself (alone, in a batch) and against float32.

    int8 weights have no float32 beside them: they were compared with it when they were made.
    """
    with open_any(name, options) as model:
        precision = model.engine.precision
        together = _values(model, _TEXTS)
        alone = np.concatenate([_values(model, [text]) for text in _TEXTS])
        yield _compare(precision, together, alone, "alone and in a batch", isinstance(model, Reranker))
    if precision in ("f32", "int8"):
        return
    with open_any(name, replace(options, precision="f32")) as model:
        exact = _values(model, _TEXTS)
        alone = np.concatenate([_values(model, [text]) for text in _TEXTS])
        yield _compare("f32", exact, alone, "alone and in a batch", isinstance(model, Reranker))
        yield _compare(precision, together, exact, f"{precision} and f32", isinstance(model, Reranker))


def _values(model: Embedder | Reranker, texts: Sequence[str]) -> NDArray[np.float32]:
    """(texts, dimension) unit vectors, or (texts, 1) scores in 0..1.

    Of a model without dense vectors: its weights as rows over the vocabulary, or the mean of a text's token vectors.
    """
    if isinstance(model, Embedder):
        found = model.encode(texts)
        if found.sparse is not None:
            rows = np.zeros((len(texts), found.sparse.vocabulary), np.float32)
            for row in range(len(texts)):
                ids, weights = found.sparse.row(row)
                rows[row, ids] = weights
            return normalize(rows)
        if found.multivector is not None:
            return normalize(np.stack([vectors.mean(axis=0) for vectors in found.multivector]))
        return normalize(found.dense)
    return sigmoid(model.score([(_QUERY, text) for text in texts]).scores)[:, None]


def _compare(precision: str, one: NDArray[np.float32], other: NDArray[np.float32], what: str, scores: bool) -> Check:
    name = f"forward {precision}"
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return Check(name, False, "gives numbers that are not finite")
    if scores:
        gap = float(np.abs(one - other).max())
        return Check(name, gap <= LARGEST_GAP, f"{what}: scores differ by {gap:.6f} at most ({LARGEST_GAP} allowed)")
    cosine = float((one * other).sum(axis=1).min())
    return Check(name, cosine >= LEAST_COSINE, f"{what}: least cosine {cosine:.6f} ({LEAST_COSINE} needed)")
