"""Environments of peers: made once for the same requirements, and what counts as installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

PEERS = Path(__file__).resolve().parents[3] / "benchmarks" / "peers"
if not PEERS.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path[:0] = [str(PEERS.parent), str(PEERS)]

import environments  # noqa: E402 - after the path is set
from environments import Environment  # noqa: E402 - the same
from methods import PEERS as PACKAGES  # noqa: E402 - the same


def test_an_environment_is_made_again_only_when_its_requirements_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> None:
        commands.append(command)
        (tmp_path / "environment").mkdir(exist_ok=True)

    monkeypatch.setattr(environments.subprocess, "run", run)
    requirements = tmp_path / "toy.txt"
    requirements.write_text("toy==1\n", "utf-8")
    environment = Environment(tmp_path / "environment", requirements)
    environment.make()
    environment.make()
    assert len(commands) == 2  # venv and pip, once
    requirements.write_text("toy==2\n", "utf-8")
    environment.make()
    assert len(commands) == 4


def test_installers_and_byte_code_do_not_count_as_installed(tmp_path: Path) -> None:
    packages = tmp_path / "environment" / "lib" / "python3.11" / "site-packages"
    for name, size in {
        "toy/code.py": 3_000_000,
        "toy/__pycache__/code.pyc": 5_000_000,
        "pip/main.py": 7_000_000,
        "single.py": 1_000_000,
    }.items():
        path = packages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0" * size)
    assert Environment(tmp_path / "environment", tmp_path / "toy.txt").installed_mb() == 4.0


@pytest.mark.parametrize("name", sorted({peer.environment for peer in PACKAGES.values()}))
def test_every_peer_has_an_adapter_and_pinned_requirements(name: str) -> None:
    assert (PEERS / "adapters" / f"{name}_adapter.py").is_file()
    lines = (PEERS / "requirements" / f"{name}.txt").read_text("utf-8").splitlines()
    required = [line for line in lines if line and not line.startswith("#")]
    assert required
    assert all("==" in line or line == "." for line in required)


@pytest.mark.parametrize("path", sorted((PEERS / "adapters").glob("*.py")), ids=lambda p: p.stem)
def test_only_tryages_own_adapter_imports_tryage(path: Path) -> None:
    imports = [line for line in path.read_text("utf-8").splitlines() if "import" in line]
    uses = any(line.lstrip().startswith(("from tryage", "import tryage")) for line in imports)
    assert uses == (path.stem == "tryage_adapter")


def test_modules_that_our_process_finds_do_not_hide_those_of_a_peer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PEERS.parent))  # it has a module `datasets`
    child = environments.one_thread()
    assert "PYTHONPATH" not in child
    assert child["OMP_NUM_THREADS"] == "1"
