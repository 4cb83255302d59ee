"""The body of Lagotto's own route, ``POST /v1/encode``."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from lagotto.batch.long_texts import Combination, LongTexts, MultiCls, Truncation, Windows
from lagotto.core.errors import InvalidInputError
from lagotto.models.examples import Example
from lagotto.models.rendering import Role
from lagotto.models.token_outputs import OutputName
from lagotto.server.dialects.paths import Dialect
from lagotto.server.dialects.schemas.base import Count, Request
from lagotto.server.vectors import DType

Span = Annotated[list[StrictInt], Field(min_length=2, max_length=2)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WindowsOptions(_Part):
    """`Windows`: read long texts whole, in overlapping windows."""

    size: Count | None = None
    overlap: Annotated[StrictInt, Field(ge=0)] = 64
    combine: Combination = "mean"


class WindowsPolicy(_Part):
    """``{"windows": {...}}``."""

    windows: WindowsOptions


class MultiClsOptions(_Part):
    """`MultiCls`: a CLS token before every so many tokens."""

    every: Count = 256
    truncation: Truncation = "right"


class MultiClsPolicy(_Part):
    """``{"multi_cls": {...}}``."""

    multi_cls: MultiClsOptions


class OutputTypes(_Part):
    """The numbers of each output."""

    dense: DType = "f32"
    sparse: Literal["f32", "f16"] = "f32"
    multivector: DType = "f32"


class WorkedExample(_Part):
    """`Example`: a query of the task and a passage that answers it."""

    query: StrictStr
    response: StrictStr
    instruct: StrictStr | None = None


class Encode(Request):
    """``POST /v1/encode``."""

    dialect: ClassVar[Dialect] = "openai"

    model: StrictStr
    input: StrictStr | list[StrictStr]
    role: Role = "text"
    prompt: StrictStr | None = None
    instruction: StrictStr | None = None
    task: StrictStr | None = None
    """A task that the model's card names."""
    examples: list[WorkedExample] | None = None
    """For models with in-context learning (bge-en-icl)."""
    outputs: Annotated[list[OutputName], Field(min_length=1)] | None = None
    spans: list[Span] | list[list[Span]] | None = None
    dimensions: Count | None = None
    normalize: bool | None = None
    max_length: Count | None = None
    truncation: Truncation | WindowsPolicy | MultiClsPolicy | None = None
    dtype: OutputTypes | DType = "f32"
    sparse_format: Literal["csr", "tokens"] = "csr"
    encoding_format: Literal["float", "base64"] = "float"
    format: Literal["json", "ndjson", "npz", "npy"] = "json"

    def long_texts(self) -> LongTexts | None:
        """What happens to long texts, as the library takes it."""
        if isinstance(self.truncation, WindowsPolicy):
            return Windows(**self.truncation.windows.model_dump())
        if isinstance(self.truncation, MultiClsPolicy):
            return MultiCls(**self.truncation.multi_cls.model_dump())
        return self.truncation

    def wording(self) -> dict[str, Any]:
        """How the texts are written, as the library takes it."""
        shown = None if self.examples is None else [Example(**one.model_dump()) for one in self.examples]
        return {
            "role": self.role,
            "prompt": self.prompt,
            "instruction": self.instruction,
            "task": self.task,
            "examples": shown,
        }

    def types(self) -> OutputTypes:
        """The numbers of each output; one name is for both kinds of vectors, and for weights where they allow it."""
        if isinstance(self.dtype, OutputTypes):
            return self.dtype
        return OutputTypes(dense=self.dtype, multivector=self.dtype, sparse="f16" if self.dtype == "f16" else "f32")

    def check(self) -> None:
        """Raise `InvalidInputError` for wishes that contradict each other."""
        if self.spans is not None and self.outputs is not None:
            raise InvalidInputError("spans get dense vectors of their own; leave out outputs", param="outputs")
        if self.spans is not None and self.format == "ndjson":
            raise InvalidInputError("spans come in json or npz, not in ndjson", param="format")
        if self.format in ("npz", "npy") and self.encoding_format != "float":
            raise InvalidInputError(f"{self.format} holds numbers; leave out encoding_format", param="encoding_format")
        if self.format in ("npz", "npy") and self.sparse_format != "csr":
            raise InvalidInputError(
                f"{self.format} holds numbers, no tokens; leave out sparse_format", param="sparse_format"
            )
        if self.format == "npy" and (self.spans is not None or self.outputs not in (None, ["dense"])):
            raise InvalidInputError("npy holds one matrix, the dense vectors; ask for npz", param="format")
