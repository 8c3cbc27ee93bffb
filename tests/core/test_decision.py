import dataclasses
import json
import math
import pickle

import numpy as np
import pytest

from tryage.core.decision import Decision
from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.objective import DenseTerm, RoutingLoss
from tryage.core.preferences import Preferences, Requirement
from tryage.core.ranking import Ranking, Rejections, RequirementCheck
from tryage.errors import LibraryError
from tryage.router import Router
from tryage.testing import FixedPerception, demo_library, demo_perception


def ranking(losses, totals=None, eligible=None, std=0.1):
    losses = np.asarray(losses, dtype=float)
    totals = losses if totals is None else np.asarray(totals, dtype=float)
    mask = np.ones(losses.size, bool) if eligible is None else np.asarray(eligible)
    library = Library([f"m{i}" for i in range(losses.size)])
    size = DenseTerm(1.0, totals - losses, np.zeros(losses.size, bool))
    terms = RoutingLoss(losses[None], {"size": size}, totals[None])
    return Ranking(library, losses, np.full(losses.size, std), terms, mask)


def route(weights=None, **wanted):
    router = Router(demo_perception(), demo_library(), default="tiny-1b")
    return router.route("hello", Preferences(weights, **wanted))


def test_the_lowest_total_comes_first():
    assert [r.name for r in ranking([0.3, 0.1, 0.2])] == ["m1", "m2", "m0"]


def test_ties_go_to_the_lower_predicted_loss_then_to_library_order():
    tied = ranking(losses=[0.3, 0.2, 0.1, 0.2], totals=[0.5, 0.5, 0.9, 0.5])
    assert [r.name for r in tied] == ["m1", "m3", "m0", "m2"]


@pytest.mark.parametrize("seed", range(5))
def test_reading_only_the_top_gives_the_same_as_sorting_everything(seed):
    rng = np.random.default_rng(seed)
    losses, totals = rng.integers(0, 5, 60) / 5, rng.integers(0, 5, 60) / 5
    eligible = rng.random(60) < 0.8
    names = [r.name for r in ranking(losses, totals, eligible)[:]]
    for k in (1, 2, 7, 30):
        fresh = ranking(losses, totals, eligible)
        assert [r.name for r in fresh[:k]] == names[:k]
        assert fresh[-1].name == names[-1]
        assert fresh[k].name == names[k]


def test_how_an_expert_stands_is_worked_out_once():
    ranked = ranking([0.3, 0.1, 0.2])
    assert ranked[0] is ranked[0] is ranked.entry("m1") is ranked[:2][0]


def test_only_the_eligible_are_ranked():
    ranked = ranking([0.1, np.nan, 0.3], eligible=[False, False, True])
    assert [r.name for r in ranked] == ["m2"]
    assert len(ranked) == 1
    assert len(ranking([0.1], eligible=[False])) == 0
    with pytest.raises(IndexError):
        ranked[1]


def test_one_expert_can_be_looked_up_in_the_ranking():
    ranked = ranking([0.3, 0.1], totals=[0.35, 0.4], eligible=[True, False])
    found = ranked.entry("m0")
    assert (found.predicted_loss, found.total, found.std) == (0.3, 0.35, 0.1)
    assert found.terms == {"size": pytest.approx(0.05)}
    with pytest.raises(LibraryError, match="rejected"):
        ranked.entry("m1")


def test_a_decision_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        route().expert = Expert("other")


def test_margin_and_confidence_tell_how_close_it_was():
    decision = Decision("p", Expert("m0"), ranking([0.1, 0.2], std=0.1))
    assert decision.margin == pytest.approx(0.1)
    gap_in_sigmas = 0.1 / math.hypot(0.1, 0.1)
    expected = 0.5 * (1 + math.erf(gap_in_sigmas / math.sqrt(2)))
    assert decision.confidence == pytest.approx(expected)
    assert Decision("p", Expert("m0"), ranking([0.1, 0.1], std=0.0)).confidence == 0.5
    assert Decision("p", Expert("m0"), ranking([0.1, 0.2], std=0.0)).confidence == 1.0


def test_without_a_second_there_is_no_margin_and_without_a_std_no_confidence():
    alone = Decision("p", Expert("m0"), ranking([0.1]))
    assert alone.margin is alone.confidence is None
    unsure = Decision("p", Expert("m0"), ranking([0.1, 0.2], std=np.nan))
    assert unsure.margin == pytest.approx(0.1)
    assert unsure.confidence is None


