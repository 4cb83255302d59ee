"""The values of a reranker that asks a language model: `JudgedRanking`, `JudgedScores`, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, fields

from lagotto.core.values import Ranking, Scores


@dataclass(frozen=True, slots=True)
class JudgingReport:
    """What judging took, and how much of what the model answered could not be used. Reports can be added."""

    calls: int = 0
    """Requests that were answered, questions asked again included."""
    prompt_tokens: int = 0
    """As the endpoint counted them."""
    completion_tokens: int = 0
    """Likewise; what a model thinks before it answers is among them."""
    unmetered: int = 0
    """Calls for which the endpoint told no tokens: they are in `calls`, and not in the sums of tokens."""
    retries: int = 0
    """Requests sent again because the endpoint failed, was busy or could not be reached."""
    malformed: int = 0
    """Answers without the form that was asked for. The question is asked again, up to ``reasks`` times."""
    unread: int = 0
    """Questions to which no answer could be read in the end."""
    missing: int = 0
    """Identifiers that were left out of an order; their documents went to its end, in their old order."""
    duplicate: int = 0
    """Identifiers that an order named again; the first place counted."""
    unknown: int = 0
    """Identifiers in an order that no passage has; they were left out."""
    seconds: float = 0.0
    """From the first request to the last answer; in a sum, the sum."""

    def __add__(self, other: JudgingReport) -> JudgingReport:
        return JudgingReport(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    @property
    def flaws(self) -> int:
        """How often something about an answer was wrong."""
        return self.malformed + self.missing + self.duplicate + self.unknown

    def __str__(self) -> str:
        said = (
            f"{self.calls} calls, {self.prompt_tokens} prompt and {self.completion_tokens} completion tokens, "
            f"{self.retries} retries, {self.seconds:.1f} s"
        )
        unmetered = f", {self.unmetered} calls without a count of tokens" if self.unmetered else ""
        return f"{said}{unmetered}{self.complaints()}"

    def complaints(self) -> str:
        """What was wrong with answers, in words that follow a comma; empty where nothing was."""
        found = [
            (self.malformed, "malformed answers"),
            (self.unread, "questions without a readable answer"),
            (self.missing, "missing identifiers"),
            (self.duplicate, "duplicate identifiers"),
            (self.unknown, "unknown identifiers"),
        ]
        return "".join(f", {count} {what}" for count, what in found if count)


@dataclass(frozen=True, slots=True)
class JudgedRanking(Ranking):
    """A `Ranking` by a language model; ``tokens`` are those of all prompts."""

    report: JudgingReport = JudgingReport()
    """What it cost, and what was wrong with answers."""
    unjudged: tuple[int, ...] = ()
    """Indexes of documents for which no judgement could be read; they stand last, in their old order."""


@dataclass(frozen=True, slots=True, eq=False)
class JudgedScores(Scores):
    """`Scores` by a language model; ``tokens`` are those of each pair's last prompt, 0 where none were told."""

    report: JudgingReport = JudgingReport()
    unjudged: tuple[int, ...] = ()
    """Numbers of the pairs for which no judgement could be read; they have the scale's lowest score."""
