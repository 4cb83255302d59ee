"""How a text is written before it is tokenised: a literal prompt, an instruction in a template, or a role's default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from lagotto.batch.frame import Frame, Joining
from lagotto.cards.schema import ModelCard, PromptTemplate
from lagotto.core.errors import InvalidInputError
from lagotto.models.examples import Examples, read_examples, written
from lagotto.models.named_tasks import task_prompt

Role = Literal["text", "query", "document"]
"""What a text is: read as it stands, or written as the card says for one side of a search."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """What is written before and after every text of a call."""

    before: str = ""
    after: str = ""
    frame: Frame | None = None
    """Set where only the text may be cut, and what stands around it may not."""

    def __call__(self, text: str) -> str:
        """The text as the model should see it."""
        return self.before + text + self.after


@dataclass(frozen=True, slots=True)
class Asked:
    """How a call wants its texts to be written; at most one of the first three."""

    prompt: str | None = None
    instruction: str | None = None
    task: str | None = None
    examples: Examples | None = None


def rendering(card: ModelCard, default_prompt: str, role: Role, asked: Asked) -> Rendering:
    """How texts of a role are written.

    ``default_prompt`` stands before texts that are neither query nor document. Raises `InvalidInputError` for an
    unknown role or task, for two of prompt, instruction and task at once, for one that is not a string, and for
    examples that the model or the role does not take.
    """
    if role not in get_args(Role):
        raise InvalidInputError(f"role is {role!r}; allowed are {', '.join(get_args(Role))}")
    _check(asked)
    own_words = (asked.prompt, asked.instruction, asked.task) != (None, None, None)
    if own_words and role != "text" and "last_tokens" in card.options:
        raise InvalidInputError(
            f"{card.name} reads its vector from the tokens that its own prompts end with; leave out prompt, "
            "instruction and task, or encode texts as they are"
        )
    template = card.document if role == "document" else card.query
    before, after = _around(card, default_prompt, role, asked, template)
    queries = role == "query" or (role == "text" and (asked.instruction is not None or asked.examples is not None))
    shown = "" if asked.examples is None else _examples(card, role, asked)
    if queries:
        after += str(card.options.get("suffix", ""))
    if not after and not shown:
        return Rendering(before)
    joining: Joining = card.options.get("joining", "joint")
    return Rendering(shown + before, after, Frame(before, after, shown, joining))


def _around(
    card: ModelCard, default_prompt: str, role: Role, asked: Asked, template: PromptTemplate
) -> tuple[str, str]:
    prompt = asked.prompt
    if asked.task is not None:
        prompt = task_prompt(card, asked.task, role)
    if prompt is not None:
        return prompt, ""
    if role == "text" and asked.instruction is None:
        template = PromptTemplate(default_prompt)
    return template.around(asked.instruction)


def _examples(card: ModelCard, role: Role, asked: Asked) -> str:
    if role == "document":
        raise InvalidInputError("examples are read before queries; documents have none", param="examples")
    usual = card.query.instruction if asked.instruction is None else asked.instruction
    return written(read_examples(asked.examples or ()), card, usual)


def _check(asked: Asked) -> None:
    given: dict[str, Any] = {"prompt": asked.prompt, "instruction": asked.instruction, "task": asked.task}
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise InvalidInputError(f"{name} is a {type(value).__name__}; give a string")
    if sum(value is not None for value in given.values()) > 1:
        raise InvalidInputError(
            "give prompt= (put before the text as it stands) or instruction= (put in by the template) or task= (one "
            "that the model's card names)"
        )
