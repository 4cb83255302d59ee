"""`Embedder`: texts to vectors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.sequences import Sequences
from lagotto.batch.tokenizer import Truncation, check_truncation
from lagotto.cards.schema import ModelCard, Pooling, PromptTemplate
from lagotto.core.arrays import check_dimensions, normalize, shorten
from lagotto.core.errors import InvalidInputError
from lagotto.core.token_values import MultiVectors, SparseVectors
from lagotto.core.values import Embeddings
from lagotto.engines.base import EngineInfo
from lagotto.models.inputs import checked_ids, checked_texts
from lagotto.models.loading import Options, load
from lagotto.models.pipeline import Pooled, chunks, run
from lagotto.models.progress import Progress, progress_of
from lagotto.models.token_outputs import DENSE, HeadReader, OutputName, TokenOutputs, check_outputs

Role = Literal["text", "query", "document"]
"""What a text is: read as it stands, or written as the card says for one side of a search."""


class Embedder:
    """A text embedding model.

    >>> model = Embedder("BAAI/bge-base-en-v1.5")                                          # doctest: +SKIP
    >>> model.encode(["I love NLP", "I love BGE"]).dense.shape                             # doctest: +SKIP
    (2, 768)

    ``model`` is a folder, a hub id ``ORG/NAME[@REVISION]`` or ``starter:NAME``. Thread-safe: one model serves any
    number of threads, and asyncio through ``asyncio.to_thread``.

    - ``device``: ``"auto"`` or ``"cpu"``. ``precision``: ``"auto"`` (bf16 where the CPU has it in hardware, else
      f32), ``"f32"``, ``"bf16"``. ``threads``: all the container allows by default.
    - ``max_length``: tokens a text may have, special tokens included; the model's own limit by default.
      ``truncation``: what happens to a longer one, ``"right"`` (cut the end), ``"left"`` or ``"error"``.
    - ``card``: the listed model a folder was made from. ``pooling``: how to pool, where the folder does not say.
    - ``cache_dir``: converted starter models and compiled graphs (``$LAGOTTO_CACHE``). ``models_dir``: a folder of
      downloaded models, looked at before any hub (``$LAGOTTO_MODELS``). ``offline``: never connect. ``hub``:
      ``"huggingface"`` or ``"modelscope"``, whose own cache is used unless ``hub_cache_dir`` names another folder.

    Raises `ModelNotFoundError`, `UnsupportedModelError`, `CheckpointError`, `InvalidInputError`.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        max_length: int | None = None,
        truncation: Truncation = "right",
        revision: str | None = None,
        card: str | None = None,
        pooling: Pooling | None = None,
        cache_dir: str | Path | None = None,
        models_dir: str | Path | None = None,
        offline: bool = False,
        hub: str | None = None,
        hub_cache_dir: str | Path | None = None,
    ) -> None:
        options = Options(
            device=device,
            precision=precision,
            threads=threads,
            max_length=max_length,
            truncation=truncation,
            revision=revision,
            card=card,
            pooling=pooling,
            cache_dir=cache_dir,
            models_dir=models_dir,
            offline=offline,
            hub=hub,
            hub_cache_dir=hub_cache_dir,
        )
        self._loaded = load(model, "embed", options)
        self._heads = HeadReader(self._loaded)

    @property
    def name(self) -> str:
        """The name it was opened by."""
        return self._loaded.checkpoint.name

    @property
    def card(self) -> ModelCard:
        """What the model is: pooling, prompts, lengths, dimensions."""
        return self._loaded.checkpoint.card

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self.engine.output

    @property
    def max_length(self) -> int:
        """Tokens a text may have, special tokens included."""
        return self._loaded.max_length

    @property
    def truncation(self) -> Truncation:
        """What happens to a longer text unless a call says otherwise."""
        return self._loaded.truncation

    @property
    def engine(self) -> EngineInfo:
        """What computes: engine, device, precision, threads."""
        return self._loaded.engine.info

    @property
    def fingerprint(self) -> str:
        """32 hex digits over weights, tokenizer, pooling, prompts and precision: equal means equal vectors."""
        return self._loaded.fingerprint

    def encode(
        self,
        texts: str | Iterable[str],
        *,
        prompt: str | None = None,
        instruction: str | None = None,
        dimensions: int | None = None,
        normalize: bool | None = None,
        max_length: int | None = None,
        truncation: Truncation | None = None,
        outputs: Collection[OutputName] = DENSE,
        progress: Progress = False,
    ) -> Embeddings:
        """Vectors of texts as they are: no prompt is added unless asked for (or the checkpoint names a default one).

        - ``texts``: a string (one row), or any iterable of strings; none gives (0, dimension).
        - ``prompt``: put before every text as it stands. ``instruction``: put in by the card's query template.
        - ``dimensions``: keep the first so many numbers (Matryoshka), then normalise.
        - ``normalize``: L2-normalise; the model's own habit by default. ``progress``: True shows a bar.
        - ``outputs``: any of ``"dense"``, ``"sparse"``, ``"multivector"``, all from one pass (BGE-M3 and its like).
          When token outputs are first asked for, the graph is compiled anew, which takes some seconds once.

        Raises `InvalidInputError` (with the number of the bad text), `TextTooLongError`, `ClosedError`.
        """
        render = self._renderer("text", prompt, instruction)
        return self._collect(texts, render, _Wanted(dimensions, normalize, outputs), max_length, truncation, progress)

    def encode_queries(
        self,
        queries: str | Iterable[str],
        *,
        prompt: str | None = None,
        instruction: str | None = None,
        dimensions: int | None = None,
        normalize: bool | None = None,
        max_length: int | None = None,
        truncation: Truncation | None = None,
        outputs: Collection[OutputName] = DENSE,
        progress: Progress = False,
    ) -> Embeddings:
        """Vectors of search queries, written as the model's card says: its instruction, or yours, in its template."""
        render = self._renderer("query", prompt, instruction)
        return self._collect(queries, render, _Wanted(dimensions, normalize, outputs), max_length, truncation, progress)

    def encode_documents(
        self,
        documents: str | Iterable[str],
        *,
        prompt: str | None = None,
        instruction: str | None = None,
        dimensions: int | None = None,
        normalize: bool | None = None,
        max_length: int | None = None,
        truncation: Truncation | None = None,
        outputs: Collection[OutputName] = DENSE,
        progress: Progress = False,
    ) -> Embeddings:
        """Vectors of documents (passages), written as the model's card says."""
        render = self._renderer("document", prompt, instruction)
        return self._collect(
            documents, render, _Wanted(dimensions, normalize, outputs), max_length, truncation, progress
        )

    def encode_ids(
        self,
        inputs: Iterable[Sequence[int]],
        *,
        dimensions: int | None = None,
        normalize: bool | None = None,
        max_length: int | None = None,
        truncation: Truncation | None = None,
    ) -> Embeddings:
        """Vectors of token ids of this model's own tokenizer; special tokens are added unless they are there."""
        loaded = self._loaded
        limit, policy = loaded.limit(max_length), self._policy(truncation)
        wanted = _Wanted(dimensions, normalize)
        compute = self._computer(wanted)
        encoded = (
            loaded.tokenizer.encode_ids(chunk, limit, policy, start=start)
            for start, chunk in chunks(checked_ids(inputs), len)
        )
        return Embeddings.concatenate(list(compute(encoded, None)) or [self._nothing(wanted)], self.dimension)

    def stream(
        self,
        texts: Iterable[str],
        *,
        role: Role = "text",
        prompt: str | None = None,
        instruction: str | None = None,
        dimensions: int | None = None,
        normalize: bool | None = None,
        max_length: int | None = None,
        truncation: Truncation | None = None,
        outputs: Collection[OutputName] = DENSE,
        progress: Progress = False,
    ) -> Iterator[Embeddings]:
        """As `encode` (or `encode_queries`, `encode_documents`, by ``role``), part by part, for any length of corpus.

        The iterable is read only as far as needed, whatever its length. Stopping early costs nothing.
        """
        render = self._renderer(role, prompt, instruction)
        return self._stream(texts, render, _Wanted(dimensions, normalize, outputs), max_length, truncation, progress)

    def decode_tokens(self, weights: Mapping[int, float]) -> dict[str, float]:
        """Sparse weights by the token's text instead of its id; of two ids with one text the larger weight counts."""
        found: dict[str, float] = {}
        for number, weight in weights.items():
            text = self._loaded.tokenizer.decode([number])
            found[text] = max(weight, found.get(text, weight))
        return found

    def similarity(
        self, queries: Embeddings | NDArray[np.float32], documents: Embeddings | NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """(queries, documents) similarities: the cosine, or the inner product for a model that does not normalise."""
        a, b = (np.atleast_2d(np.asarray(x, np.float32)) for x in (queries, documents))
        if a.shape[1] != b.shape[1]:
            raise InvalidInputError(f"vectors of {a.shape[1]} and {b.shape[1]} dimensions can't be compared")
        if self.card.normalize:
            a, b = normalize(a), normalize(b)
        out: NDArray[np.float32] = a @ b.T
        return out

    def close(self) -> None:
        """Finish what was started and free the weights; later calls raise `ClosedError`."""
        self._loaded.engine.close()

    def __enter__(self) -> Embedder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        shape = f"{self.card.pooling} pooling, {self.dimension} dimensions"
        return f"Embedder({self.name!r}: {shape}, {self._loaded.describe()})"

    def _renderer(self, role: Role, prompt: str | None, instruction: str | None) -> Callable[[str], str]:
        """How a text is written: a literal prompt, an instruction in the role's template, or the role's default."""
        if role not in get_args(Role):
            raise InvalidInputError(f"role is {role!r}; allowed are {', '.join(get_args(Role))}")
        if prompt is not None and instruction is not None:
            raise InvalidInputError(
                "give prompt= (put before the text as it stands) or instruction= (put in by the template)"
            )
        for name, value in (("prompt", prompt), ("instruction", instruction)):
            if value is not None and not isinstance(value, str):
                raise InvalidInputError(f"{name} is a {type(value).__name__}; give a string")
        if prompt is not None:
            return lambda text: prompt + text
        template = self.card.document if role == "document" else self.card.query
        if role == "text" and instruction is None:
            return PromptTemplate(self._loaded.checkpoint.default_prompt).render
        return lambda text: template.render(text, instruction)

    def _policy(self, truncation: Truncation | None) -> Truncation:
        chosen = self._loaded.truncation if truncation is None else truncation
        check_truncation(chosen)
        return chosen

    def _collect(
        self,
        texts: str | Iterable[str],
        render: Callable[[str], str],
        wanted: _Wanted,
        max_length: int | None,
        truncation: Truncation | None,
        progress: Progress,
    ) -> Embeddings:
        parts = list(self._stream(texts, render, wanted, max_length, truncation, progress))
        return Embeddings.concatenate(parts or [self._nothing(wanted)], self.dimension)

    def _stream(
        self,
        texts: str | Iterable[str],
        render: Callable[[str], str],
        wanted: _Wanted,
        max_length: int | None,
        truncation: Truncation | None,
        progress: Progress,
    ) -> Iterator[Embeddings]:
        loaded = self._loaded
        limit, policy = loaded.limit(max_length), self._policy(truncation)
        compute = self._computer(wanted)

        def encoded() -> Iterator[Sequences]:
            for start, chunk in chunks(checked_texts(texts), len):
                yield loaded.tokenizer.encode([render(text) for text in chunk], limit, policy, start=start)

        def parts() -> Iterator[Embeddings]:
            with progress_of(progress, [texts] if isinstance(texts, str) else texts, "text") as done:
                yield from compute(encoded(), done)

        return parts()

    def _computer(self, wanted: _Wanted) -> _Compute:
        """The function that turns sequences into values; all that can be wrong with what is wanted is wrong here."""
        loaded = self._loaded
        outputs = check_outputs(wanted.outputs)
        if wanted.dimensions is not None:
            if "dense" not in outputs:
                raise InvalidInputError("dimensions cuts dense vectors, and outputs does not ask for them")
            check_dimensions(wanted.dimensions, self.dimension)
        unit = self.card.normalize if wanted.normalize is None else wanted.normalize
        if outputs == {"dense"}:

            def dense(encoded: Iterable[Sequences], done: Callable[[int], None] | None) -> Iterator[Embeddings]:
                width = loaded.engine.info.output

                def collect(sequences: Sequences) -> Pooled:
                    return Pooled(len(sequences), width)

                for part in run(loaded.engine, loaded.tokenizer.pad_id, encoded, collect, done):
                    yield _embeddings(part.sequences, _cut(part.outputs, wanted.dimensions, unit))

            return dense
        heads = self._heads.read(outputs)

        def tokens(encoded: Iterable[Sequences], done: Callable[[int], None] | None) -> Iterator[Embeddings]:
            def collect(sequences: Sequences) -> TokenOutputs:
                return TokenOutputs(sequences, heads)

            for part in run(loaded.engine, loaded.tokenizer.pad_id, encoded, collect, done):
                found = part.outputs
                vectors = None if found.dense is None else _cut(found.dense, wanted.dimensions, unit)
                yield _embeddings(part.sequences, vectors, found.sparse, found.multivector)

        return tokens

    def _nothing(self, wanted: _Wanted) -> Embeddings:
        """The value of no texts."""
        outputs = check_outputs(wanted.outputs)
        none = Sequences([], [], [], [], 0)
        width = (wanted.dimensions or self.dimension) if "dense" in outputs else 0
        dense = np.zeros((0, width), np.float32)
        if outputs == {"dense"}:
            return _embeddings(none, dense)
        found = TokenOutputs(none, self._heads.read(outputs)).value()
        return _embeddings(none, dense, found.sparse, found.multivector)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a call asks of each text."""

    dimensions: int | None = None
    normalize: bool | None = None
    outputs: Collection[str] = DENSE


_Compute = Callable[[Iterable[Sequences], Callable[[int], None] | None], Iterator[Embeddings]]


def _cut(vectors: NDArray[np.float32], dimensions: int | None, unit: bool) -> NDArray[np.float32]:
    short = shorten(vectors, dimensions)
    return normalize(short) if unit else short


def _embeddings(
    sequences: Sequences,
    dense: NDArray[np.float32] | None,
    sparse: SparseVectors | None = None,
    multivector: MultiVectors | None = None,
) -> Embeddings:
    return Embeddings(
        np.zeros((len(sequences), 0), np.float32) if dense is None else dense,
        np.array(sequences.lengths(), np.int32),
        np.array(sequences.truncated, np.bool_),
        sparse,
        multivector,
    )
