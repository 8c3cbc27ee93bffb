"""A short run of the benchmark: threads and tasks, while all that can change changes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

for package in ("langchain_core", "llama_index.core", "fastapi", "sqlalchemy", "watchfiles"):
    pytest.importorskip(package)
ROBUSTNESS = Path(__file__).resolve().parents[3] / "benchmarks" / "robustness"
if not ROBUSTNESS.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path.insert(0, str(ROBUSTNESS))

import concurrent_use  # noqa: E402 - after the path is set
from concurrent_findings import Findings  # noqa: E402 - the same


def test_nothing_is_lost_torn_or_mixed_while_all_that_can_change_changes(tmp_path):
    findings = Findings()
    with concurrent_use.often_switching():
        concurrent_use.run(tmp_path, f"sqlite:///{tmp_path}/log.db", findings, 16, 4, 48)
    assert findings.broken == {}, findings.table()
    assert findings.tried["changed settings are in force"] >= 2
    assert findings.tried["each feedback is in the log once"] > 10


def test_threads_teach_a_router_what_one_thread_teaches_it():
    findings = Findings()
    concurrent_use.learn_without_log(findings, 16, 4)
    assert findings.broken == {}, findings.table()


def test_a_fact_that_is_wrong_is_counted_with_its_first_example():
    findings = Findings()
    findings.check("all is well", True)
    findings.check("all is well", False, "an example")
    with findings.no_error("nothing fails"):
        raise KeyError("x")
    assert findings.broken == {"all is well": 1, "nothing fails": 1}
    assert "| all is well | 2 | 1 |" in findings.table()
    assert "an example" in findings.table()
    assert "KeyError('x') in concurrent_findings.py" in findings.table()
    assert "test_a_fact_that_is_wrong" in findings.table()
