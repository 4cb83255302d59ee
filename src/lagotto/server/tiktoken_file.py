"""tiktoken's encoding ``cl100k_base``, read from the file that tiktoken keeps; only to turn its token ids into text.

The file has a line a token: its bytes in base64, and its id. Neither the package nor a connection is needed.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lagotto.core.errors import ConfigError

ENCODING = "cl100k_base"
_URL = f"https://openaipublic.blob.core.windows.net/encodings/{ENCODING}.tiktoken"
_SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"  # as tiktoken itself checks it
_SPECIAL = {
    100257: b"<|endoftext|>",
    100258: b"<|fim_prefix|>",
    100259: b"<|fim_middle|>",
    100260: b"<|fim_suffix|>",
    100276: b"<|endofprompt|>",
}


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """The bytes of every token."""

    tokens: dict[int, bytes]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; bytes that are no UTF-8 become U+FFFD. Raises ``KeyError`` for an id it lacks."""
        return b"".join(self.tokens[i] for i in ids).decode("utf-8", errors="replace")


def encoding_file() -> Path:
    """Where tiktoken keeps the file: its cache folder, under a name that is a digest of where it comes from."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    chosen = Path(folder) if folder else Path(tempfile.gettempdir()) / "data-gym-cache"
    return chosen / hashlib.sha1(_URL.encode(), usedforsecurity=False).hexdigest()


def open_encoding() -> Encoding:
    """The encoding, read once. Raises `ConfigError` when its file is not there or damaged."""
    return _read(encoding_file())


@cache
def _read(file: Path) -> Encoding:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"token_ids = 'tiktoken' needs the file of tiktoken's encoding {ENCODING}, and {file} can't be read "
            f"({error.strerror}). Set TIKTOKEN_CACHE_DIR to a folder that holds it: llama-index-core and litellm bring "
            f"it along, and tiktoken.get_encoding('{ENCODING}') fetches it where there is a connection"
        ) from None
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise ConfigError(f"{file} is not tiktoken's encoding {ENCODING}, or is damaged; delete it and fetch it anew")
    pairs = (line.split() for line in content.splitlines())
    return Encoding({int(number): base64.b64decode(token) for token, number in pairs} | _SPECIAL)
