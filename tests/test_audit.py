"""What `make audit` makes of the answers of databases of known holes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PINS = [("numpy", "1.26.4"), ("numpy", "2.4.0"), ("httpx", "0.28.1")]


@pytest.fixture(scope="module")
def audit_module():
    spec = importlib.util.spec_from_file_location("tryage_audit", ROOT / ".ci" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["tryage_audit"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["tryage_audit"]


def answer(name, version, *holes):
    vulnerabilities = [{"id": one, "aliases": []} for one in holes]
    return {"name": name, "version": version, "vulns": vulnerabilities}


def test_all_pins_are_read_those_of_every_python(audit_module):
    text = (
        '# numpy==0.1\nnumpy==1.26.4 ; python_version < "3.11"\n'
        'numpy==2.4.0 ; python_version >= "3.11"\nhttpx==0.28.1\n'
    )
    assert audit_module.read_pins(text) == PINS


def test_no_name_is_twice_in_a_question(audit_module):
    assert audit_module.rounds(PINS) == [
        {"numpy": "1.26.4", "httpx": "0.28.1"},
        {"numpy": "2.4.0"},
    ]


def test_packages_without_a_hole_pass(audit_module):
    audit = audit_module.Audit()
    audit.add("osv", {"dependencies": [answer(*pin) for pin in PINS]})
    assert audit_module.verdict(audit, PINS) == 0
    assert audit_module.describe(audit, PINS) == (
        "3 of 3 pinned packages were looked up.\nNone of these has a known hole."
    )


def test_a_hole_that_one_of_the_databases_knows_is_told(audit_module):
    audit = audit_module.Audit()
    audit.add("osv", {"dependencies": [answer(*pin) for pin in PINS]})
    audit.add("pypi", {"dependencies": [answer("httpx", "0.28.1", "GHSA-1", "CVE-2")]})
    assert audit_module.verdict(audit, PINS) == audit_module.HAS_HOLES
    assert "  httpx 0.28.1: CVE-2, GHSA-1" in audit_module.describe(audit, PINS)


def test_a_database_without_an_answer_is_not_taken_for_one_without_holes(audit_module):
    audit = audit_module.Audit()
    skipped = {"name": "httpx", "skip_reason": "Dependency not found on PyPI"}
    audit.add("pypi", {"dependencies": [*(answer(*pin) for pin in PINS[:2]), skipped]})
    assert audit_module.verdict(audit, PINS) == audit_module.IS_UNKNOWN
    words = audit_module.describe(audit, PINS)
    assert "2 of 3 pinned packages were looked up." in words
    assert "NOTHING IS KNOWN about 1 packages: httpx 0.28.1." in words
    assert "httpx: pypi: Dependency not found on PyPI" in words


def test_a_database_out_of_reach_leaves_all_unknown(audit_module, monkeypatch):
    failed = type("Done", (), {"stdout": "", "stderr": "Traceback\nConnectionError: refused"})
    monkeypatch.setattr(audit_module.subprocess, "run", lambda *_, **__: failed)
    audit = audit_module.Audit()
    audit_module.ask(audit, "osv", {"httpx": "0.28.1"})
    assert audit_module.verdict(audit, PINS) == audit_module.IS_UNKNOWN
    words = audit_module.describe(audit, PINS)
    assert words.startswith("0 of 3 pinned packages were looked up.")
    assert "None of these has a known hole" not in words
    assert "all packages: osv: ConnectionError: refused" in words
