"""Build the wheel and the sdist of a release twice, check them, and list what is in them.

    make release

Run from a clean checkout. It stops at the first thing that is wrong; `dist/` then holds no file of
this version. What it leaves in `dist/`: the wheel, the sdist, what the wheel needs with the digest
of each file (`pip install --require-hashes`), the software bill of materials of an environment with
nothing but the wheel (CycloneDX), and SHA256SUMS of all four.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"

# Two builds must not differ by where, when, by whom and in which language they are made.
CONDITIONS = (
    {"umask": 0o022, "TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"},
    {"umask": 0o077, "TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONHASHSEED": "1"},
)

# What a user does first with the wheel; it needs no network and no file of this checkout.
SMOKE_TEST = """
import tryage
decision = tryage.Router.from_pretrained().route("Prove that the square root of 2 is irrational.")
assert tryage.__version__ == {version!r}, tryage.__version__
print("  routed to", decision.expert.name)
"""


def main() -> None:
    """Do all steps; `--any-version` also accepts a version that the changelog does not have."""
    version = read_version()
    if "--any-version" not in sys.argv[1:]:
        check_changelog(version, (ROOT / "CHANGELOG.md").read_text("utf-8"))
    check_clean()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, second = (
            build(folder / f"build {i}", conditions) for i, conditions in enumerate(CONDITIONS)
        )
        check_equal(first, second)
        run(sys.executable, "-m", "twine", "check", "--strict", *first)
        requirements = write_requirements(folder, version)
        bill = install_and_list(folder, wheel_of(first), requirements, version)
        publish([*first, requirements, bill])


def read_version() -> str:
    """Return the version of pyproject.toml; the package must say the same."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    version = str(project["version"])
    source = (ROOT / "shared/tryage/__init__.py").read_text("utf-8")
    if f'__version__ = "{version}"' not in source:
        raise SystemExit(f"pyproject.toml says {version}, and shared/tryage/__init__.py does not.")
    return version


def check_changelog(version: str, changelog: str) -> None:
    """Raise unless the newest section is that of the version, with a date."""
    sections = re.findall(r"^## \[([^\]]+)\](?: - (\d{4}-\d{2}-\d{2}))?$", changelog, re.MULTILINE)
    newest = sections[0] if sections else ("nothing", "")
    if newest[0] != version or not newest[1]:
        raise SystemExit(
            f"CHANGELOG.md begins with the section [{newest[0]}], and the version is {version}. "
            f"Name the section `## [{version}] - <date>`, and raise the version in pyproject.toml "
            "and shared/tryage/__init__.py; or try the build with --any-version."
        )


def check_clean() -> None:
    """Raise if the checkout has changes: a release is what a commit holds."""
    changes = run("git", "status", "--porcelain").strip()
    if changes:
        raise SystemExit(f"Commit or remove these changes first:\n{changes}")


