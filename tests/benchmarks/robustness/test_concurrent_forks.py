"""A short run of the benchmark: children of forks while threads use a router with a log."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")
if not hasattr(os, "fork"):
    pytest.skip("the platform has no forks", allow_module_level=True)
ROBUSTNESS = Path(__file__).resolve().parents[3] / "benchmarks" / "robustness"
if not ROBUSTNESS.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path.insert(0, str(ROBUSTNESS))

import concurrent_forks  # noqa: E402 - after the path is set
from concurrent_findings import Findings  # noqa: E402 - the same


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_children_neither_hang_nor_lose_nor_double_what_they_record(tmp_path):
    findings = Findings()
    concurrent_forks.run(f"sqlite:///{tmp_path}/log.db", findings, n_forks=6, n_others=0)
    assert findings.broken == {}, findings.table()
    assert findings.tried["a forked child ends well"] == 6


def test_workers_of_a_server_keep_what_they_record_after_it_has_closed_the_log(tmp_path):
    findings = Findings()
    concurrent_forks.prefork(f"sqlite:///{tmp_path}/log.db", findings, n_workers=2, n_calls=4)
    assert findings.broken == {}, findings.table()
