"""The example of a day of traffic: a model that breaks at noon is noticed and left."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "traffic"
if not EXAMPLE.is_dir():
    pytest.skip("the examples are not part of this copy", allow_module_level=True)
pytest.importorskip("langchain_openai")


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    sys.modules.pop("main", None)  # of another example
    import main
    import recordings

    if not recordings.DATA.is_dir():
        pytest.skip(recordings.ABSENT)
    yield main
    for name in ("main", "servers", "recordings"):
        sys.modules.pop(name, None)


def share(hours, name, first, last):
    """Return the share of a model in the requests of some hours."""
    part = hours[first:last]
    return sum(hour.requests[name] for hour in part) / sum(hour.requests.total() for hour in part)


@pytest.mark.slow
@pytest.mark.enable_socket
def test_a_day_of_traffic_tests_learns_notices_and_reports(example, tmp_path, capsys):
    hours = example.run(tmp_path, requests=600)
    printed = capsys.readouterr().out
    broken = printed.partition("At noon ")[2].split()[0]
    assert share(hours, broken, 6, 12) > 0.4
    # When it comes back depends on chance: of so few requests, few are probes.
    assert min(share(hours, broken, first, first + 2) for first in range(12, 20)) <= 0.2
    page = (tmp_path / "report.html").read_text("utf-8")
    assert f"{broken} has become worse" in page
    for name in example.MODELS:
        assert name in page
