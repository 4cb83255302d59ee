"""Token ids that clients send in place of texts: whose are they?

OpenAI's interface takes token ids, and LangChain's ``OpenAIEmbeddings`` sends them unless it is told not to: those of
tiktoken's ``cl100k_base``, whatever the model. Read as the ids of another tokenizer they stand for other words, and the
vectors mean nothing. A vocabulary does not tell them apart: frequent words have small ids in each, and XLM-RoBERTa's
250,002 entries cover all of tiktoken's. What does is that a model's own tokenizer puts special tokens around a text
(``[CLS] ... [SEP]``), which tiktoken never does.

- ``marked`` (the default): ids between the model's own special tokens are read, all others refused.
- ``own``: the operator knows that clients use the model's tokenizer; ids without special tokens are read too.
- ``tiktoken``: ids without special tokens are ``cl100k_base``'s; they are decoded and tokenised anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from lagotto.batch.tokenizer import Tokenizer
from lagotto.core.errors import InvalidInputError
from lagotto.server.inputs import Item
from lagotto.server.tiktoken_file import ENCODING, open_encoding

_CURE = (
    "Send the text itself: LangChain's OpenAIEmbeddings does with check_embedding_ctx_length=False. "
    "Ids of the model's own tokenizer are read with its special tokens around them, or whatever they are where the "
    "operator sets token_ids = 'own'; token_ids = 'tiktoken' decodes tiktoken's"
)


def read_ids(items: Sequence[Item], tokenizer: Tokenizer, policy: str, model: str) -> list[Item]:
    """Items as the model may read them: its own token ids stay, tiktoken's become texts where that is allowed.

    Raises `InvalidInputError` for ids that are, or may be, those of another tokenizer.
    """
    return [item if isinstance(item, str) else _read(item, n, tokenizer, policy, model) for n, item in enumerate(items)]


def _read(ids: list[int], number: int, tokenizer: Tokenizer, policy: str, model: str) -> Item:
    if _is_marked(ids, tokenizer):
        return ids
    if policy == "tiktoken":
        return _decode(ids, number)
    outside = next((i for i in ids if not 0 <= i < tokenizer.vocab_size), None)
    if outside is not None:
        raise InvalidInputError(
            f"input {number}: token id {outside} is outside the vocabulary of {model}, {tokenizer.vocab_size} entries: "
            f"it is another tokenizer's. {_CURE}",
            param="input",
        )
    if policy == "marked":
        raise InvalidInputError(
            f"input {number} is a list of token ids without the special tokens of {model}: they may be another "
            f"tokenizer's, and would get a meaningless vector. {_CURE}",
            param="input",
        )
    return ids


def _is_marked(ids: Sequence[int], tokenizer: Tokenizer) -> bool:
    """Whether ids have the model's special tokens around them, and are all in its vocabulary."""
    prefix, suffix = tokenizer.template.prefix, tokenizer.template.suffix
    if not prefix + suffix or len(ids) < len(prefix) + len(suffix):
        return False
    around = tuple(ids[: len(prefix)]), tuple(ids[len(ids) - len(suffix) :])
    return around == (prefix, suffix) and all(0 <= i < tokenizer.vocab_size for i in ids)


def _decode(ids: list[int], number: int) -> str:
    try:
        text = open_encoding().decode(ids)
    except KeyError as missing:
        raise InvalidInputError(
            f"input {number} holds token id {missing}, which tiktoken's {ENCODING} does not have. {_CURE}",
            param="input",
        ) from None
    if not text:
        raise InvalidInputError(f"input {number} are token ids of no text", param="input")
    return text
