"""One virtual environment per peer, from its pinned requirements, and what it costs to have it."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_INSTALLERS = ("pip", "setuptools", "wheel", "_distutils_hack", "pkg_resources")


class Environment:
    """A virtual environment that holds what a file of requirements names."""

    def __init__(self, folder: Path, requirements: Path) -> None:
        """Remember where it is; nothing is made yet."""
        self.folder, self.requirements = folder, requirements
        self.python = folder / "bin" / "python"

    def make(self) -> None:
        """Make it, unless it was made from the same requirements."""
        wanted = self.requirements.read_text("utf-8")
        stamp = self.folder / "requirements.txt"
        if stamp.exists() and _pins(stamp.read_text("utf-8")) == _pins(wanted):
            return
        self.delete()
        subprocess.run([sys.executable, "-m", "venv", str(self.folder)], check=True)
        install = [str(self.python), "-m", "pip", "install", "--quiet", "--no-compile"]
        subprocess.run([*install, "-r", str(self.requirements)], check=True)
        stamp.write_text(wanted, "utf-8")

    def delete(self) -> None:
        """Delete it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def installed_mb(self) -> float:
        """Return the size of what is installed in MB, without the installers and byte code."""
        (packages,) = self.folder.glob("lib/python*/site-packages")
        files = (
            path
            for entry in packages.iterdir()
            if not entry.name.startswith(_INSTALLERS)
            for path in ([entry] if entry.is_file() else entry.rglob("*"))
        )
        return sum(p.stat().st_size for p in files if p.is_file() and p.suffix != ".pyc") / 1e6

    def import_seconds(self, module: str, rounds: int = 3) -> float:
        """Return the processor time of importing a module; the least of some rounds, once warm."""
        bare = min(self._child_seconds("pass") for _ in range(rounds))
        self._child_seconds(f"import {module}")
        return min(self._child_seconds(f"import {module}") for _ in range(rounds)) - bare

    def _child_seconds(self, code: str) -> float:
        before = _children_seconds()
        subprocess.run(
            [str(self.python), "-c", code], check=True, env=one_thread(), capture_output=True
        )
        return _children_seconds() - before


def _pins(requirements: str) -> list[str]:
    """Return the lines that are not comments."""
    return [line for line in requirements.splitlines() if not line.startswith("#")]


def one_thread() -> dict[str, str]:
    """Return the environment of a process whose numeric libraries use one thread, offline.

    What PYTHONPATH names is not for peers: our `datasets` would hide theirs.
    """
    pools = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "RAYON")
    threads = {f"{pool}_NUM_THREADS": "1" for pool in pools}
    offline = {"HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**inherited, **threads, **offline, "OPENAI_API_KEY": "none"}


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
