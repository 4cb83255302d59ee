"""The formats of packed weights, each skipped where what packs it is not installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def needs(package: str) -> pytest.MarkDecorator:
    """Skips a test where a package is not installed."""
    return pytest.mark.skipif(find_spec(package) is None, reason=f"{package} is not installed")


INT8 = pytest.param("int8", marks=needs("torchao"))
INT4 = pytest.param("int4", marks=needs("torchao"))
NF4 = pytest.param("nf4", marks=needs("bitsandbytes"))
FORMATS = [INT8, INT4, NF4]
