"""Look up the pinned packages in databases of known holes, and say how many got an answer.

    make audit

It asks OSV and the index of packages about each version in constraints.txt, with pip-audit. It ends
with 1 if a package has a known hole, and with 2 if for some package no database has an answer: then
nothing is known about it, which is not the same as no hole.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

SERVICES = ("osv", "pypi")

HAS_HOLES, IS_UNKNOWN = 1, 2  # how it ends

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


@dataclass
class Audit:
    """What the databases say: holes by package, packages with an answer, and why others have none.

    A package is written "name version".
    """

    holes: dict[str, set[str]] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, service: str, report: dict[str, Any]) -> None:
        """Add what pip-audit reports of one service, in its JSON."""
        for one in report["dependencies"]:
            if "skip_reason" in one:
                self.reasons[one["name"]] = f"{service}: {one['skip_reason']}"
                continue
            package = f"{one['name']} {one['version']}"
            self.answered.add(package)
            if one["vulns"]:
                found = self.holes.setdefault(package, set())
                found |= {min([hole["id"], *hole.get("aliases", ())]) for hole in one["vulns"]}


def main() -> None:
    """Ask all services about all pins, print what they say, and end with its number."""
    pins = read_pins((ROOT / "constraints.txt").read_text("utf-8"))
    audit = Audit()
    for service in SERVICES:
        for some in rounds(pins):
            ask(audit, service, some)
    print(describe(audit, pins))
    sys.exit(verdict(audit, pins))


def read_pins(constraints: str) -> list[tuple[str, str]]:
    """Return all pinned names and versions, those of every Python."""
    return list(dict.fromkeys(_PIN.findall(constraints)))


def rounds(pins: list[tuple[str, str]]) -> list[dict[str, str]]:
    """Divide pins so that no name is twice in a part: pip-audit takes each name once."""
    parts: list[dict[str, str]] = []
    for name, version in pins:
        part = next((one for one in parts if name not in one), None)
        if part is None:
            parts.append(part := {})
        part[name] = version
    return parts


def ask(audit: Audit, service: str, pins: dict[str, str]) -> None:
    """Ask one service about some pins; a service that does not answer is noted."""
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        lines = [f"{name}=={version}\n" for name, version in pins.items()]
        requirements.write_text("".join(lines), "utf-8")
        options = ["--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json"]
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "pip_audit", *options, "--timeout=10",
             f"--vulnerability-service={service}", "--requirement", str(requirements)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    try:
        audit.add(service, json.loads(done.stdout))
    except json.JSONDecodeError:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        audit.reasons["all packages"] = f"{service}: {last[:200]}"


def unknown(audit: Audit, pins: list[tuple[str, str]]) -> list[str]:
    """Return the packages about which no database has an answer."""
    return [
        f"{name} {version}" for name, version in pins if f"{name} {version}" not in audit.answered
    ]


def verdict(audit: Audit, pins: list[tuple[str, str]]) -> int:
    """Return 0 if all packages have an answer and none has a hole."""
    if audit.holes:
        return HAS_HOLES
    return IS_UNKNOWN if unknown(audit, pins) else 0


def describe(audit: Audit, pins: list[tuple[str, str]]) -> str:
    """Return what was found as lines."""
    missing = unknown(audit, pins)
    lines = [f"{len(pins) - len(missing)} of {len(pins)} pinned packages were looked up."]
    lines += [
        f"  {package}: {', '.join(sorted(holes))}" for package, holes in sorted(audit.holes.items())
    ]
    if not audit.holes and len(missing) < len(pins):
        lines.append("None of these has a known hole.")
    if missing:
        more = ", ..." if len(missing) > 5 else ""
        lines.append(
            f"NOTHING IS KNOWN about {len(missing)} packages: {', '.join(missing[:5])}{more}. "
            "Run it where the databases can be reached."
        )
        lines += [f"  {name}: {reason}" for name, reason in sorted(audit.reasons.items())[:5]]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
