"""A worker process that never gets ready."""

from __future__ import annotations

import time

if __name__ == "__main__":
    time.sleep(3600)
