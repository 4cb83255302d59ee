"""The parameters of a BERT checkpoint and its config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from lagotto.cards.splade import is_splade
from lagotto.cards.starter_convert.folder import Recipe, Shapes, check_shapes
from lagotto.core.errors import CheckpointError

Head = Literal["Model", "ForSequenceClassification", "ForMaskedLM"]
"""What transformers' class name says behind "Bert"."""

_EMBEDDINGS = {"word": "vocab_size", "position": "max_position_embeddings", "token_type": "type_vocab_size"}


def bert_config(found: Shapes, recipe: Recipe) -> dict[str, Any]:
    """config.json of the model whose tensors have these shapes; only the number of heads cannot be seen in them.

    Raises `CheckpointError` unless the tensors are exactly those of such a model.
    """
    head = _head(recipe)
    prefix = "" if head == "Model" else "bert."
    try:
        sizes = {field: found[f"{prefix}embeddings.{part}_embeddings.weight"][0] for part, field in _EMBEDDINGS.items()}
        inner, hidden = found[f"{prefix}encoder.layer.0.intermediate.dense.weight"]
    except (LookupError, ValueError) as error:
        raise CheckpointError(f"these are not the weights of a BERT model: {error} is missing or misshapen") from error
    config: dict[str, Any] = {
        "architectures": [f"Bert{head}"],
        "model_type": "bert",
        **sizes,
        "hidden_size": hidden,
        "num_hidden_layers": sum(name.endswith(".intermediate.dense.weight") for name in found),
        "num_attention_heads": recipe.attention_heads,
        "intermediate_size": inner,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "dtype": recipe.dtype,
    }
    if recipe.classification:
        config |= {"num_labels": 1, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
        # Without this sentence-transformers would put a sigmoid behind the logit, which the model was trained without.
        config["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity"}
    check_shapes(found, bert_shapes(config, head))
    return config


def _head(recipe: Recipe) -> Head:
    if recipe.classification:
        return "ForSequenceClassification"
    return "ForMaskedLM" if is_splade(recipe.pooling) else "Model"


def bert_shapes(config: Mapping[str, Any], head: Head = "Model") -> dict[str, tuple[int, ...]]:
    """Every parameter of a BERT model of these sizes with its shape, and those of its head.

    That of a masked language model has no matrix of its own: the word embeddings are used again.
    """
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        f"embeddings.{part}_embeddings.weight": (config[field], hidden) for part, field in _EMBEDDINGS.items()
    }
    shapes |= _norm("embeddings.LayerNorm", hidden)
    for layer in (f"encoder.layer.{index}" for index in range(config["num_hidden_layers"])):
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= _linear(f"{layer}.attention.{part}", hidden, hidden)
        shapes |= _linear(f"{layer}.intermediate.dense", inner, hidden)
        shapes |= _linear(f"{layer}.output.dense", hidden, inner)
        shapes |= _norm(f"{layer}.attention.output.LayerNorm", hidden) | _norm(f"{layer}.output.LayerNorm", hidden)
    if head == "Model":
        return shapes
    if head == "ForSequenceClassification":
        shapes |= _linear("pooler.dense", hidden, hidden)
        own = _linear("classifier", 1, hidden)
    else:
        transform = "cls.predictions.transform"
        own = _linear(f"{transform}.dense", hidden, hidden) | _norm(f"{transform}.LayerNorm", hidden)
        own["cls.predictions.bias"] = (config["vocab_size"],)
    return {f"bert.{name}": shape for name, shape in shapes.items()} | own


def _linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}
