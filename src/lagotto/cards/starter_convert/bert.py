"""The parameters of a BERT checkpoint and its config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lagotto.cards.starter_convert.folder import Recipe, Shapes, check_shapes
from lagotto.core.errors import CheckpointError

_EMBEDDINGS = {"word": "vocab_size", "position": "max_position_embeddings", "token_type": "type_vocab_size"}


def bert_config(found: Shapes, recipe: Recipe) -> dict[str, Any]:
    """config.json of the model whose tensors have these shapes; only the number of heads cannot be seen in them.

    Raises `CheckpointError` unless the tensors are exactly those of such a model.
    """
    prefix = "bert." if recipe.classification else ""
    try:
        sizes = {field: found[f"{prefix}embeddings.{part}_embeddings.weight"][0] for part, field in _EMBEDDINGS.items()}
        inner, hidden = found[f"{prefix}encoder.layer.0.intermediate.dense.weight"]
    except (LookupError, ValueError) as error:
        raise CheckpointError(f"these are not the weights of a BERT model: {error} is missing or misshapen") from error
    config: dict[str, Any] = {
        "architectures": ["BertForSequenceClassification" if recipe.classification else "BertModel"],
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
    check_shapes(found, bert_shapes(config, classification=recipe.classification))
    return config


def bert_shapes(config: Mapping[str, Any], *, classification: bool = False) -> dict[str, tuple[int, ...]]:
    """Every parameter of a BERT model of these sizes with its shape; pooler and logit only for `classification`."""
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
    if not classification:
        return shapes
    shapes |= _linear("pooler.dense", hidden, hidden)
    return {f"bert.{name}": shape for name, shape in shapes.items()} | _linear("classifier", 1, hidden)


def _linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}
