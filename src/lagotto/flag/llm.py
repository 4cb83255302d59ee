"""`FlagLLMModel` and `FlagICLModel`: FlagEmbedding's embedders grown from language models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lagotto.cards.schema import PromptTemplate
from lagotto.core.errors import InvalidInputError
from lagotto.flag.encoders import FlagModel
from lagotto.flag.shared import Devices, device_of, tensor_of
from lagotto.models.embedder import Embedder
from lagotto.models.token_outputs import DENSE

_ICL_CARD = "BAAI/bge-en-icl"


class FlagLLMModel(FlagModel):
    """FlagEmbedding's embedder for language models: as `FlagModel`, with the last token's vector.

    The end token that training adds is checked when the model is loaded, which FlagEmbedding leaves to the tokenizer.
    """

    def __init__(
        self,
        model_name_or_path: str,
        normalize_embeddings: bool = True,
        use_fp16: bool = True,
        use_bf16: bool = False,
        query_instruction_for_retrieval: str | None = None,
        query_instruction_format: str = "Instruct: {}\nQuery: {}",
        devices: Devices = None,
        trust_remote_code: bool = False,
        cache_dir: str | None = None,
        batch_size: int = 256,
        query_max_length: int = 512,
        passage_max_length: int = 512,
        convert_to_numpy: bool = True,
        truncate_dim: int | None = None,
        *,
        passage_instruction_for_retrieval: str | None = None,
        passage_instruction_format: str = "{}{}",
    ) -> None:
        super().__init__(
            model_name_or_path,
            normalize_embeddings,
            use_fp16,
            use_bf16,
            query_instruction_for_retrieval,
            query_instruction_format,
            devices,
            "last_token",
            trust_remote_code,
            cache_dir,
            batch_size,
            query_max_length,
            passage_max_length,
            convert_to_numpy,
            truncate_dim,
            passage_instruction_for_retrieval=passage_instruction_for_retrieval,
            passage_instruction_format=passage_instruction_format,
        )


class FlagICLModel(FlagLLMModel):
    """FlagEmbedding's bge-en-icl: queries may follow worked examples, passages stay plain.

    Long queries are cut as FlagEmbedding cuts them (`Embedder`'s ``compat``); `lagotto.Embedder` has a better way.
    """

    def __init__(
        self,
        model_name_or_path: str,
        normalize_embeddings: bool = True,
        use_fp16: bool = True,
        use_bf16: bool = False,
        query_instruction_for_retrieval: str | None = None,
        query_instruction_format: str = "<instruct>{}\n<query>{}",
        suffix: str = "\n<response>",
        devices: Devices = None,
        examples_for_task: Sequence[Mapping[str, Any]] | None = None,
        examples_instruction_format: str = "<instruct>{}\n<query>{}\n<response>{}",
        trust_remote_code: bool = False,
        cache_dir: str | None = None,
        batch_size: int = 256,
        query_max_length: int = 512,
        passage_max_length: int = 512,
        convert_to_numpy: bool = True,
        truncate_dim: int | None = None,
    ) -> None:
        self.model = _reworded(
            Embedder(
                model_name_or_path,
                device=device_of(devices),
                precision="bf16" if use_bf16 else "auto" if use_fp16 else "f32",
                card=_ICL_CARD,
                compat=True,
                hub_cache_dir=cache_dir,
            ),
            query_instruction_format,
            examples_instruction_format,
            suffix,
        )
        self.normalize_embeddings = normalize_embeddings
        self.query_instruction_for_retrieval = query_instruction_for_retrieval
        self.query_instruction_format = query_instruction_format
        self.passage_instruction_for_retrieval = None
        self.passage_instruction_format = "{}{}"
        self.batch_size = batch_size
        self.query_max_length = query_max_length
        self.passage_max_length = passage_max_length
        self.convert_to_numpy = convert_to_numpy
        self.truncate_dim = truncate_dim
        self.set_examples(examples_for_task)

    def set_examples(self, examples_for_task: Sequence[Mapping[str, Any]] | None = None) -> None:
        """Examples for later queries, ``{instruct, query, response}`` each; None for none."""
        self.examples_for_task = list(examples_for_task or ())

    def encode_queries(
        self,
        queries: str | list[str],
        batch_size: int | None = None,
        max_length: int | None = None,
        convert_to_numpy: bool | None = None,
    ) -> Any:
        """Vectors of queries behind the examples; ``max_length`` counts instruction and query, not the examples."""
        dense = self.model.encode_queries(
            queries,
            instruction=self.query_instruction_for_retrieval or "",
            examples=self.examples_for_task,
            dimensions=self.truncate_dim,
            normalize=self.normalize_embeddings,
            max_length=min(max_length or self.query_max_length, self.model.max_length),
            outputs=DENSE,
        ).dense
        vectors = dense[0] if isinstance(queries, str) else dense
        as_numpy = self.convert_to_numpy if convert_to_numpy is None else convert_to_numpy
        return vectors if as_numpy else tensor_of(vectors)


def _reworded(model: Embedder, query_format: str, example_format: str, suffix: str) -> Embedder:
    """The model with the caller's formats on its card."""
    loaded = model._loaded
    card = loaded.checkpoint.card
    options = {**card.options, "suffix": suffix.replace("\\n", "\n")}
    options["example_format"] = _named(example_format, ("instruction", "query", "response"))
    query = PromptTemplate(card.query.instruction, _named(query_format, ("instruction", "text")))
    reworded = replace(loaded.checkpoint, card=card.with_changes(query=query, options=options))
    model._loaded = replace(loaded, checkpoint=reworded)
    return model


def _named(form: str, names: Sequence[str]) -> str:
    """A positional format with names in it. Raises `InvalidInputError` for one with other places."""
    parts = form.replace("\\n", "\n").split("{}")
    if len(parts) != len(names) + 1:
        raise InvalidInputError(f"format {form!r} has {len(parts) - 1} places {{}}, {len(names)} are filled")
    filled = [part + f"{{{name}}}" for part, name in zip(parts, names, strict=False)]
    return "".join(filled) + parts[-1]