def build(folder: Path, conditions: dict[str, Any]) -> list[Path]:
    """Build both from the files of the last commit alone; return the wheel and the sdist."""
    source, target = folder / "source", folder / "dist"
    umask, env = conditions["umask"], {k: v for k, v in conditions.items() if k != "umask"}
    run("git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(source), umask=umask)
    env["SOURCE_DATE_EPOCH"] = run("git", "log", "-1", "--format=%ct").strip()
    command = (sys.executable, "-m", "build", "--outdir", str(target), str(source))
    run(*command, env=env, umask=umask)
    return sorted(target.iterdir())


def check_equal(first: list[Path], second: list[Path]) -> None:
    """Raise unless two builds in two folders gave the same bytes."""
    for one, other in zip(first, second, strict=True):
        if sha256(one) != sha256(other):
            raise SystemExit(f"Two builds of {one.name} differ: it cannot be reproduced.")
        print(f"  {sha256(one)}  {one.name}, twice")


def write_requirements(folder: Path, version: str) -> Path:
    """Write what the base install needs, on each Python and system, with the digests of its files.

    The versions are those of constraints.txt.
    """
    requirements = folder / f"tryage-{version}-requirements.txt"
    command = (sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header")
    options = ("--universal", "--generate-hashes", "--constraint", "constraints.txt")
    run(*command, *options, "--output-file", str(requirements), "pyproject.toml")
    return requirements


def install_and_list(folder: Path, wheel: Path, requirements: Path, version: str) -> Path:
    """Install the wheel with what it needs, use it, and return the bill of what was installed.

    Nothing is built: all that it needs comes as wheels, of which no code runs meanwhile.
    """
    environment = folder / "environment"
    venv.create(environment, with_pip=True)
    python, report = environment / "bin" / "python", folder / "installed.json"
    install = (str(python), "-m", "pip", "install", "--quiet", "--only-binary", ":all:")
    run(*install, "--require-hashes", "--report", str(report), "--requirement", str(requirements))
    run(*install, "--no-deps", str(wheel))
    print(run(str(python), "-c", SMOKE_TEST.format(version=version), cwd=folder).rstrip())
    run(str(environment / "bin" / "tryage"), "--help", cwd=folder)
    run(str(python), "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools", "pip")
    bill = folder / f"tryage-{version}.cdx.json"
    command = (sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible")
    content = without_local_addresses(run(*command, str(python)))
    digests = {**installed_digests(report.read_text("utf-8")), "tryage": sha256(wheel)}
    bill.write_text(with_digests(content, digests), "utf-8")
    check_bill(bill.read_text("utf-8"))
    return bill


def installed_digests(report: str) -> dict[str, str]:
    """Return name -> SHA-256 of the file that was installed, from a report of pip."""
    return {
        one["metadata"]["name"]: one["download_info"]["archive_info"]["hashes"]["sha256"]
        for one in json.loads(report)["install"]
    }


def with_digests(bill: str, digests: dict[str, str]) -> str:
    """Return a bill of materials with the SHA-256 of the file of each component."""
    content, known = json.loads(bill), {normal_name(name): one for name, one in digests.items()}
    for component in content["components"]:
        digest = known[normal_name(component["name"])]
        component["hashes"] = [{"alg": "SHA-256", "content": digest}]
    return json.dumps(content, indent=2) + "\n"


def normal_name(name: str) -> str:
    """Return the name of a package as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def check_bill(bill: str) -> None:
    """Raise unless a bill of materials is valid, and each component has a licence and a digest."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    content = json.loads(bill)
    schema = SchemaVersion.from_version(content["specVersion"])
    error = JsonStrictValidator(schema).validate_str(bill)
    if error is not None:
        raise SystemExit(f"The bill of materials is not valid: {error}")
    if bare := bare_components(content):
        raise SystemExit(f"The bill of materials lacks licences or digests of: {', '.join(bare)}.")
    print(f"  {len(content['components'])} packages, each with its licence and digest")


def bare_components(bill: dict[str, Any]) -> list[str]:
    """Return the names of the components without a licence or a digest."""
    return [
        one["name"] for one in bill["components"] if not (one.get("licenses") and one.get("hashes"))
    ]


def without_local_addresses(bill: str) -> str:
    """Return a bill of materials that does not say where the wheel was on this computer."""
    content = json.loads(bill)
    for component in content["components"]:
        references = component.get("externalReferences", [])
        component["externalReferences"] = [
            one for one in references if not one["url"].startswith("file:")
        ]
    return json.dumps(content, indent=2) + "\n"


def publish(files: list[Path]) -> None:
    """Copy the files into dist/, with their digests."""
    DIST.mkdir(exist_ok=True)
    for path in files:
        shutil.copyfile(path, DIST / path.name)
    lines = [f"{sha256(path)}  {path.name}\n" for path in files]
    (DIST / "SHA256SUMS").write_text("".join(lines), "utf-8")
    print(f"{DIST.name}/ holds {', '.join(path.name for path in files)} and SHA256SUMS.")


def wheel_of(files: list[Path]) -> Path:
    """Return the wheel among what was built."""
    return next(path for path in files if path.suffix == ".whl")


def sha256(path: Path) -> str:
    """Return the digest of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(
    *command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None, umask: int = -1
) -> str:
    """Run a command, and return what it prints; on failure, print that and stop."""
    done = subprocess.run(  # noqa: S603 - our own commands
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
