"""`ModelSettings`: one ``[[model]]`` table of the settings file."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lagotto.cards.schema import Pooling
from lagotto.models.finding import check_adapter_name
from lagotto.models.rendering import Role
from lagotto.server.judge_settings import JudgeSettings

EngineName = Literal["auto", "openvino", "torch"]
PrecisionName = Literal["auto", "f32", "bf16", "f16", "int8"]
WeightsName = Literal["full", "int8", "int4", "nf4"]
_ELSEWHERE = ("name", "alias", "llm")
TruncationName = Literal["right", "left", "error"]


class ModelSettings(BaseModel):
    """How one model is found, named, run and kept. What is left out is as the server's own settings say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    """What is opened: a folder, ``ORG/NAME[@REVISION]`` or ``starter:NAME``."""
    alias: list[str] = []
    """Names clients use instead: one, or several."""
    eager: bool = True
    """Loaded at start; otherwise when it is first asked for."""
    engine: EngineName | None = None
    device: str | None = None
    precision: PrecisionName | None = None
    weights: WeightsName | None = None
    threads: int | None = Field(default=None, ge=1)
    max_length: int | None = Field(default=None, ge=1)
    """Tokens a text may have; the model's own limit by default."""
    truncation: TruncationName | None = None
    card: str | None = None
    """The listed model a folder was made from."""
    pooling: Pooling | None = None
    """How to pool, where the folder does not say."""
    adapter: str | None = Field(default=None, min_length=1)
    """A LoRA adapter on it, merged when it is loaded: a folder or a hub id."""
    adapters: dict[str, str] | None = None
    """LoRA adapters by name that stay beside its weights; each is a model of its own to clients, ``NAME:ADAPTER``."""
    compat: bool = False
    """Queries of bge-en-icl put together as FlagEmbedding does."""
    keep_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """How long it stays in memory unused; 0 for ever."""
    prompts: dict[Role, str] = {}
    """What is put before texts of a role (``text``, ``query``, ``document``) that come without one of their own."""

    llm: JudgeSettings | None = None
    """A language model behind an endpoint that reranks; ``name`` is then what clients call it."""

    @model_validator(mode="after")
    def _nothing_to_load(self) -> ModelSettings:
        if self.llm is not None and (more := sorted(self.model_fields_set - set(_ELSEWHERE))):
            raise ValueError(f"{more[0]} is for a model that is loaded here, and llm names one elsewhere; drop one")
        return self

    @field_validator("alias", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("adapters")
    @classmethod
    def _named(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        for name, source in (value or {}).items():
            check_adapter_name(name)
            if not source.strip():
                raise ValueError(f"adapter {name!r} has no folder or hub id")
        return value or None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.adapter is not None and self.adapters:
            raise ValueError(
                "adapter merges one into the weights, adapters keep several beside them; give one of the two"
            )
        return self

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str) -> str:
        if value != value.strip():
            raise ValueError("it begins or ends with white space")
        return value

    @field_validator("alias")
    @classmethod
    def _names(cls, value: list[str]) -> list[str]:
        for name in value:
            if not name or name != name.strip() or not name.isprintable():
                raise ValueError(f"{name!r} is no name; give printable characters without white space around them")
        return value
