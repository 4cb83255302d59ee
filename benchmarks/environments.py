"""One virtual environment for each rival, made on demand from `environments/NAME.txt`.

An environment is made once and kept; it is made again only when its requirements change. `NAME.no-deps.txt` lists
packages to install without what they ask for, where their pins could not be met. Every environment obeys
`constraints.txt`, which holds torch to one version. Options for pip (an index of CPU builds of torch, say) come through
pip's own environment variables, such as PIP_EXTRA_INDEX_URL.

    python benchmarks/environments.py [NAME ...] [--envs DIR]
"""

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "environments"
DEFAULT_ENVS = Path(".bench")


class InstallError(Exception):
    """An environment could not be made; the message holds the end of pip's own words."""


def names() -> list[str]:
    """The environments that can be made."""
    return sorted(p.stem for p in REQUIREMENTS.glob("*.txt") if p.stem != "constraints" and "." not in p.stem)


def ensure(name: str, envs: Path) -> Path:
    """The Python of the environment `name` under `envs`, made first if it is missing or older than its requirements.

    Raises InstallError, with pip's last lines, if pip fails.
    """
    if name not in names():
        raise InstallError(f"there is no environment {name!r}; there are: {', '.join(names())}")
    wanted = [REQUIREMENTS / f"{name}.txt", REQUIREMENTS / f"{name}.no-deps.txt", REQUIREMENTS / "constraints.txt"]
    state = hashlib.sha256(b"\0".join(f.read_bytes() for f in wanted if f.exists())).hexdigest()
    folder = envs / name
    python, stamp = folder / "bin" / "python", folder / "requirements.sha256"
    if sys.platform == "win32":
        python = folder / "Scripts" / "python.exe"
    if stamp.exists() and stamp.read_text() == state:
        return python.absolute()
    print(f"making the environment {name} in {folder}", file=sys.stderr)
    if not python.exists():
        _run([sys.executable, "-m", "venv", str(folder)], name)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*install, "-r", str(wanted[0]), "-c", str(wanted[2])], name)
    if wanted[1].exists():
        _run([*install, "--no-deps", "-r", str(wanted[1])], name)
    stamp.write_text(state)
    return python.absolute()


def _run(command: list[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if "ERROR" in line.upper()] or lines
        raise InstallError(f"the environment {name} could not be made: {errors[-1][:300] if errors else 'no message'}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(names())} (default: all)")
    parser.add_argument("--envs", type=Path, default=DEFAULT_ENVS, help="folder of the environments (default: .bench)")
    options = parser.parse_args()
    failed = 0
    for name in options.names or names():
        try:
            print(f"{name}: {ensure(name, options.envs)}")
        except InstallError as error:
            print(f"{name}: skipped, {error}")
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
