"""A progress bar, or a function of the caller's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager

Progress = bool | Callable[[int], None]
"""True shows a bar on stderr; a function is told how many texts (or pairs) were finished since the last call."""


@contextmanager
def progress_of(progress: Progress, inputs: object, unit: str) -> Iterator[Callable[[int], None] | None]:
    """What `pipeline.run` should call as batches finish."""
    if progress is False:
        yield None
    elif callable(progress):
        yield progress
    else:
        from tqdm import tqdm

        total = len(inputs) if isinstance(inputs, Sized) else None
        with tqdm(total=total, unit=unit) as bar:

            def advance(count: int) -> None:
                bar.update(count)

            yield advance
