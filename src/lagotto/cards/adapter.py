"""LoRA adapters as PEFT saves them: a small folder that changes some matrices of a base model by a product of two.

A matrix ``W`` becomes ``W + scale B A``, where ``A`` is (rank, in), ``B`` is (out, rank) and the scale is
``alpha / rank``, or ``alpha / sqrt(rank)`` with rank stabilisation. The folder has ``adapter_config.json`` and
``adapter_model.safetensors`` (or ``.bin``). Kinds of adapters that are more than this sum are refused by name.
Sources: Hu et al. 2021, "LoRA"; Kalajdzievski 2023, "A Rank Stabilization Scaling Factor"; PEFT's `LoraConfig`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagotto.cards.json_files import read_json
from lagotto.cards.weights import read_tensors
from lagotto.core.errors import CheckpointError, ModelNotFoundError, UnsupportedModelError

CONFIG_FILE = "adapter_config.json"
WEIGHT_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_PREFIX = "base_model.model."
_PART = re.compile(r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(\.weight)?")
_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")  # others change the base's own weights, too


@dataclass(frozen=True, slots=True)
class Adapter:
    """What adapter_config.json says, as far as computing needs it."""

    folder: Path
    base: str
    """The base model as it was named when the adapter was trained; may be a path on another machine."""
    revision: str | None
    alpha: float
    alphas: tuple[tuple[str, float], ...]
    """Patterns of module names that have an alpha of their own."""
    stabilised: bool
    """``use_rslora``."""
    transposed: bool
    """``fan_in_fan_out``: the base keeps its matrices as (in, out)."""
    scores: bool = False
    """``task_type`` is ``SEQ_CLS``: trained with a head that scores, which it holds as a whole."""

    def files(self) -> tuple[Path, Path]:
        """Everything that decides what it does."""
        return self.folder / CONFIG_FILE, weights_file(self.folder)

    def changes(self) -> Iterator[Change]:
        """What it does to each module, whose tensors are read one by one.

        Raises `CheckpointError` for a tensor that is neither half of a product nor a whole weight.
        """
        tensors = read_tensors(weights_file(self.folder))
        halves: dict[str, dict[str, str]] = {}
        for name in tensors:
            plain = name.removeprefix(_PREFIX)
            if found := _PART.fullmatch(plain):
                halves.setdefault(found["module"], {})[(found["embedding"] or "") + found["side"]] = name
            elif "lora_" in plain:
                raise CheckpointError(f"{tensors.source}: tensor {name!r} is no part of a plain LoRA adapter")
            else:
                yield Change(plain, whole=_floats(tensors[name]))
        for module, names in halves.items():
            if set(names) not in ({"A", "B"}, {"embedding_A", "embedding_B"}):
                raise CheckpointError(f"{tensors.source}: {module!r} has {', '.join(sorted(names))}, not A and B")
            embedding = "embedding_A" in names
            down, up = (_floats(tensors[names[key]]) for key in sorted(names))
            if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
                raise CheckpointError(
                    f"{tensors.source}: {module!r} has A {down.shape} and B {up.shape}, which have no product B A; "
                    "adapters of linear layers and embeddings are read"
                )
            yield Change(
                f"{module}.weight",
                down=down,
                up=up,
                scale=self.scale(module, down.shape[0]),
                transposed=self.transposed or embedding,
            )

    def scale(self, module: str, rank: int) -> float:
        """What the product of a module's two matrices is multiplied by."""
        own = (alpha for pattern, alpha in self.alphas if re.match(rf"(.*\.)?({pattern})$", module))
        alpha = next(own, self.alpha)
        return alpha / (math.sqrt(rank) if self.stabilised else rank)


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One tensor of the base and what becomes of it."""

    name: str
    """Of the base's tensor, as the adapter knows it."""
    whole: NDArray[np.float32] | None = None
    """The tensor itself, for one that was trained as a whole (``modules_to_save``)."""
    down: NDArray[np.float32] | None = None
    """(rank, in)"""
    up: NDArray[np.float32] | None = None
    """(out, rank)"""
    scale: float = 1.0
    transposed: bool = False
    """Whether the base's tensor is (in, out)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the base's tensor that it fits."""
        if self.whole is not None:
            return self.whole.shape
        down, up = self.product()
        shape = (up.shape[0], down.shape[1])
        return shape[::-1] if self.transposed else shape

    def product(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """``down`` and ``up`` of a change that is no whole tensor."""
        assert self.down is not None
        assert self.up is not None
        return self.down, self.up

    def of_rows(self, rows: Sequence[int]) -> Change:
        """The same change of some rows of the tensor."""
        if self.whole is not None:
            return replace(self, whole=self.whole[list(rows)])
        down, up = self.product()
        return replace(self, down=down[:, list(rows)]) if self.transposed else replace(self, up=up[list(rows)])


def is_adapter(folder: Path) -> bool:
    """Whether a folder is an adapter and no model of its own."""
    return (folder / CONFIG_FILE).is_file() and not (folder / "config.json").is_file()


def read_adapter(folder: Path) -> Adapter:
    """Understand an adapter's folder.

    Raises `UnsupportedModelError` for one that is not plain LoRA, `CheckpointError` for values that make no sense,
    `ModelNotFoundError` for a missing file.
    """
    where, raw = folder / CONFIG_FILE, read_json(folder / CONFIG_FILE)
    _check_kind(raw, where)
    weights_file(folder)
    try:
        for pattern in raw.get("alpha_pattern") or {}:
            re.compile(pattern)
        return Adapter(
            folder=folder,
            base=str(raw.get("base_model_name_or_path") or ""),
            revision=raw.get("revision") or None,
            alpha=float(raw["lora_alpha"]),
            alphas=tuple((str(key), float(value)) for key, value in (raw.get("alpha_pattern") or {}).items()),
            stabilised=bool(raw.get("use_rslora", False)),
            transposed=bool(raw.get("fan_in_fan_out", False)),
            scores=raw.get("task_type") == "SEQ_CLS",
        )
    except (KeyError, TypeError, ValueError, AttributeError, re.error) as error:
        raise CheckpointError(f"{where}: lora_alpha or alpha_pattern can't be read ({error})") from None


def weights_file(folder: Path) -> Path:
    """The file of an adapter's matrices. Raises `ModelNotFoundError` where there is none."""
    found = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if found is None:
        raise ModelNotFoundError(f"{folder} has {CONFIG_FILE} and no {' or '.join(WEIGHT_FILES)}")
    return found


def _check_kind(raw: Mapping[str, Any], where: Path) -> None:
    """Raise `UnsupportedModelError` for what is more, or other, than a sum with a product."""
    kind = raw.get("peft_type")
    if kind != "LORA":
        raise UnsupportedModelError(f"{where}: peft_type is {kind!r}; LORA adapters are read")
    further = {
        "use_dora": raw.get("use_dora"),
        "lora_bias": raw.get("lora_bias"),
        "bias": raw.get("bias", "none") not in (None, "none"),
        "layer_replication": raw.get("layer_replication"),
        "use_qalora": raw.get("use_qalora"),
        "init_lora_weights": raw.get("init_lora_weights") not in _PLAIN_STARTS,
    }
    if found := next((name for name, more in further.items() if more), None):
        raise UnsupportedModelError(
            f"{where}: {found} is {raw[found]!r}, which is more than plain LoRA (W + B A); merge the adapter into its "
            "base with PEFT (merge_and_unload) and open the merged model"
        )


def _floats(values: NDArray[Any]) -> NDArray[np.float32]:
    return np.array(values, np.float32)
