"""The end token that a model with last-token pooling was trained with, checked against what its tokenizer adds."""

from __future__ import annotations

import logging

from lagotto.batch.tokenizer import Tokenizer
from lagotto.cards.checkpoint import Checkpoint
from lagotto.core.errors import CheckpointError

logger = logging.getLogger(__name__)


def with_end(checkpoint: Checkpoint, tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer, made to end texts as the model was trained; what is changed or doubtful is warned of.

    A tokenizer.json that puts another token behind texts is left as it is. Raises `CheckpointError` for an end token
    that the tokenizer does not have.
    """
    token = checkpoint.end_token
    if not token:
        return tokenizer
    found, suffix = tokenizer.token_id(token), tokenizer.template.suffix
    if found is None:
        raise CheckpointError(f"{checkpoint.name}: texts end with {token!r}, which is no token of tokenizer.json")
    if suffix and suffix[-1] != found:
        logger.warning(
            "%s: texts end with %r, as tokenizer.json says, and not with %r, as the model was trained; its vectors may "
            "be worse for it",
            *(checkpoint.name, tokenizer.decode(suffix[-1:]), token),
        )
        return tokenizer
    if suffix:
        return tokenizer
    logger.warning(
        "%s: tokenizer.json adds no end token, and the model was trained with %r: it is added behind every text",
        *(checkpoint.name, token),
    )
    return tokenizer.with_end(found)
