"""What an embedder gives of each text: which outputs exist, and how they come from an engine's values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.sequences import Sequences
from lagotto.batch.special_tokens import special_ids
from lagotto.cards.checkpoint import Checkpoint
from lagotto.cards.hubs import MULTI_VECTOR_FILES, SPARSE_FILES
from lagotto.cards.splade import is_splade
from lagotto.core.errors import InvalidInputError, UnsupportedModelError
from lagotto.core.values import Embeddings
from lagotto.heads.similarity import lexical_matching, max_sim_matrix
from lagotto.heads.tokens import Linear, MultiVectorHead, SparseHead, find_head, require_head
from lagotto.models.collectors import DenseOutputs, TokenHeads, TokenOutputs, TokenValues, VocabularyOutputs
from lagotto.models.loading import Loaded
from lagotto.models.pipeline import Collector

OutputName = Literal["dense", "sparse", "multivector"]
"""What can be asked of an embedder; see `Embeddings`."""
DENSE: tuple[OutputName, ...] = ("dense",)
"""For callers that need dense vectors: a model without them refuses."""


def outputs_of(checkpoint: Checkpoint) -> tuple[OutputName, ...]:
    """What a model can give. BGE-M3 and its like give what they have files for beside their dense vector."""
    if checkpoint.colbert is not None:
        return ("multivector",)
    if is_splade(checkpoint.card.pooling):
        return ("sparse",)
    heads: tuple[tuple[OutputName, Sequence[str]], ...] = (
        ("sparse", SPARSE_FILES),
        ("multivector", MULTI_VECTOR_FILES),
    )
    found = [name for name, files in heads if not checkpoint.dense and find_head(checkpoint.folder, files)]
    return ("dense", *found)


def chosen_outputs(asked: Collection[str] | None, own: Collection[str], name: str) -> frozenset[str]:
    """What a call wants: where it does not say, the dense vector of a model that has one, else all that is its ``own``.

    Raises `InvalidInputError` for an unknown output, none, or one that such a model never has. A head that only its
    file is missing for is named when it is read.
    """
    if asked is None:
        return frozenset(DENSE if "dense" in own else own)
    allowed = get_args(OutputName)
    if isinstance(asked, str):
        raise InvalidInputError(f"outputs is {asked!r}; give a collection, as outputs={{{asked!r}}}")
    unknown = sorted(str(name) for name in asked if name not in allowed)
    if unknown or not asked:
        raise InvalidInputError(f"outputs are {unknown or 'none'}; allowed are {', '.join(allowed)}, at least one")
    absent = sorted(set(asked) - set(own))
    if absent and "dense" not in own:
        raise InvalidInputError(f"{name} gives {' and '.join(own)} output, not {' and '.join(absent)}", param="outputs")
    return frozenset(asked)


def require_dense(outputs: Collection[str], name: str) -> None:
    """Raise `InvalidInputError` for a model that gives no dense vector."""
    if "dense" not in outputs:
        raise InvalidInputError(
            f"{name} gives no dense vectors, only {' and '.join(outputs)} output; ask Embedder.encode for that, or "
            "take a model with dense vectors",
            param="model",
        )


def shape_of(loaded: Loaded) -> str:
    """What a model gives, for a repr."""
    card, width = loaded.checkpoint.card, loaded.engine.info.output
    if loaded.checkpoint.colbert is not None:
        return "a vector a token"
    if is_splade(card.pooling):
        return f"{card.pooling} pooling, weights of {width} vocabulary entries"
    return f"{card.pooling} pooling, {width} dimensions"


def token_scores(queries: object, documents: object) -> NDArray[np.float32]:
    """(queries, documents) scores of values without dense vectors: by their weights, else by their token vectors.

    Raises `InvalidInputError` for values that have not the same output.
    """
    if isinstance(queries, Embeddings) and isinstance(documents, Embeddings):
        if queries.sparse is not None and documents.sparse is not None:
            return lexical_matching(queries.sparse, documents.sparse)
        if queries.multivector is not None and documents.multivector is not None:
            return max_sim_matrix(queries.multivector, documents.multivector)
    raise InvalidInputError("a model without dense vectors compares what its own encode methods give; give both sides")


class HeadReader:
    """The heads of one model; their files are read when they are first asked for, and once."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._known: dict[tuple[frozenset[str], frozenset[int]], TokenHeads] = {}

    def collector(
        self, outputs: frozenset[str], dropped: frozenset[int], *, several_cls: bool
    ) -> Callable[[Sequences], Collector[TokenValues]]:
        """What makes the collector of a chunk, for these outputs.

        Tokens with the ids ``dropped`` get no vector of their own; ``several_cls``: texts may have more than one CLS
        token, whose mean is the dense vector. Raises `ModelNotFoundError` that names a missing head, `CheckpointError`
        for one that does not fit.
        """
        loaded, width = self._loaded, self._loaded.engine.info.output
        if outputs == {"dense"} and not several_cls:
            return lambda sequences: DenseOutputs(len(sequences), width)
        if is_splade(loaded.checkpoint.card.pooling):
            return lambda sequences: VocabularyOutputs(len(sequences), width)
        key = (outputs, dropped)
        if key not in self._known:
            self._known[key] = _open_heads(loaded, outputs, dropped)
        heads = self._known[key]
        return lambda sequences: TokenOutputs(sequences, heads)


def _open_heads(loaded: Loaded, outputs: frozenset[str], dropped: frozenset[int]) -> TokenHeads:
    checkpoint = loaded.checkpoint
    config = checkpoint.config
    if checkpoint.dense:
        raise UnsupportedModelError(
            f"{checkpoint.name} has Dense modules; sparse and multi-vector output have none, "
            "nor have the means of several CLS tokens"
        )
    sparse, multi = None, None
    if "sparse" in outputs:
        linear = _linear(checkpoint, SPARSE_FILES, "sparse")
        sparse = SparseHead(linear, special_ids(checkpoint.folder, loaded.tokenizer))
    if "multivector" in outputs:
        if checkpoint.colbert is None:
            multi = MultiVectorHead(_linear(checkpoint, MULTI_VECTOR_FILES, "multi-vector"), first=1)
        else:
            multi = MultiVectorHead(_projection(checkpoint), first=0, dropped=dropped)
    pooling = checkpoint.card.pooling if "dense" in outputs else None
    return TokenHeads(pooling, sparse, multi, config.vocab_size, config.hidden_size)


def _linear(checkpoint: Checkpoint, names: Sequence[str], what: str) -> Linear:
    return Linear.read(require_head(checkpoint.folder, names, what), checkpoint.config.hidden_size)


def _projection(checkpoint: Checkpoint) -> Linear:
    """A ColBERT model's projection; layers one after another, nothing between them, are one layer."""
    assert checkpoint.colbert is not None
    first, *rest = checkpoint.colbert.projections
    linear = Linear.of_folder(first, checkpoint.config.hidden_size)
    for folder in rest:
        linear = linear.then(Linear.of_folder(folder, len(linear.bias)))
    return linear
