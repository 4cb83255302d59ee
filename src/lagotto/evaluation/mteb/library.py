"""Import mteb so that it neither reports home nor writes outside Lagotto's folders."""

from __future__ import annotations

import os
import sys
from typing import Any

from lagotto.core.errors import MissingDependencyError
from lagotto.core.paths import cache_dir

_CACHE_VARIABLE = "MTEB_CACHE"


def mteb_library() -> Any:
    """The ``mteb`` module. Raises `MissingDependencyError` without it.

    mteb makes the folder of its default cache when it is imported, ``~/.cache/mteb``; here it is made in Lagotto's
    cache, unless ``$MTEB_CACHE`` says where. A process that imported mteb before keeps what it has.
    """
    first = "mteb" not in sys.modules and _CACHE_VARIABLE not in os.environ
    if first:
        os.environ[_CACHE_VARIABLE] = str(cache_dir() / "mteb")
    try:
        import datasets
        import mteb
    except ImportError as error:
        raise MissingDependencyError(
            f'mteb tasks need mteb and datasets ({error}): pip install "lagotto[benchmarks]"'
        ) from None
    finally:
        if first:
            del os.environ[_CACHE_VARIABLE]
    # datasets tells its makers' server each time a data set is loaded.
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    return mteb
