"""A worker process that never gets ready."""

from __future__ import annotations

import time

time.sleep(3600)
