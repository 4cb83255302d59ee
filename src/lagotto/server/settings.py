"""`Settings` of the server: flags, then environment, then a TOML file, then defaults."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from lagotto.core.errors import ConfigError
from lagotto.server.key_settings import KeySettings
from lagotto.server.model_settings import EngineName, ModelSettings, PrecisionName, TruncationName, WeightsName

_MEGABYTE = 1 << 20
_FILE = "settings file"  # no field can have this name, so it can't be confused with a flag


def _names(*names: str) -> Any:
    """A field's names in the environment; flags and TOML use its own. A bare ``HOST`` or ``PORT`` is not ours."""
    return AliasChoices(*names)


class Settings(BaseSettings):
    """Everything an operator can decide. Unknown keys in the TOML file are an error."""

    # The prefix is that of no variable: without one, bare field names (HOST, PORT ...) would be read as well.
    model_config = SettingsConfigDict(
        extra="forbid", populate_by_name=True, env_prefix="LAGOTTO_SETTING_", env_ignore_empty=True, frozen=True
    )

    models: Annotated[list[str], NoDecode] = Field(default=[], validation_alias=_names("LAGOTTO_SERVE_MODELS"))
    """Models that clients may name, loaded at start: ``NAME`` or ``ALIAS=NAME``; comma-separated in the environment."""
    model: list[ModelSettings] = []
    """``[[model]]`` tables of the settings file: models with settings of their own."""
    model_storage_path: Path | None = Field(default=None, validation_alias=_names("MODEL_STORAGE_PATH"))
    """Folder of models; each one in it is allowed and loaded when first asked for."""
    host: str = Field(default="127.0.0.1", validation_alias=_names("LAGOTTO_HOST", "API_HOST"))
    port: int = Field(default=8000, ge=0, le=65535, validation_alias=_names("LAGOTTO_PORT", "API_PORT"))
    workers: int = Field(default=1, ge=1, le=64, validation_alias=_names("LAGOTTO_WORKERS"))
    """Processes that answer; threads, memory and what may wait are divided among them."""
    log_level: Literal["critical", "error", "warning", "info", "debug"] = Field(
        default="info", validation_alias=_names("LAGOTTO_LOG_LEVEL", "LOG_LEVEL")
    )
    log_format: Literal["text", "json"] = Field(default="text", validation_alias=_names("LAGOTTO_LOG_FORMAT"))
    engine: EngineName = Field(default="auto", validation_alias=_names("LAGOTTO_ENGINE"))
    device: str = Field(default="auto", validation_alias=_names("LAGOTTO_DEVICE"))
    use_fp16: bool = Field(default=True, validation_alias=_names("LAGOTTO_USE_FP16", "USE_FP16"))
    """False forces float32. True, the default, allows half precision where the device has it in hardware."""
    precision: PrecisionName = Field(default="auto", validation_alias=_names("LAGOTTO_PRECISION"))
    weights: WeightsName = Field(default="full", validation_alias=_names("LAGOTTO_WEIGHTS"))
    """Linear layers in 8 or 4 bits, on the torch engine."""
    threads: int | None = Field(default=None, ge=1, validation_alias=_names("LAGOTTO_THREADS"))
    cache_dir: Path | None = Field(default=None, validation_alias=_names("LAGOTTO_CACHE"))
    offline: bool = Field(default=False, validation_alias=_names("LAGOTTO_OFFLINE"))
    truncation: TruncationName = Field(default="right", validation_alias=_names("LAGOTTO_TRUNCATION"))
    """What happens to a text over a model's limit; ``error`` answers 400."""
    memory_budget_mb: int | None = Field(default=None, ge=1, validation_alias=_names("LAGOTTO_MEMORY_BUDGET_MB"))
    """Memory the process may hold: before another model is loaded, idle ones are unloaded."""
    keep_seconds: float = Field(default=0, ge=0, allow_inf_nan=False, validation_alias=_names("LAGOTTO_KEEP_SECONDS"))
    """How long a model stays in memory unused; 0 for ever."""
    key: list[KeySettings] = []
    """``[[key]]`` tables of the settings file: API keys."""
    api_key: SecretStr | None = Field(default=None, validation_alias=_names("LAGOTTO_API_KEY"))
    """A single key that may do everything, from the environment alone."""
    cors_origins: Annotated[list[str], NoDecode] = Field(default=[], validation_alias=_names("LAGOTTO_CORS_ORIGINS"))
    """Origins whose pages may ask this server, e.g. ``https://example.org``, or ``*``; none by default."""
    web_page: bool = Field(default=True, validation_alias=_names("LAGOTTO_WEB_PAGE"))
    """Whether browsers get a page to try the models with at ``/``."""
    max_inputs: int = Field(default=2048, ge=1, validation_alias=_names("LAGOTTO_MAX_INPUTS"))
    """Texts or documents one request may carry."""
    max_body_bytes: int = Field(default=32 * _MEGABYTE, ge=1024, validation_alias=_names("LAGOTTO_MAX_BODY_BYTES"))
    max_text_characters: int | None = Field(default=None, ge=1, validation_alias=_names("LAGOTTO_MAX_TEXT_CHARACTERS"))
    """Characters one text may have; by default what a request may, since a model reads no more than its limit."""
    max_header_bytes: int = Field(default=32_768, ge=1024, validation_alias=_names("LAGOTTO_MAX_HEADER_BYTES"))
    max_connections: int = Field(default=1000, ge=1, validation_alias=_names("LAGOTTO_MAX_CONNECTIONS"))
    """Connections at once; requests on more of them are answered 503."""
    header_timeout_seconds: float = Field(
        default=15, gt=0, allow_inf_nan=False, validation_alias=_names("LAGOTTO_HEADER_TIMEOUT_SECONDS")
    )
    """How long a client may take to send a request's headers before its connection is closed."""
    body_timeout_seconds: float = Field(
        default=60, gt=0, allow_inf_nan=False, validation_alias=_names("LAGOTTO_BODY_TIMEOUT_SECONDS")
    )
    """How long a client may take to send a request's body before it is answered 408."""
    keep_alive_seconds: int = Field(default=75, ge=0, validation_alias=_names("LAGOTTO_KEEP_ALIVE_SECONDS"))
    """How long a connection stays open between requests."""
    embedding_cache: bool = Field(default=True, validation_alias=_names("LAGOTTO_EMBEDDING_CACHE"))
    """Whether vectors are kept for texts that come again."""
    cache_memory_mb: int = Field(default=64, ge=0, validation_alias=_names("LAGOTTO_CACHE_MEMORY_MB"))
    cache_path: Path | None = Field(default=None, validation_alias=_names("LAGOTTO_CACHE_PATH"))
    """File that keeps vectors beyond a restart; none by default."""
    cache_disk_mb: int = Field(default=1024, ge=1, validation_alias=_names("LAGOTTO_CACHE_DISK_MB"))
    auto_truncate: bool = Field(default=False, validation_alias=_names("LAGOTTO_AUTO_TRUNCATE"))
    """Whether TEI's routes cut long texts of requests that do not say so; otherwise these are refused, as TEI does."""
    token_ids: Literal["marked", "own", "tiktoken"] = Field(
        default="marked", validation_alias=_names("LAGOTTO_TOKEN_IDS")
    )
    """Which lists of token ids are read: see `lagotto.server.token_ids`."""
    return_documents: bool = Field(default=False, validation_alias=_names("LAGOTTO_RETURN_DOCUMENTS"))
    """Whether ``/v1/rerank`` sends documents back to requests that do not say so: Jina does, Cohere does not."""
    max_queue_tokens: int = Field(default=500_000, ge=1, validation_alias=_names("LAGOTTO_MAX_QUEUE_TOKENS"))
    """Tokens that may wait for one model, as estimated from the size of the requests; more are answered 429."""
    interactive_tokens: int = Field(default=4096, ge=0, validation_alias=_names("LAGOTTO_INTERACTIVE_TOKENS"))
    """A request of up to so many tokens is interactive unless it says otherwise, a larger one is bulk."""
    request_timeout_seconds: float = Field(
        default=0, ge=0, allow_inf_nan=False, validation_alias=_names("LAGOTTO_REQUEST_TIMEOUT_SECONDS")
    )
    """The time of a request that does not give itself one; 0 is any."""
    loading_wait_seconds: float = Field(
        default=60, ge=0, allow_inf_nan=False, validation_alias=_names("LAGOTTO_LOADING_WAIT_SECONDS")
    )
    """How long a request waits for its model to be loaded before it is answered 503."""
    shutdown_seconds: int = Field(default=30, ge=0, validation_alias=_names("LAGOTTO_SHUTDOWN_SECONDS"))
    """How long requests in flight may take after Ctrl-C or SIGTERM."""

    @field_validator("models", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags stand above the environment, the environment above the file (passed beside the flags)."""
        flags = dict(init_settings())
        file = flags.pop(_FILE, {})
        return InitSettingsSource(settings_cls, flags), env_settings, InitSettingsSource(settings_cls, file)

    def chosen_precision(self) -> str:
        """The precision models are opened with. Raises `ConfigError` when two settings contradict each other."""
        if self.use_fp16:
            return self.precision
        if self.precision in ("bf16", "f16", "int8"):
            raise ConfigError(f"precision is {self.precision!r} but use_fp16 is false; drop one of the two")
        return "f32"

    def public(self) -> dict[str, Any]:
        """What ``GET /config`` shows: everything but folders of this machine and what concerns keys."""
        hidden = {"cache_dir", "model_storage_path", "cache_path", "key", "api_key"}
        shown = self.model_dump(mode="json", exclude=hidden)
        tables = [
            table.model_dump(mode="json", exclude={"name", "adapter", "adapters", "llm"}, exclude_none=True)
            | ({} if table.llm is None else {"llm": table.llm.public()})
            | {"alias": table.alias or [public_name(table.name)]}
            | ({"adapters": list(table.adapters)} if table.adapters else {})
            for table in self.model
        ]
        return {**shown, "models": [public_name(model) for model in self.models], "model": tables}


def public_name(model: str) -> str:
    """The name clients use for an entry of ``models``: the alias, or what was given unless it is a folder's path."""
    alias, equals, _ = model.partition("=")
    return alias if equals else Path(model).name if Path(model).expanduser().is_dir() else model


def load_settings(config_file: Path | None = None, **flags: Any) -> Settings:
    """Settings from flags (None means not given), the environment and a TOML file.

    Raises `ConfigError` with the setting's name, what came and what is allowed.
    """
    file = _read_toml(config_file) if config_file else {}
    given = {key: value for key, value in flags.items() if value not in (None, [])}
    unknown = sorted(set(file) - set(Settings.model_fields))
    if unknown:
        raise ConfigError(f"{config_file}: unknown settings {unknown}; known are {sorted(Settings.model_fields)}")
    if "api_key" in file:
        raise ConfigError(
            f"{config_file}: api_key is read from the environment alone (LAGOTTO_API_KEY); in a file keys are kept as "
            "digests: lagotto keys create NAME prints a [[key]] table"
        )
    try:
        arguments: dict[str, Any] = {**given, _FILE: file}
        settings = Settings(**arguments)
    except ValidationError as error:
        raise ConfigError(_explained(error)) from None
    settings.chosen_precision()
    return settings


def _explained(error: ValidationError) -> str:
    """One sentence about the first thing that is wrong; what concerns keys is not repeated."""
    first = error.errors()[0]
    loc = [str(part) for part in first["loc"]]
    where = ".".join([_field(loc[0]), *loc[1:]])
    secret = loc[0] == "key" or "llm" in loc or "API_KEY" in loc[0].upper()
    came = "" if secret else f" (came: {first.get('input')!r})"
    return f"setting {where}: {first['msg']}{came}"


def _field(name: str) -> str:
    """A setting by its own name, whichever name an error came under."""
    for field, info in Settings.model_fields.items():
        if isinstance(info.validation_alias, AliasChoices) and name in info.validation_alias.choices:
            return f"{field} ({name} in the environment)"
    return name


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"settings file {path} can't be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"settings file {path} is not TOML: {error}") from None
