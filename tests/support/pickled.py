"""BGE-M3's heads as FlagEmbedding saves them: torch's pickles. Importing it skips where torch is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")


def pickled_heads(folder: Path) -> Path:
    """Turn the heads of `write_m3` from safetensors into ``.pt`` files."""
    from safetensors.torch import load_file

    for name in ("sparse_linear", "colbert_linear"):
        torch.save(load_file(str(folder / f"{name}.safetensors")), folder / f"{name}.pt")
        (folder / f"{name}.safetensors").unlink()
    return folder
