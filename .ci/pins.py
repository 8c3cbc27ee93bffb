"""Write constraints.txt from what pip resolved for each Python.

Run once per Python, in a fresh virtual environment, then merge:

    python -m pip install --dry-run --ignore-installed --report pins-3.11.json \
        -c <(echo torch==2.13.0) hatchling '.[all,dev,demo]'
    python .ci/pins.py pins-*.json > constraints.txt
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

HEAD = """\
# What a run installs, pinned so that it is the same tomorrow. Pip reads it as limits: nothing here
# is installed unless something asks for it. Written by .ci/pins.py from what pip resolved in fresh
# environments, one per Python; where Pythons differ, a marker says which line is whose, because no
# one version of numpy and others serves them all.
#
# torch: a CPU build named 2.13.0+cpu counts as 2.13.0 and is preferred where pip is shown one
# (--find-links or an index); a plain 2.13.0 for Linux brings CUDA packages, which nothing here
# uses. They have no pins: a run that installs one has taken the wrong torch.
"""
CUDA = re.compile(r"nvidia-|cuda-|triton$")


def resolved(report: Path) -> tuple[str, dict[str, str]]:
    """Return the Python of a report, "3.11", and name -> version, without local parts."""
    found = json.loads(report.read_text("utf-8"))
    python = ".".join(found["environment"]["python_version"].split(".")[:2])
    versions = {}
    for item in found["install"]:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        if name != "tryage" and not CUDA.match(name):
            versions[name] = item["metadata"]["version"].partition("+")[0]
    return python, versions


def lines(name: str, versions: dict[str, str], pythons: list[str]) -> list[str]:
    """Write one pin, or one for each run of Pythons that share a version."""
    if len(set(versions.values())) == 1:
        return [f"{name}=={next(iter(versions.values()))}"]
    runs: list[list[str]] = []
    for python in pythons:
        if python in versions:
            if runs and versions[runs[-1][-1]] == versions[python]:
                runs[-1].append(python)
            else:
                runs.append([python])
    return [f"{name}=={versions[run[0]]} ; {marker(run, pythons)}" for run in runs]


def marker(run: list[str], pythons: list[str]) -> str:
    """Say which Pythons a pin is for; the last run reaches to whatever comes after."""
    after = pythons.index(run[-1]) + 1
    parts = [f'python_version >= "{run[0]}"'] if run[0] != pythons[0] else []
    parts += [f'python_version < "{pythons[after]}"'] if after < len(pythons) else []
    return " and ".join(parts)


def main() -> None:
    """Merge the reports named on the command line."""
    reports = dict(map(resolved, map(Path, sys.argv[1:])))
    pythons = sorted(reports, key=lambda python: [int(part) for part in python.split(".")])
    names = sorted({name for versions in reports.values() for name in versions})
    sys.stdout.write(HEAD)
    for name in names:
        versions = {p: reports[p][name] for p in pythons if name in reports[p]}
        sys.stdout.write("\n".join(lines(name, versions, pythons)) + "\n")


if __name__ == "__main__":
    main()
