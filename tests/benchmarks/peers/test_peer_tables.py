"""The tables: what is proven is bold, what was not run is a dash, failures have their reason."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

PEERS = Path(__file__).resolve().parents[3] / "benchmarks" / "peers"
if not PEERS.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path[:0] = [str(PEERS.parent), str(PEERS)]

from peer_figures import SetFigures  # noqa: E402 - after the path is set
from peer_tables import (  # noqa: E402 - the same
    failure_list,
    lead_cell,
    quality_table,
    speed_table,
    summary_table,
)

from tryage.simulation.metrics import Interval  # noqa: E402 - the same


@pytest.mark.parametrize(
    ("lead", "cell"),
    [
        (Interval(-0.01, -0.02, 0.0), "-1.00 ± 1.00"),
        (Interval(-0.01, -0.015, -0.005), "**-1.00 ± 0.50**"),
        (Interval(0.01, 0.005, 0.015), "**+1.00 ± 0.50**"),
        (None, "-"),
    ],
)
def test_a_lead_is_bold_where_its_interval_excludes_zero(lead: Interval | None, cell: str) -> None:
    assert lead_cell(lead) == cell


def test_a_set_that_a_method_was_not_run_on_has_a_dash() -> None:
    score, lead = Interval(0.5, 0.4, 0.6), Interval(-0.01, -0.02, 0.0)
    both = SetFigures("one", 10, 2, 5, {"tryage": score, "knn": score}, {"knn": lead})
    alone = SetFigures("two", 20, 3, 5, {"tryage": score})
    table = quality_table([both, alone]).splitlines()
    assert table[0] == "| method |  | one | two |"
    assert table[2] == "| prompts x models |  | 10 x 2 | 20 x 3 |"
    assert table[3] == "| **Tryage** |  | 0.5000 | 0.5000 |"
    assert table[4] == "| kNN, tuned | B | -1.00 ± 1.00 | - |"


def test_the_fastest_router_comes_first() -> None:
    facts = {"p99_ms": 2.0, "per_second": 9.0, "cold_seconds": 1.0, "resident_mb": 100.0}
    table = speed_table({"argrouter": {"p50_ms": 9, **facts}, "llamaindex": {"p50_ms": 3, **facts}})
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == [
        "LlamaIndex selector",
        "argrouter",
    ]


def test_a_failure_is_named_with_its_last_line() -> None:
    reason = "argrouter ended with 1. The end:\nTraceback\nValueError: no"
    listed = failure_list({"argrouter": reason})
    assert listed == "- argrouter failed: ValueError: no"


def test_the_summary_has_tryages_times_and_a_dash_where_none_were_measured() -> None:
    score, lead = Interval(0.5, 0.4, 0.6), Interval(-0.01, -0.02, 0.0)
    found = SetFigures("one", 10, 2, 5, {"tryage": score, "knn": score}, {"knn": lead})
    table = summary_table([found], {"tryage_bundled": {"p50_ms": 0.5, "installed_mb": 142.0}})
    assert table.splitlines()[2:] == [
        "| **Tryage** | 0.5000 | 0.5 | 142 |",
        "| kNN, tuned | -1.00 ± 1.00 | - | - |",
    ]
