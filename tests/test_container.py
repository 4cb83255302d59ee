"""Dockerfile and compose.yaml fit together, fit the settings, and follow the rules for containers."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lagotto.server.settings import Settings

ROOT = Path(__file__).parents[1]
NOT_OURS = {"PATH", "PYTHONUNBUFFERED", "HF_HOME"}

if not (ROOT / "Dockerfile").is_file():
    pytest.skip("no Dockerfile here: these tests belong to the repository", allow_module_level=True)


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Dockerfile, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0].upper(), " ".join(line.split()[1:])) for line in lines]


def stages() -> list[list[tuple[str, str]]]:
    """Instructions of each stage, what stands before the first left out."""
    found: list[list[tuple[str, str]]] = []
    for name, arguments in instructions():
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, arguments))
    return found


def last(name: str) -> str:
    """Arguments of an instruction that stands once in the final stage."""
    (found,) = [arguments for instruction, arguments in stages()[-1] if instruction == name]
    return found


def environment() -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in shlex.split(last("ENV")))


def known_names() -> set[str]:
    """Every environment variable that sets something."""
    found: set[str] = set()
    for field in Settings.model_fields.values():
        found.update(map(str, getattr(field.validation_alias, "choices", ())))
    return found


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def service(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]["lagotto"]
    return found


# Dockerfile.


def test_the_image_is_built_in_two_stages_from_a_slim_python() -> None:
    bases = [stage[0][1] for stage in stages()]
    assert bases == ["python:${PYTHON}-slim AS build", "python:${PYTHON}-slim"]
    assert ("ARG", "PYTHON=3.12") in instructions()


def test_what_is_copied_exists_and_is_sent_to_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    sent = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert "*" in ignored
    copied = [shlex.split(arguments)[:-1] for name, arguments in stages()[0] if name == "COPY"]
    sources = {source for group in copied for source in group}
    assert sources == sent
    for source in sources:
        assert (ROOT / source).exists()


def test_the_build_has_all_that_pyproject_names() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    copied = [word for name, arguments in stages()[0] if name == "COPY" for word in shlex.split(arguments)[:-1]]
    for needed in (project["readme"], *project["license-files"]):
        assert any(needed == source or needed.startswith(f"{source}/") for source in copied), needed


def test_extras_are_a_build_argument_and_none_by_default() -> None:
    assert ("ARG", 'EXTRAS=""') in stages()[0]
    (install,) = [arguments for name, arguments in stages()[0] if name == "RUN" and " install " in arguments]
    for extras, expected in (("", "."), ("starter", ".[starter]"), ("starter,parquet", ".[starter,parquet]")):
        words = install.partition(" install ")[2]
        shown = subprocess.run(
            ["sh", "-c", f"printf %s {words}"], env={**os.environ, "EXTRAS": extras}, capture_output=True, check=True
        )
        assert shown.stdout.decode() == expected


def test_the_server_is_started_without_a_shell_so_that_signals_reach_it() -> None:
    assert json.loads(last("ENTRYPOINT")) == ["lagotto", "serve"]
    assert last("STOPSIGNAL") == "SIGTERM"
    assert not [name for name, _ in stages()[-1] if name == "CMD"]


def test_nothing_runs_as_root() -> None:
    user, group = last("USER").split(":")
    assert int(user) > 0
    assert int(group) > 0
    names = [name for name, _ in stages()[-1]]
    assert "RUN" not in names[names.index("USER") :]


def test_every_variable_is_a_setting() -> None:
    found = environment()
    assert set(found) - NOT_OURS <= known_names()
    assert found["API_HOST"] == "0.0.0.0"
    assert (found["API_PORT"], found["MODEL_STORAGE_PATH"], found["LAGOTTO_CACHE"]) == ("8000", "/models", "/cache")
    assert last("EXPOSE") == found["API_PORT"]


def test_models_and_cache_are_volumes_that_the_user_owns() -> None:
    volumes = json.loads(last("VOLUME"))
    assert volumes == [environment()["MODEL_STORAGE_PATH"], environment()["LAGOTTO_CACHE"]]
    prepared = last("RUN")
    assert all(re.search(rf"chown lagotto:lagotto .*{volume}", prepared) for volume in volumes)
    assert environment()["HF_HOME"].startswith("/cache/")


def test_the_image_is_labelled() -> None:
    labels = dict(word.partition("=")[::2] for word in shlex.split(last("LABEL")))
    for name in ("title", "description", "licenses"):
        assert labels[f"org.opencontainers.image.{name}"]
    assert labels["org.opencontainers.image.licenses"] == "MIT"


def check_of(command: list[str]) -> str:
    """The Python code of a health check."""
    assert command[:2] == ["python", "-c"]
    assert len(command) == 3
    return command[2]


def dockerfile_check() -> str:
    flags, _, command = last("HEALTHCHECK").partition(" CMD ")
    assert "--start-period=" in flags
    return check_of(json.loads(command))


def test_the_health_check_fails_where_nobody_answers() -> None:
    done = subprocess.run(
        [sys.executable, "-c", dockerfile_check()],
        env={**os.environ, "API_PORT": "9"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert b"URLError" in done.stderr


def test_the_health_check_passes_where_the_server_answers(tiny_bert: Path) -> None:
    import socket
    import threading
    import time

    import uvicorn

    from lagotto.server.app import create_app
    from lagotto.server.settings import load_settings

    app = create_app(load_settings(models=[f"bert={tiny_bert}"], precision="f32", threads=1))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            port = str(listening.getsockname()[1])
            environment = {**os.environ, "API_PORT": port}
            done = subprocess.run([sys.executable, "-c", dockerfile_check()], env=environment, check=False)
        finally:
            server.should_exit = True
            thread.join()
    assert done.returncode == 0


# compose.yaml.


def test_compose_sets_only_what_there_is(service: dict[str, Any]) -> None:
    assert set(service["environment"]) <= known_names()
    assert all(isinstance(value, str) for value in service["environment"].values()), "YAML must not guess at types"
    assert service["environment"]["MODEL_STORAGE_PATH"] == environment()["MODEL_STORAGE_PATH"]
    assert service["environment"]["LAGOTTO_CACHE"] == environment()["LAGOTTO_CACHE"]


def test_the_environment_of_compose_makes_good_settings(
    service: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lagotto.server.settings import load_settings

    for name in known_names():
        monkeypatch.delenv(name, raising=False)
    for name, value in {**environment(), **service["environment"]}.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.host, settings.port, settings.offline, settings.models) == ("0.0.0.0", 8000, True, [])


def test_models_are_mounted_read_only_and_the_cache_is_kept(compose: dict[str, Any], service: dict[str, Any]) -> None:
    assert service["volumes"] == ["./models:/models:ro", "cache:/cache"]
    assert "cache" in compose["volumes"]
    assert (service["read_only"], service["tmpfs"]) == (True, ["/tmp"])


def test_compose_builds_restarts_checks_and_limits(service: dict[str, Any]) -> None:
    assert service["build"]["context"] == "."
    assert set(service["build"]["args"]) == {"EXTRAS"}
    assert service["restart"] == "unless-stopped"
    assert service["cpus"] > 0
    test = service["healthcheck"]["test"]
    assert test[0] == "CMD"
    assert ":8000/health" in check_of(test[1:])


def test_the_port_is_open_to_this_machine_only(service: dict[str, Any]) -> None:
    """There is no authentication yet."""
    assert service["ports"] == ["127.0.0.1:8000:8000"]


def test_compose_waits_longer_than_the_server_drains(service: dict[str, Any]) -> None:
    assert int(service["stop_grace_period"].removesuffix("s")) > Settings.model_fields["shutdown_seconds"].default
