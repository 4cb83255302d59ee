"""The files in deploy/ parse, and name only settings, flags, paths and metrics that exist."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lagotto.server import system
from lagotto.server.app import create_app
from lagotto.server.settings import Settings, load_settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
if not DEPLOY.is_dir():
    pytest.skip("no deploy folder here: these tests belong to the repository", allow_module_level=True)
yaml = pytest.importorskip("yaml")

NOT_OURS = {"HF_HOME", "PATH"}
WORKERS_GRACE = 5
"""Seconds that worker processes have beyond `shutdown_seconds`."""


def documents(path: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / path).read_text(encoding="utf-8")))


def known_variables() -> set[str]:
    found: set[str] = set()
    for field in Settings.model_fields.values():
        found.update(map(str, getattr(field.validation_alias, "choices", ())))
    return found


@pytest.fixture(scope="module")
def served(tiny_bert: Path, cache: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(models=[f"bert={tiny_bert}"], precision="f32", threads=1))) as client:
        yield client


@pytest.fixture(scope="module")
def container() -> dict[str, Any]:
    (deployment,) = documents("kubernetes/deployment.yaml")
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.fixture(scope="module")
def unit() -> dict[str, list[str]]:
    """The keys of the systemd unit, in all sections."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "systemd/lagotto.service").read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_every_file_is_in_the_readme_s_folders() -> None:
    told = set(re.findall(r"^\| `(\w+)/` \|", (DEPLOY / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert told == {path.name for path in DEPLOY.iterdir() if path.is_dir()}


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.*")), ids=lambda path: path.name)
def test_every_file_parses(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    parse = {
        ".yaml": lambda: list(yaml.safe_load_all(text)),
        ".json": lambda: json.loads(text),
        ".toml": lambda: tomllib.loads(text),
        ".service": lambda: configparser.ConfigParser(strict=False, interpolation=None).read_string(text),
        ".md": lambda: None,
    }
    parse[path.suffix]()


# Settings.


@pytest.mark.parametrize("source", ["systemd/lagotto.toml", "kubernetes/settings.yaml"])
def test_settings_files_are_good(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in known_variables():
        monkeypatch.delenv(name, raising=False)
    text = (DEPLOY / source).read_text(encoding="utf-8")
    if source.endswith(".yaml"):
        text = yaml.safe_load(text)["data"]["lagotto.toml"]
    file = tmp_path / "lagotto.toml"
    file.write_text(text)
    settings = load_settings(file)
    assert settings.port == 8000
    assert settings.memory_budget_mb


def test_every_variable_exists(unit: dict[str, list[str]], container: dict[str, Any]) -> None:
    service = documents("docker/compose.yaml")[0]["services"]["lagotto"]
    named = set(service["environment"])
    named |= {variable["name"] for variable in container["env"]}
    named |= {part.partition("=")[0] for line in unit["Environment"] for part in line.split()}
    for file in DEPLOY.rglob("*.*"):
        named |= set(re.findall(r"\bLAGOTTO_[A-Z_]+\b", file.read_text(encoding="utf-8")))
    assert named <= known_variables() | NOT_OURS


def test_every_flag_exists(unit: dict[str, list[str]], container: dict[str, Any]) -> None:
    from typer.main import get_command

    from lagotto.cli.main import app

    command: Any = get_command(app)
    flags = {flag for parameter in command.commands["serve"].params for flag in parameter.opts}
    program, verb, *arguments = unit["ExecStart"][0].split()
    assert (Path(program).name, verb) == ("lagotto", "serve")
    for words in (arguments, container["args"]):
        assert {word for word in words if word.startswith("-")} <= flags


def test_settings_lie_where_the_command_looks(unit: dict[str, list[str]], container: dict[str, Any]) -> None:
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(Path(container["args"][1]).parent) in mounts
    (settings,) = documents("kubernetes/settings.yaml")
    assert Path(container["args"][1]).name in settings["data"]
    assert unit["ExecStart"][0].split()[-1] in (DEPLOY / "README.md").read_text(encoding="utf-8")


# Kubernetes.


def test_probes_ask_paths_that_exist(container: dict[str, Any], served: TestClient) -> None:
    paths = set(served.get("/openapi.json").json()["paths"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in paths
        assert container[probe]["httpGet"]["port"] == container["ports"][0]["name"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"


def test_a_probe_waits_as_long_as_what_it_asks_may_take(container: dict[str, Any]) -> None:
    assert container["readinessProbe"]["timeoutSeconds"] > system._PATIENCE
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= 300, "models are converted and compiled at first"


def test_memory_budgets_leave_room_below_the_limits(container: dict[str, Any], unit: dict[str, list[str]]) -> None:
    (config,) = documents("kubernetes/settings.yaml")
    service = documents("docker/compose.yaml")[0]["services"]["lagotto"]
    budgets = [
        (tomllib.loads(config["data"]["lagotto.toml"])["memory_budget_mb"], container["resources"]["limits"]["memory"]),
        (tomllib.loads((DEPLOY / "systemd/lagotto.toml").read_text())["memory_budget_mb"], unit["MemoryMax"][0]),
        (int(service["environment"]["LAGOTTO_MEMORY_BUDGET_MB"]), service["mem_limit"]),
    ]
    for budget, limit in budgets:
        gigabytes = int(re.fullmatch(r"(\d+)(?:Gi|G|g)", limit)[1])  # type: ignore[index]
        assert budget < 0.9 * gigabytes * 1024


def test_the_container_may_do_little(container: dict[str, Any]) -> None:
    (deployment,) = documents("kubernetes/deployment.yaml")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["limits"]["memory"]
    user = re.search(r"(?m)^USER (\d+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert user is not None
    assert pod["securityContext"]["runAsUser"] == int(user[1])


def test_names_fit_together() -> None:
    (deployment,) = documents("kubernetes/deployment.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    service, budget, policy = documents("kubernetes/service.yaml")
    assert service["spec"]["selector"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert policy["spec"]["podSelector"]["matchLabels"] == labels
    volumes = {volume["name"]: volume for volume in deployment["spec"]["template"]["spec"]["volumes"]}
    (claim,), (settings,) = documents("kubernetes/volume.yaml"), documents("kubernetes/settings.yaml")
    assert volumes["cache"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert volumes["settings"]["configMap"]["name"] == settings["metadata"]["name"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)


def test_there_is_more_time_to_stop_than_the_server_takes(unit: dict[str, list[str]]) -> None:
    takes = Settings.model_fields["shutdown_seconds"].default + WORKERS_GRACE
    (deployment,) = documents("kubernetes/deployment.yaml")
    pod = deployment["spec"]["template"]["spec"]
    command, pause = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    assert pod["terminationGracePeriodSeconds"] > takes + int(pause)
    assert int(unit["TimeoutStopSec"][0]) > takes
    assert int(documents("docker/compose.yaml")[0]["services"]["lagotto"]["stop_grace_period"][:-1]) > takes


# systemd and Docker.


def test_the_service_may_do_little(unit: dict[str, list[str]]) -> None:
    for key in ("NoNewPrivileges", "DynamicUser", "PrivateTmp", "ProtectHome", "RestrictNamespaces"):
        assert unit[key] == ["yes"]
    assert unit["ProtectSystem"] == ["strict"]
    assert unit["CapabilityBoundingSet"] == [""]
    assert unit["ExecReload"] == ["/bin/kill -HUP $MAINPID"]


def test_the_service_s_user_can_read_its_settings() -> None:
    """systemd makes the user up, so nothing but what everybody may read can be read."""
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    assert "install -D -m 644 deploy/systemd/lagotto.toml /etc/lagotto/lagotto.toml" in readme


def test_systemd_accepts_the_unit(unit: dict[str, list[str]], tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd here")
    program = unit["ExecStart"][0].split()[0]
    file = tmp_path / "lagotto.service"
    text = (DEPLOY / "systemd/lagotto.service").read_text(encoding="utf-8")
    file.write_text(text.replace(program, sys.executable), encoding="utf-8")
    done = subprocess.run([analyze, "verify", str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert str(file) not in done.stderr, "warnings of other units are not ours"


def test_compose_mounts_what_there_is() -> None:
    (compose,) = documents("docker/compose.yaml")
    made = {"../../models", "./scrape.key", *compose["volumes"]}
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in made or (DEPLOY / "docker" / source).exists(), source
        for port in service["ports"]:
            assert port.startswith("127.0.0.1:")
    assert compose["services"]["lagotto"]["read_only"] is True


# Prometheus and Grafana.


def metrics_in(text: str) -> set[str]:
    return {re.sub(r"_bucket$", "", name) for name in re.findall(r"\blagotto_[a-z_]+", text)}


def test_every_metric_exists(served: TestClient) -> None:
    page = served.get("/metrics").text
    there = set(re.findall(r"^# TYPE (\w+)", page, re.MULTILINE))
    rules = documents("prometheus/alerts.yaml")[0]["groups"][0]["rules"]
    asked = set().union(*(metrics_in(rule["expr"]) for rule in rules))
    dashboard = json.loads((DEPLOY / "grafana/dashboard.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            asked |= metrics_in(target["expr"])
    assert asked
    assert asked <= there


def test_alerts_speak_of_routes_that_exist(served: TestClient) -> None:
    text = (DEPLOY / "prometheus/alerts.yaml").read_text(encoding="utf-8")
    paths = served.get("/openapi.json").json()["paths"]
    assert set(re.findall(r'route="([^"]+)"', text)) <= set(paths)


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    panels = json.loads((DEPLOY / "grafana/dashboard.json").read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


def test_prometheus_asks_with_a_key_at_the_path_of_metrics(served: TestClient) -> None:
    (config,) = documents("prometheus/prometheus.yaml")
    (job,) = config["scrape_configs"]
    assert served.get(job["metrics_path"]).status_code == 200
    mounted = documents("docker/compose.yaml")[0]["services"]["prometheus"]["volumes"]
    assert any(f":{job['authorization']['credentials_file']}:" in volume for volume in mounted)
    assert all((DEPLOY / "prometheus" / name).is_file() for name in config["rule_files"])
