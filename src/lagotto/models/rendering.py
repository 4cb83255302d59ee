"""How a text is written before it is tokenised: a literal prompt, an instruction in a template, or a role's default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from lagotto.cards.schema import ModelCard, PromptTemplate
from lagotto.core.errors import InvalidInputError

Role = Literal["text", "query", "document"]
"""What a text is: read as it stands, or written as the card says for one side of a search."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """What is written before and after every text of a call."""

    before: str = ""
    after: str = ""

    def __call__(self, text: str) -> str:
        """The text as the model should see it."""
        return self.before + text + self.after


def rendering(
    card: ModelCard, default_prompt: str, role: Role, prompt: str | None, instruction: str | None
) -> Rendering:
    """How texts of a role are written.

    ``default_prompt`` stands before texts that are neither query nor document. Raises `InvalidInputError` for an
    unknown role, for a prompt and an instruction at once, and for either of them that is not a string.
    """
    if role not in get_args(Role):
        raise InvalidInputError(f"role is {role!r}; allowed are {', '.join(get_args(Role))}")
    if prompt is not None and instruction is not None:
        raise InvalidInputError(
            "give prompt= (put before the text as it stands) or instruction= (put in by the template)"
        )
    for name, value in (("prompt", prompt), ("instruction", instruction)):
        if value is not None and not isinstance(value, str):
            raise InvalidInputError(f"{name} is a {type(value).__name__}; give a string")
    if prompt is not None:
        return Rendering(prompt)
    template = card.document if role == "document" else card.query
    if role == "text" and instruction is None:
        template = PromptTemplate(default_prompt)
    return Rendering(*template.around(instruction))
