"""`tryage evaluate --traffic`: a table of policies, JSON, and what it refuses."""

from __future__ import annotations

import json

import pytest

from tryage import Router
from tryage.core.exploration import Exploration
from tryage.testing import FixedPerception
from tryage.traffic.explorer import Explorer

pytest.importorskip("sqlalchemy")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Return the address of a log that a router with exploration wrote, with ratings."""
    url = f"sqlite:///{tmp_path_factory.mktemp('log')}/traffic.db"
    perception = FixedPerception({"small": 0.3, "large": 0.29}, std=0.1)
    exploring = Exploration(min_propensity=0.05)
    router = Router(perception, ["small", "large"], traffic=url, exploration=exploring)
    router._explorer = Explorer(exploring, seed=0)  # an interval of 95% misses by chance at times
    decisions = router.route_batch([f"prompt {i}" for i in range(400)])
    router.traffic.flush(5)
    for i, decision in enumerate(decisions[:300]):
        score = float(i % 10 < (9 if decision.expert.name == "large" else 6))
        router.feedback(decision.id, score=score, kind="judge")
    return url


def test_it_prints_a_row_for_each_policy(tryage, url):
    done = tryage(
        *("evaluate", "--traffic", url, "--policy", "always:large", "--policy", "greedy"),
        *("--policy", "best-single", "--policy", "frozen"),
    )
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "400 decisions, 300 with a rating that counts"
    assert [line.split()[0] for line in lines[2:7]] == [
        *("as", "always:large", "greedy", "best-single", "frozen")
    ]
    assert lines[3].split()[1] > lines[2].split()[2]  # large is better than what was logged


def test_it_writes_all_figures_as_json(tryage, url, tmp_path):
    path = tmp_path / "values.json"
    done = tryage("evaluate", "--traffic", url, "--policy", "always:large", "--json", path)
    assert done.exit_code == 0, done.stderr
    (policy,) = json.loads(path.read_text())["policies"]
    assert policy["name"] == "always:large"
    score = policy["value"]["score"]
    assert score["low"] < 0.9 < score["high"]


def test_it_says_why_the_log_cannot_tell(tryage, url):
    done = tryage("evaluate", "--traffic", url, "--policy", "greedy", "--kind", "thumb")
    assert "greedy: the log cannot tell: no decision has feedback" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "sometimes:large"], "is no policy; expected always:EXPERT"),
        (["--policy", "always:"], "is no policy"),
        (["--policy", "cost=much"], "has no number"),
        (["--policy", "cost=-1"], "factor"),
        (["--policy", "cost=2"], "Costs count nothing"),
        (["--policy", "always:lage"], "Did you mean large"),
        (["--policy", "router:nowhere"], "nowhere"),
        (["--policy", "router:nowhere@yesterday"], "'yesterday' is no time"),
        (["--days", "0"], "no decision in this period"),
    ],
)
def test_a_policy_or_period_that_does_not_fit_is_refused(tryage, url, arguments, message):
    done = tryage("evaluate", "--traffic", url, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_q_table_and_a_log_are_judged_apart(tryage, url, tmp_path):
    both = tryage("evaluate", "table.csv", "--traffic", url)
    assert "give one of them" in both.stderr
    assert "Give a Q-table" in tryage("evaluate").stderr
    assert "Give a Q-table" in tryage("evaluate", "table.csv", "--policy", "greedy").stderr
    missing = tryage("evaluate", "--traffic", f"sqlite:///{tmp_path}/none.db")
    assert missing.exit_code == 2
    assert not (tmp_path / "none.db").exists()
