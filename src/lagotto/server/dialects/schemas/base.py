"""What request bodies of every dialect are made of."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from lagotto.server.dialects.paths import Dialect

Count = Annotated[StrictInt, Field(ge=1)]
"""A number of things, one at least."""
Ids = list[StrictInt]
Inputs = StrictStr | list[StrictStr] | list[StrictInt] | list[list[StrictInt]]
"""A text, texts, token ids of one text, token ids of several."""

Pairs = StrictStr | list[StrictStr | list[StrictStr]]
"""Pairs of texts; what is no pair is refused with a message of our own, since such clients also send single texts."""


class Request(BaseModel):
    """A request body; an unknown field is an error, since it would be a wish nobody grants."""

    model_config = ConfigDict(extra="forbid")

    dialect: ClassVar[Dialect]
    """Whose shape the body has, and errors about it."""


class TextObject(BaseModel):
    """A text given as an object."""

    model_config = ConfigDict(extra="forbid")

    text: StrictStr


class Document(BaseModel):
    """A document given as an object; further keys are the client's own and come back with it."""

    model_config = ConfigDict(extra="allow")

    text: StrictStr


def text_of(given: str | TextObject | Document) -> str:
    """The text, however it was given."""
    return given if isinstance(given, str) else given.text
