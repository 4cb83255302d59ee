"""`Embedder`: texts to vectors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from lagotto.batch.long_texts import LongTexts, Truncation, check_long_texts, check_truncation
from lagotto.batch.sequences import Sequences
from lagotto.cards.schema import Pooling
from lagotto.core.span_values import SpanEmbeddings
from lagotto.core.values import Embeddings
from lagotto.engines.base import Device
from lagotto.models.computing import Computing, Wanted
from lagotto.models.examples import Examples
from lagotto.models.inputs import checked_ids, checked_spans, checked_texts
from lagotto.models.loading import EngineChoice, Options, load
from lagotto.models.opened import OpenedEmbedder
from lagotto.models.pipeline import chunks
from lagotto.models.progress import Progress, progress_of
from lagotto.models.rendering import Asked, Rendering, Role, rendering
from lagotto.models.spans import compute_spans
from lagotto.models.states import compute_states
from lagotto.models.token_outputs import DENSE, OutputName


class Embedder(OpenedEmbedder):
    """A text embedding model.

    >>> model = Embedder("BAAI/bge-base-en-v1.5")                                          # doctest: +SKIP
    >>> model.encode(["I love NLP", "I love BGE"]).dense.shape                             # doctest: +SKIP
    (2, 768)

    ``model`` is a folder, a hub id ``ORG/NAME[@REVISION]`` or ``starter:NAME``. Thread-safe: one model serves any
    number of threads, and asyncio through ``asyncio.to_thread``.

    - ``engine``: auto, openvino, torch. ``device``: auto, cpu, cuda:N, mps, or several. ``precision``: ``"auto"`` (int8
      for a folder that `quantize` made, else bf16 where it is in hardware), ``"f32"``, ``"bf16"``, ``"f16"``,
      ``"int8"``. ``threads``: all the container allows by default.
    - ``weights``: ``"full"``, or ``"int8"``, ``"int4"``, ``"nf4"``: linear layers in 8 or 4 bits, multiplied in
      ``precision``, on the torch engine.
    - ``max_length``: tokens a text may have, special tokens included; the model's own limit by default.
      ``truncation``: what happens to a longer one, ``"right"`` (cut the end), ``"left"``, ``"error"``, `Windows`
      (read all of it, part by part) or `MultiCls`.
    - ``card``: the listed model a folder was made from. ``pooling``: how to pool, where the folder does not say.
      ``compat``: long queries of bge-en-icl are cut as FlagEmbedding does it, through a decoded string.
    - ``adapter``: a LoRA adapter (folder or hub id, as PEFT saves it), merged into the weights when they are loaded.
      An adapter given as ``model`` brings the base it names. ``adapters``: several of them by names of your choice,
      which stay beside the weights; a call takes one of them by ``adapter="NAME"``, or the base alone.
    - ``cache_dir``: converted starter models and compiled graphs (``$LAGOTTO_CACHE``). ``models_dir``: a folder of
      downloaded models, looked at before any hub (``$LAGOTTO_MODELS``). ``offline``: never connect. ``hub``:
      ``"huggingface"`` or ``"modelscope"``, whose own cache is used unless ``hub_cache_dir`` names another folder.

    Raises `ModelNotFoundError`, `UnsupportedModelError`, `CheckpointError`, `InvalidInputError`.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        engine: EngineChoice = "auto",
        device: Device = "auto",
        precision: str = "auto",
        weights: str = "full",
        threads: int | None = None,
        max_length: int | None = None,
        truncation: LongTexts = "right",
        revision: str | None = None,
        card: str | None = None,
        pooling: Pooling | None = None,
        compat: bool = False,
        adapter: str | Path | None = None,
        adapters: Mapping[str, str | Path] | None = None,
        cache_dir: str | Path | None = None,
        models_dir: str | Path | None = None,
        offline: bool = False,
        hub: str | None = None,
        hub_cache_dir: str | Path | None = None,
    ) -> None:
        check_long_texts(truncation)
        options = Options(
            engine=engine,
            device=device,
            precision=precision,
            weights=weights,
            threads=threads,
            max_length=max_length,
            revision=revision,
            card=card,
            pooling=pooling,
            compat=compat,
            adapter=adapter,
            adapters=adapters,
            cache_dir=cache_dir,
            models_dir=models_dir,
            offline=offline,
            hub=hub,
            hub_cache_dir=hub_cache_dir,
        )
        self._loaded = load(model, "embed", options)
        self._truncation = truncation
        self._computing = Computing(self._loaded)

    def encode(
        self,
        texts: str | Iterable[str],
        *,
        prompt: str | None = None,
        instruction: str | None = None,
        task: str | None = None,
        examples: Examples | None = None,
        dimensions: int | None = None,
        normalize: bool | None = None,
        max_length: int | None = None,
        truncation: LongTexts | None = None,
        outputs: Collection[OutputName] | None = None,
        adapter: str | None = None,
        progress: Progress = False,
    ) -> Embeddings:
        """Vectors of texts as they are: no prompt is added unless asked for (or the checkpoint names a default one).

        - ``texts``: a string (one row), or any iterable of strings; none gives (0, dimension).
        - ``prompt``: put before every text as it stands. ``instruction``: put in by the card's query template.
          ``task``: one of `Embedder.tasks`, whose prompt the card has. At most one of the three.
        - ``examples``: worked examples for a model with in-context learning (bge-en-icl), `Example` values or mappings
          with ``query``, ``response`` and, if it is another than the call's, ``instruct``. They make the text a query,
          and their tokens come on top of ``max_length``.
        - ``dimensions``: keep the first so many numbers (Matryoshka), then normalise.
        - ``normalize``: L2-normalise; the model's own habit by default. ``progress``: True shows a bar.
        - ``outputs``: some of `Embedder.outputs`, all from one pass; by default the dense vector, or what a model gives
          that has none (SPLADE ``"sparse"``, ColBERT ``"multivector"``). When states of tokens are first asked for, the
          graph is compiled anew, which takes some seconds once.
        - ``adapter``: one of `Embedder.adapters`; the base alone by default.

        Raises `InvalidInputError` (with the number of the bad text), `TextTooLongError`, `ClosedError`.
        """
        render = self._renderer("text", Asked(prompt, instruction, task, examples))
        wanted = self._wanted("text", dimensions, normalize, outputs, max_length, truncation, adapter)
        return self._collect(texts, render, wanted, progress)

    def encode_queries(
        self,
        queries: str | Iterable[str],
        *,
        prompt: str | None = None,
        instruction: str | None = None,
        task: str | None = None,
        examples: Examples | None = None,
        dimensions: int | None = None,
        normalize: bool | None = None,
        max_length: int | None = None,
        truncation: LongTexts | None = None,
        outputs: Collection[OutputName] | None = None,
        adapter: str | None = None,
        progress: Progress = False,
    ) -> Embeddings:
        """Vectors of search queries, written as the model's card says: its instruction, or yours, in its template."""
        render = self._renderer("query", Asked(prompt, instruction, task, examples))
        wanted = self._wanted("query", dimensions, normalize, outputs, max_length, truncation, adapter)
        return self._collect(queries, render, wanted, progress)

    def encode_documents(
        self,
        documents: str | Iterable[str],
        *,
        prompt: str | None = None,
        instruction: str | None = None,
        task: str | None = None,
        examples: Examples | None = None,
        dimensions: int | None = None,
        normalize: bool | None = None,
        max_length: int | None = None,
        truncation: LongTexts | None = None,
        outputs: Collection[OutputName] | None = None,
        adapter: str | None = None,
        progress: Progress = False,
    ) -> Embeddings:
        """Vectors of documents (passages), written as the model's card says."""
        render = self._renderer("document", Asked(prompt, instruction, task, examples))
        wanted = self._wanted("document", dimensions, normalize, outputs, max_length, truncation, adapter)
        return self._collect(documents, render, wanted, progress)

    def encode_ids(
        self,
        inputs: Iterable[Sequence[int]],
        *,
        dimensions: int | None = None,
        normalize: bool | None = None,
        max_length: int | None = None,
        truncation: LongTexts | None = None,
        outputs: Collection[OutputName] | None = None,
        adapter: str | None = None,
    ) -> Embeddings:
        """Vectors of token ids of this model's own tokenizer; special tokens are added unless they are there."""
        wanted = self._wanted("text", dimensions, normalize, outputs, max_length, truncation, adapter)
        compute = self._computing.start(wanted)
        encoded = (
            wanted.side.tokenizer.encode_ids(chunk, wanted.limit, wanted.long, start=start)
            for start, chunk in chunks(checked_ids(inputs), len)
        )
        return self._whole(compute(encoded, None), wanted)

    def stream(
        self,
        texts: Iterable[str],
        *,
        role: Role = "text",
        prompt: str | None = None,
        instruction: str | None = None,
        task: str | None = None,
        examples: Examples | None = None,
        dimensions: int | None = None,
        normalize: bool | None = None,
        max_length: int | None = None,
        truncation: LongTexts | None = None,
        outputs: Collection[OutputName] | None = None,
        adapter: str | None = None,
        progress: Progress = False,
    ) -> Iterator[Embeddings]:
        """As `encode` (or `encode_queries`, `encode_documents`, by ``role``), part by part, for any length of corpus.

        The iterable is read only as far as needed, whatever its length. Stopping early costs nothing.
        """
        render = self._renderer(role, Asked(prompt, instruction, task, examples))
        wanted = self._wanted(role, dimensions, normalize, outputs, max_length, truncation, adapter)
        return self._stream(texts, render, wanted, progress)

    def encode_spans(
        self,
        texts: str | Iterable[str],
        spans: Iterable[Sequence[int]] | Iterable[Iterable[Sequence[int]]],
        *,
        role: Role = "text",
        prompt: str | None = None,
        instruction: str | None = None,
        task: str | None = None,
        examples: Examples | None = None,
        dimensions: int | None = None,
        normalize: bool | None = None,
        max_length: int | None = None,
        truncation: LongTexts | None = None,
        adapter: str | None = None,
        progress: Progress = False,
    ) -> SpanEmbeddings:
        """Late chunking: a vector for every span of a text, from one pass over all of it.

        The model reads the whole text, so that a span's vector knows what stands around it: it is the mean of the last
        hidden states of the span's tokens, whatever the model's own pooling, normalised as the model's vectors are.

        - ``spans``: for each text a list of (start, end), so that ``text[start:end]`` is the span; for a single string
          one such list. Spans may overlap. A token belongs to each span with which it shares a character other than
          white space; a prompt's tokens belong to none.
        - ``truncation``: a text over the limit is cut, which is an error where a span needs what was cut off, or read
          in overlapping windows (``Windows()``), each token from the window in whose middle it lies more.

        Raises `InvalidInputError`, with the numbers of text and span, for a span that is not one or has no token,
        `TextTooLongError` for one that was cut off, `UnsupportedModelError` for a model with Dense modules,
        `InvalidInputError` for one without dense vectors.
        """
        render = self._renderer(role, Asked(prompt, instruction, task, examples))
        wanted = self._wanted(role, dimensions, normalize, DENSE, max_length, truncation, adapter)
        loaded = self._loaded.using(adapter)
        with progress_of(progress, [texts] if isinstance(texts, str) else texts, "text") as done:
            parts = list(compute_spans(loaded, checked_spans(texts, spans), render, wanted, done))
        return SpanEmbeddings.concatenate(parts, dimensions or self.dimension)

    def encode_states(
        self,
        texts: str | Iterable[str],
        *,
        role: Role = "text",
        prompt: str | None = None,
        instruction: str | None = None,
        task: str | None = None,
        examples: Examples | None = None,
        normalize: bool = False,
        max_length: int | None = None,
        truncation: Truncation | None = None,
        adapter: str | None = None,
        progress: Progress = False,
    ) -> Embeddings:
        """The last hidden states of every token, special tokens included: ``.multivector`` holds them, ``.dense`` none.

        They are what the model pools, as it gives them; ``normalize`` brings each to unit length. Raises
        `InvalidInputError` for a model that reads long texts in windows or with more CLS tokens, unless the call says
        ``"right"``, ``"left"`` or ``"error"``.
        """
        render = self._renderer(role, Asked(prompt, instruction, task, examples))
        long = self._truncation if truncation is None else truncation
        check_truncation(long)
        wanted, loaded = self._wanted(role, None, None, None, max_length, long, adapter), self._loaded.using(adapter)

        def encoded() -> Iterator[Sequences]:
            for start, chunk in chunks(checked_texts(texts), len):
                yield wanted.side.encode(chunk, render, wanted.limit, long, start=start)

        with progress_of(progress, [texts] if isinstance(texts, str) else texts, "text") as done:
            return compute_states(loaded, encoded(), normalize, done)

    def _renderer(self, role: Role, asked: Asked) -> Rendering:
        checkpoint = self._loaded.checkpoint
        return rendering(checkpoint.card, checkpoint.default_prompt, role, asked)

    def _wanted(
        self,
        role: Role,
        dimensions: int | None,
        normalize: bool | None,
        outputs: Collection[OutputName] | None,
        max_length: int | None,
        truncation: LongTexts | None,
        adapter: str | None,
    ) -> Wanted:
        """What a call asks, where its lengths are left to the model."""
        side, long = self._computing.sides[role], self._truncation if truncation is None else truncation
        check_long_texts(long)
        limit = side.max_length if max_length is None else self._loaded.limit(max_length)
        return Wanted(side, limit, long, dimensions, normalize, outputs, adapter)

    def _collect(self, texts: str | Iterable[str], render: Rendering, wanted: Wanted, progress: Progress) -> Embeddings:
        return self._whole(self._stream(texts, render, wanted, progress), wanted)

    def _whole(self, parts: Iterable[Embeddings], wanted: Wanted) -> Embeddings:
        return Embeddings.concatenate(list(parts) or [self._computing.nothing(wanted)], self.engine.output)

    def _stream(
        self, texts: str | Iterable[str], render: Rendering, wanted: Wanted, progress: Progress
    ) -> Iterator[Embeddings]:
        side, limit, long = wanted.side, wanted.limit, wanted.long
        compute = self._computing.start(wanted)

        def encoded() -> Iterator[Sequences]:
            for start, chunk in chunks(checked_texts(texts), len):
                yield side.encode(chunk, render, limit, long, start=start)

        def parts() -> Iterator[Embeddings]:
            with progress_of(progress, [texts] if isinstance(texts, str) else texts, "text") as done:
                yield from compute(encoded(), done)

        return parts()
