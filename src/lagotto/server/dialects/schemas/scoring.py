"""`Scored`: what a request may ask of a reranker that is a language model, in every dialect alike."""

from __future__ import annotations

from pydantic import StrictInt, StrictStr

from lagotto.core.errors import InvalidInputError
from lagotto.models.score_options import ScoreOptions
from lagotto.server.dialects.schemas.base import Request


class Scored(Request):
    """Fields of Lagotto's own beside a dialect's; they mean what those of `ScoreOptions` do."""

    cutoff_layers: StrictInt | list[StrictInt] | None = None
    """The layer the score is read after; a list of one is the same."""
    compress_layers: StrictInt | list[StrictInt] | None = None
    compress_ratio: StrictInt | None = None
    instruction: StrictStr | None = None
    prompt: StrictStr | None = None

    def options(self) -> ScoreOptions:
        """The options. Raises `InvalidInputError` for several layers, since a reply has one score a document."""
        if isinstance(self.cutoff_layers, list) and len(self.cutoff_layers) != 1:
            raise InvalidInputError(
                f"cutoff_layers are {self.cutoff_layers}; a reply has one score a document, so name one layer",
                param="cutoff_layers",
            )
        return ScoreOptions(
            cutoff_layers=self.cutoff_layers,
            compress_layers=self.compress_layers,
            compress_ratio=self.compress_ratio,
            instruction=self.instruction,
            prompt=self.prompt,
        )
