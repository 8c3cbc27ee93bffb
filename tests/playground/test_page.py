"""From a state to what the page shows; whatever is wrong is told in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tryage import Router
from tryage.errors import InputError
from tryage_playground.files import read_traffic_file
from tryage_playground.page import known_names, make_results
from tryage_playground.policy_choice import PolicyChoice
from tryage_playground.state import PageState, Side

MODELS = ("gpt-5.4-nano", "gpt-5.4", "claude-opus-4-8")
STATE = PageState(prompt="Prove that 2 is prime. [Flag: cheapest]", models=MODELS)


@pytest.fixture
def results(pool, files):
    return lambda **changes: make_results(replace(STATE, **changes), pool, files)


def test_a_prompt_shows_its_flags_difficulty_models_and_picture(results):
    found = results()
    (side,) = found.sides
    assert found.facts.flags == ("cheapest",)
    assert "measured models" in found.facts.difficulty_text
    assert {row.name for row in side.rows} == set(MODELS)
    assert all(row.interval[0] < row.quality < row.interval[1] for row in side.rows)
    assert len(found.picture.dots) == len(MODELS)
    assert found.announcement.startswith(side.decision.expert.name)
    assert found.problems == ()


def test_the_decision_is_that_of_the_router(results, pool):
    from tryage_playground.pool import PoolKey

    side = Side(answer_value=0.03, tolerance=None, weights={"recency": 0.2})
    expected = pool.router(PoolKey(MODELS)).route(STATE.prompt, side.preferences())
    decision = results(first=side).sides[0].decision
    assert [one.to_dict() for one in decision.ranking] == [
        one.to_dict() for one in expected.ranking
    ]


def test_the_steps_name_the_winner_without_a_tolerance(results):
    for worth in (1e-4, 0.1, 100.0):
        found = results(prompt="Hello", first=Side(worth, None))
        names = [name for _, name in found.steps]
        assert found.sides[0].decision.expert.name in names


def test_more_rows_are_shown_when_asked(results):
    few, many = (results(uses_all_models=True, shows_all_rows=shown) for shown in (False, True))
    assert len(few.sides[0].rows) == 12
    assert few.sides[0].hidden_rows + 12 == len(many.sides[0].rows) > 250


def test_one_side_may_fail_while_the_other_decides(results):
    wrong = Side(policy=PolicyChoice("threshold", 0.1, "gpt-9", "gpt-5.4"))
    found = results(second=wrong)
    assert found.sides[0].decision is not None
    assert "gpt-9" in found.sides[1].error
    assert found.comparison == ""
    assert "B: no model can be chosen" in found.announcement


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": ()}, "No model is chosen"),
        ({"prompt": "  "}, "Write a prompt first"),
        ({"models": ("gpt-5.4", "gpt-5.44")}, "Nothing is known of a model 'gpt-5.44'"),
        ({"prompt": "x" * 7_000, "shares_prompt": True}, "too long for a link"),
        ({"requirements": "cheap"}, "not a requirement"),
        ({"table": "abc"}, "uses a Q-table that is not loaded here"),
        ({"traffic": "abc"}, "uses a log of traffic that is not loaded here"),
    ],
)
def test_what_is_wrong_with_a_state_is_told(results, changes, said):
    assert any(said in problem for problem in results(**changes).problems)


def test_requirements_that_no_model_meets_are_told_with_the_nearest_miss(results):
    found = results(requirements="cost<1e-12")
    assert "cost" in found.sides[0].error
    assert found.picture is None


def test_measured_stands_beside_predicted_for_the_same_prompts(results, files):
    rows = "".join(f"Question {i},gpt-5.4,{i % 2}\n" for i in range(10))
    table = files.load("table", "t.csv", f"prompt,expert,loss\n{rows}".encode())
    found = results(table=table.id)
    (row,) = found.measured
    assert (row.name, row.count, row.measured) == ("gpt-5.4", 10, 0.5)
    assert 0 < row.predicted < 1
    measured = {row.name: row.measured for row in found.sides[0].rows}
    assert measured == {"gpt-5.4": (0.5, 10), "gpt-5.4-nano": None, "claude-opus-4-8": None}


def test_what_a_log_taught_is_shown_and_counts(results, files, tmp_path):
    path = tmp_path / "log.db"
    router = Router.from_pretrained(traffic=f"sqlite:///{path}").subset(MODELS)
    for i in range(40):
        decision = router.route(f"How many primes are below {i}?")
        router.feedback(decision.id, score=0.0)
    chosen = decision.expert.name
    router.traffic.close()
    log = files.load("traffic", "log.db", read_traffic_file(path))
    found = results(traffic=log.id)
    learned = found.learned[0]
    assert (learned.name, learned.measured) == (chosen, 0.0)
    assert learned.after < learned.before
    assert found.has_learned_log


def test_facts_that_no_model_has_are_named(results):
    assert "security" in results().unknown_facts
    assert "recency" not in results().unknown_facts


def test_names_of_which_nothing_is_known_are_told_apart(pool):
    assert known_names(["gpt-5.4", "my-own"], pool) == (("gpt-5.4",), ("my-own",))
    with pytest.raises(InputError, match="Nothing is known of its models, such as 'my-own'"):
        known_names(["my-own"], pool)


def test_of_many_unknown_models_a_few_are_told(results):
    found = results(models=("gpt-5.4", *(f"own-{i}" for i in range(9))))
    assert len(found.problems) == 7
    assert found.problems[-1] == "3 more are unknown."