@pytest.mark.parametrize(
    "decision",
    [
        route(),
        route({"size": 0.5, "cost": 0.3}, licenses=["mit", "apache-2.0"], max_cost=0.01),
        route(max_parameters=1),
        Decision("p", Expert("x")),
        Router(FixedPerception({"a": 0.1, "b": np.nan}, std=np.nan), strict=True).route("x"),
    ],
    ids=["plain", "rich", "default", "bare", "nan"],
)
def test_to_dict_is_json_without_nan(decision):
    data = json.loads(json.dumps(decision.to_dict(), allow_nan=False))
    assert data["expert"] == decision.expert.name
    assert len(data["ranking"]) == len(decision.ranking)
    assert len(data["rejected"]) == len(decision.rejected)
    assert data["default_used"] is decision.default_used
    assert decision.explain()


def test_to_dict_can_be_limited_to_the_top():
    data = route(min_downloads=1).to_dict(top=1)
    assert len(data["ranking"]) == len(data["rejected"]) == 1


def test_the_sum_in_the_log_adds_up():
    for ranked in route({"size": 0.5, "cost": 0.3}).to_dict()["ranking"]:
        parts = ranked["predicted_loss"] + sum(ranked["terms"].values())
        assert parts == pytest.approx(ranked["total"])


def test_a_decision_survives_pickling():
    decision = route({"size": 0.5}, max_parameters=1e10)
    again = pickle.loads(pickle.dumps(decision))  # noqa: S301 - our own bytes
    assert again.to_dict() == decision.to_dict()


def test_rejections_say_every_reason_and_group_by_filter():
    library = Library([Expert("a", parameters=7e9), Expert("b", parameters=1e9), Expert("c")])
    requirement = Requirement("parameters", "<", 3e9)
    rejected = Rejections(
        library,
        [
            RequirementCheck(None, np.array([False, True, True])),
            RequirementCheck(requirement, requirement.satisfied(library)),
        ],
    )
    assert [(r.name, len(r.reasons)) for r in rejected] == [("a", 2), ("c", 1)]
    assert rejected[0].reasons == ("no usable prediction", "parameters 7B is not < 3B")
    assert [r.name for r in rejected[:1]] == ["a"]
    assert rejected.failed_requirements(0) == ("parameters 7B is not < 3B",)
    (_, none, _), (label, count, examples) = rejected.group_by_check(examples=1)
    assert (none, label, count) == (1, "parameters", 2)
    assert examples == (("a", "parameters 7B is not < 3B"),)
    assert len(Rejections(library, [])) == 0


def test_the_explanation_reads_well():
    text = route({"size": 0.5}, capabilities=["tools"]).explain()
    assert text.splitlines() == [
        "tiny-1b is chosen: the lowest total of 4 experts.",
        "  predicted loss     0.450 ± 0.080",
        "  + size             0.000   = weight 0.5 x 0.000",
        "  = total            0.450",
        "2. code-7b, 0.129 behind: predicted loss 0.350 + size 0.229; "
        "tiny-1b is better with probability 87%.",
        "3. frontier, 0.200 behind: predicted loss 0.150 + size 0.500.",
        "Unknown, so counted as the worst: size of frontier.",
        "Rejected: 1 expert.",
        "  capabilities, 1 expert: newcomer (capabilities unknown, required tools)",
    ]


def test_the_explanation_names_what_was_unknown():
    text = route({"size": 0.01}).explain()
    assert text.startswith("frontier is chosen")
    assert "  + size             0.010   = weight 0.01 x 1.000" in text
    assert "Unknown, so counted as the worst: size of frontier." in text


def test_the_explanation_says_where_what_counted_is_known_from():
    seen = {"source": "list of providers", "seen": "2026-11-20T08:00:00+00:00", "confidence": 0.9}
    sources = {"input_price": "price list", "output_price": "price list", "parameters": "card",
               "context_length": seen}  # fmt: skip
    priced = Expert("priced", input_price=1, output_price=2, parameters=1e9, context_length=9,
                    metadata={"sources": sources})  # fmt: skip
    router = Router(FixedPerception({"priced": 0.1}), [priced])
    wanted = Preferences({"cost": 0.5}, min_context=5)
    told = "Known of priced: input_price, output_price from price list; "
    text = router.route("hello", wanted).explain()
    assert f"{told}context_length from list of providers (2026-11-20)." in text.splitlines()
    assert "Known of" not in router.route("hello").explain()


def test_the_explanation_of_a_default_says_why_and_what_it_does_not_meet():
    text = route(max_parameters=1e6).explain()
    assert text.startswith("tiny-1b is used as the declared default: None of the 5 experts")
    assert "It does not meet what was asked: parameters 1B is not <= 1M." in text
    assert "and 2 more" in text


def test_the_explanation_lists_as_many_as_asked_for():
    assert "5. tiny-1b" in route().explain(top=5)
    assert "2. " not in route().explain(top=1)


def test_flags_and_warnings_are_told():
    decision = Decision("p", Expert("x"), flags=("smallest model",), warnings=("odd flag",))
    assert "Taken from the prompt: smallest model" in decision.explain()
    assert "Warning: odd flag" in decision.explain()
