"""The CPU engine: OpenVINO, with graphs built straight from a checkpoint's weights.

OpenVINO is imported here first, and without its telemetry: importing it reports to Google Analytics and leaves an id in
the home folder, and no setting turns that off. Without the package `openvino_telemetry` it uses a stub of its own.
"""

from __future__ import annotations

import sys

_TELEMETRY = "openvino_telemetry"
_hidden = _TELEMETRY not in sys.modules
if _hidden:
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # makes an import of it fail
try:
    import openvino  # noqa: F401
finally:
    if _hidden:
        del sys.modules[_TELEMETRY]
