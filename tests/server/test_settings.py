"""Settings: flags, then environment, then a TOML file, then defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from lagotto.core.errors import ConfigError
from lagotto.server.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def no_cache_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAGOTTO_CACHE")


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


DEFAULTS: dict[str, Any] = {
    "models": [],
    "model": [],
    "model_storage_path": None,
    "host": "127.0.0.1",
    "port": 8000,
    "workers": 1,
    "log_level": "info",
    "log_format": "text",
    "engine": "auto",
    "device": "auto",
    "use_fp16": True,
    "precision": "auto",
    "weights": "full",
    "threads": None,
    "cache_dir": None,
    "offline": False,
    "truncation": "right",
    "memory_budget_mb": None,
    "keep_seconds": 0,
    "key": [],
    "api_key": None,
    "cors_origins": [],
    "web_page": True,
    "max_inputs": 2048,
    "max_body_bytes": 32 * 1024 * 1024,
    "max_text_characters": None,
    "max_header_bytes": 32 * 1024,
    "max_connections": 1000,
    "header_timeout_seconds": 15,
    "body_timeout_seconds": 60,
    "keep_alive_seconds": 75,
    "embedding_cache": True,
    "cache_memory_mb": 64,
    "cache_path": None,
    "cache_disk_mb": 1024,
    "auto_truncate": False,
    "token_ids": "marked",
    "return_documents": False,
    "max_queue_tokens": 500_000,
    "interactive_tokens": 4096,
    "request_timeout_seconds": 0,
    "loading_wait_seconds": 60,
    "shutdown_seconds": 30,
}

ENVIRONMENT: list[tuple[str, str, str, Any]] = [
    ("LAGOTTO_SERVE_MODELS", "a, b,,alias=c/d", "models", ["a", "b", "alias=c/d"]),
    ("MODEL_STORAGE_PATH", "/models", "model_storage_path", Path("/models")),
    ("API_HOST", "0.0.0.0", "host", "0.0.0.0"),
    ("LAGOTTO_HOST", "::1", "host", "::1"),
    ("API_PORT", "80", "port", 80),
    ("LAGOTTO_PORT", "0", "port", 0),
    ("LAGOTTO_WORKERS", "2", "workers", 2),
    ("LOG_LEVEL", "debug", "log_level", "debug"),
    ("LOG_LEVEL", "WARNING", "log_level", "warning"),
    ("LOG_LEVEL", "Error", "log_level", "error"),
    ("LAGOTTO_LOG_LEVEL", "CRITICAL", "log_level", "critical"),
    ("LAGOTTO_ENGINE", "torch", "engine", "torch"),
    ("LAGOTTO_DEVICE", "cuda:1", "device", "cuda:1"),
    ("USE_FP16", "false", "use_fp16", False),
    ("USE_FP16", "0", "use_fp16", False),
    ("USE_FP16", "True", "use_fp16", True),
    ("LAGOTTO_USE_FP16", "no", "use_fp16", False),
    ("LAGOTTO_PRECISION", "bf16", "precision", "bf16"),
    ("LAGOTTO_PRECISION", "int8", "precision", "int8"),
    ("LAGOTTO_WEIGHTS", "nf4", "weights", "nf4"),
    ("LAGOTTO_THREADS", "3", "threads", 3),
    ("LAGOTTO_CACHE", "/cache", "cache_dir", Path("/cache")),
    ("LAGOTTO_OFFLINE", "1", "offline", True),
    ("LAGOTTO_TRUNCATION", "error", "truncation", "error"),
    ("LAGOTTO_AUTO_TRUNCATE", "true", "auto_truncate", True),
    ("LAGOTTO_TOKEN_IDS", "own", "token_ids", "own"),
    ("LAGOTTO_RETURN_DOCUMENTS", "yes", "return_documents", True),
    ("LAGOTTO_WEB_PAGE", "no", "web_page", False),
    ("LAGOTTO_MAX_INPUTS", "7", "max_inputs", 7),
    ("LAGOTTO_MAX_BODY_BYTES", "5000", "max_body_bytes", 5000),
    ("LAGOTTO_LOG_FORMAT", "json", "log_format", "json"),
    ("LAGOTTO_MEMORY_BUDGET_MB", "900", "memory_budget_mb", 900),
    ("LAGOTTO_KEEP_SECONDS", "1.5", "keep_seconds", 1.5),
    ("LAGOTTO_API_KEY", "secret", "api_key", SecretStr("secret")),
    (
        "LAGOTTO_CORS_ORIGINS",
        "https://a.example, https://b.example",
        "cors_origins",
        ["https://a.example", "https://b.example"],
    ),
    ("LAGOTTO_MAX_TEXT_CHARACTERS", "9", "max_text_characters", 9),
    ("LAGOTTO_MAX_HEADER_BYTES", "2000", "max_header_bytes", 2000),
    ("LAGOTTO_MAX_CONNECTIONS", "5", "max_connections", 5),
    ("LAGOTTO_HEADER_TIMEOUT_SECONDS", "0.5", "header_timeout_seconds", 0.5),
    ("LAGOTTO_BODY_TIMEOUT_SECONDS", "2", "body_timeout_seconds", 2),
    ("LAGOTTO_KEEP_ALIVE_SECONDS", "9", "keep_alive_seconds", 9),
    ("LAGOTTO_EMBEDDING_CACHE", "false", "embedding_cache", False),
    ("LAGOTTO_CACHE_MEMORY_MB", "0", "cache_memory_mb", 0),
    ("LAGOTTO_CACHE_PATH", "/c/v.sqlite", "cache_path", Path("/c/v.sqlite")),
    ("LAGOTTO_CACHE_DISK_MB", "7", "cache_disk_mb", 7),
    ("LAGOTTO_MAX_QUEUE_TOKENS", "1000", "max_queue_tokens", 1000),
    ("LAGOTTO_INTERACTIVE_TOKENS", "0", "interactive_tokens", 0),
    ("LAGOTTO_REQUEST_TIMEOUT_SECONDS", "2.5", "request_timeout_seconds", 2.5),
    ("LAGOTTO_LOADING_WAIT_SECONDS", "0.5", "loading_wait_seconds", 0.5),
    ("LAGOTTO_SHUTDOWN_SECONDS", "0", "shutdown_seconds", 0),
]

FILE = """
models = ["a", "x=b"]
model_storage_path = "/m"
host = "::"
port = 1
workers = 3
log_level = "ERROR"
use_fp16 = false
precision = "f32"
weights = "int8"
engine = "torch"
device = "cuda:0,cuda:1"
threads = 2
cache_dir = "/c"
offline = true
truncation = "left"
auto_truncate = true
token_ids = "tiktoken"
return_documents = true
web_page = false
max_inputs = 5
max_body_bytes = 4096
log_format = "json"
memory_budget_mb = 1
keep_seconds = 2
cors_origins = ["*"]
max_text_characters = 3
max_header_bytes = 4096
max_connections = 5
header_timeout_seconds = 6
body_timeout_seconds = 7
keep_alive_seconds = 8
embedding_cache = false
cache_memory_mb = 9
cache_path = "/c/v"
cache_disk_mb = 10
max_queue_tokens = 100
interactive_tokens = 10
request_timeout_seconds = 1.5
loading_wait_seconds = 3
shutdown_seconds = 9
[[model]]
name = "c"
[[key]]
name = "d"
hash = "sha256:{}"
""".replace("{}", 64 * "0")
FILE_ONLY = {"model", "key"}
"""Tables, which have no place in the environment."""


def test_the_defaults_are_these() -> None:
    assert load_settings().model_dump() == DEFAULTS


@pytest.mark.parametrize(("name", "value", "field", "expected"), ENVIRONMENT)
def test_the_environment_sets(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, field: str, expected: Any
) -> None:
    monkeypatch.setenv(name, value)
    assert load_settings().model_dump() == DEFAULTS | {field: expected}


def test_every_setting_has_an_environment_name_that_is_tested() -> None:
    assert {field for _, _, field, _ in ENVIRONMENT} | FILE_ONLY == set(Settings.model_fields)


def test_an_empty_environment_variable_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, *_ in ENVIRONMENT:
        monkeypatch.setenv(name, "")
    assert load_settings().model_dump() == DEFAULTS


@pytest.mark.parametrize("field", list(DEFAULTS))
def test_an_environment_name_without_our_prefix_is_not_ours(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    if field.upper() not in {name for name, *_ in ENVIRONMENT}:
        for name in (field, field.upper()):
            monkeypatch.setenv(name, "99")
    assert load_settings().model_dump() == DEFAULTS


def test_the_folder_of_downloaded_models_is_no_list_of_models_to_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAGOTTO_MODELS", "/srv/models")
    assert load_settings().models == []


def test_a_file_sets_every_setting(tmp_path: Path) -> None:
    found = load_settings(toml(tmp_path, FILE)).model_dump()
    assert all(found[field] != default for field, default in DEFAULTS.items() if field != "api_key")
    assert found["models"] == ["a", "x=b"]
    assert (found["host"], found["log_level"], found["cache_dir"]) == ("::", "error", Path("/c"))


def test_models_in_a_file_may_be_one_string(tmp_path: Path) -> None:
    assert load_settings(toml(tmp_path, "models = 'a, x=b'")).models == ["a", "x=b"]


@pytest.mark.parametrize("name", ["API_PORT", "LAGOTTO_PORT"])
def test_flags_stand_above_the_environment_above_the_file_above_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    file = toml(tmp_path, "port = 1\nhost = 'file'\nthreads = 4")
    assert load_settings(file).port == 1
    monkeypatch.setenv(name, "2")
    assert load_settings(file).port == 2
    found = load_settings(file, port=3, host=None, models=[])
    assert (found.port, found.host, found.threads, found.models) == (3, "file", 4, [])


def test_a_flag_of_zero_or_false_is_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "2")
    monkeypatch.setenv("LAGOTTO_OFFLINE", "true")
    found = load_settings(port=0, offline=False)
    assert (found.port, found.offline) == (0, False)


def test_our_own_name_stands_above_the_one_other_servers_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "1")
    monkeypatch.setenv("LAGOTTO_PORT", "2")
    assert load_settings().port == 2


@pytest.mark.parametrize(
    ("given", "precision"),
    [
        ({}, "auto"),
        ({"precision": "bf16"}, "bf16"),
        ({"precision": "int8"}, "int8"),
        ({"use_fp16": True, "precision": "f32"}, "f32"),
        ({"use_fp16": False}, "f32"),
        ({"use_fp16": False, "precision": "f32"}, "f32"),
    ],
)
def test_half_precision_may_be_forbidden(given: dict[str, Any], precision: str) -> None:
    assert load_settings(**given).chosen_precision() == precision


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_less_precision_that_is_asked_for_and_forbidden_is_a_mistake(precision: str) -> None:
    with pytest.raises(ConfigError, match=f"precision is '{precision}' but use_fp16 is false"):
        load_settings(use_fp16=False, precision=precision)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", "70000"),
        ("port", "-1"),
        ("port", "http"),
        ("log_level", "loud"),
        ("precision", "int3"),
        ("threads", "0"),
        ("offline", "perhaps"),
        ("truncation", "middle"),
        ("max_inputs", "0"),
        ("max_body_bytes", "1"),
        ("shutdown_seconds", "-1"),
        ("max_queue_tokens", "0"),
        ("interactive_tokens", "-1"),
        ("request_timeout_seconds", "-0.1"),
        ("request_timeout_seconds", "inf"),
        ("loading_wait_seconds", "nan"),
        ("use_fp16", "half"),
    ],
)
def test_a_bad_value_is_one_line_that_names_setting_and_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, field: str, value: str
) -> None:
    file = toml(tmp_path, f"{field} = '{value}'")
    monkeypatch.setenv(f"LAGOTTO_{field.upper()}", value)
    for given in ((None, {field: value}), (None, {}), (file, {})):
        with pytest.raises(ConfigError) as caught:
            load_settings(given[0], **given[1])
        assert "\n" not in str(caught.value)
        assert field in str(caught.value).lower()
        assert repr(value) in str(caught.value)


@pytest.mark.parametrize("text", ["models = 5", "models = [1]", "threads = []", "host = 1", "cache_dir = 1"])
def test_a_value_of_a_wrong_type_in_a_file_is_a_mistake(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=text.partition(" ")[0]):
        load_settings(toml(tmp_path, text))


@pytest.mark.parametrize("text", ["prot = 1", "[server]\nport = 1", "API_PORT = 1", "LAGOTTO_PORT = 1", "Port = 1"])
def test_an_unknown_key_in_a_file_is_refused_with_those_that_are_known(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown settings .*known are .*'port'"):
        load_settings(toml(tmp_path, text))


@pytest.mark.parametrize("text", ["port =", "port = 1\nport = 2", "= 5"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"settings\.toml is not TOML"):
        load_settings(toml(tmp_path, text))


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_settings(path)


def test_a_file_that_cant_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match=f"settings file {path} can't be read"):
            load_settings(path)


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        load_settings(nonsense=1)


def test_settings_cant_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 5
