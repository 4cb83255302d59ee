"""`HeldProcess`: a server's process in which something waits, for tests of what happens meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_CODE = """
import time
from pathlib import Path
from {module} import {owner} as owner
do = owner.{name}
def held(*args, **kwargs):
    Path({entered!r}).touch()
    while not Path({gate!r}).exists():
        time.sleep(0.01)
    return do(*args, **kwargs)
owner.{name} = held
"""


@dataclass(frozen=True)
class HeldProcess:
    """Waiting begins when `entered` exists, and ends when `gate` does; both lie in a folder of the test's own."""

    folder: Path

    @property
    def entered(self) -> Path:
        """There as soon as something waits."""
        return self.folder / "entered"

    @property
    def gate(self) -> Path:
        """``gate.touch()`` lets everything go on."""
        return self.folder / "gate"

    @property
    def computing(self) -> str:
        """Code that lets whatever is computed wait: what ``start(before=...)`` takes, or a ``sitecustomize.py``."""
        return self._held("lagotto.engines.openvino.engine", "OpenVinoEngine", "_infer")

    @property
    def loading(self) -> str:
        """The same for the loading of models."""
        return self._held("lagotto.server", "pool", "open_any")

    def _held(self, module: str, owner: str, name: str) -> str:
        entered, gate = str(self.entered), str(self.gate)
        return _CODE.format(module=module, owner=owner, name=name, entered=entered, gate=gate)
