"""Answers read from a bare connection."""

from __future__ import annotations

import re
import socket


def statuses(answer: bytes) -> list[int]:
    """The status of each answer in what came."""
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def next_status(connection: socket.socket) -> int:
    """The status of the next answer, which is read whole: head and body come in as many pieces as they like."""
    found = b""
    while b"\r\n\r\n" not in found:
        part = connection.recv(65536)
        assert part, f"closed after {found!r}"
        found += part
    head, _, body = found.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return statuses(head)[0]
