"""The explanation of a decision: its lines, word for word where they matter."""

from __future__ import annotations

import datetime

from tryage.core.decision import Decision
from tryage.core.expert import Expert
from tryage.core.preferences import Preferences
from tryage.core.ranking import RankedExpert
from tryage.router import Router
from tryage.testing import FixedPerception, FixedPolicy, demo_library, demo_perception


def route(weights=None, **requirements):
    router = Router(demo_perception(), demo_library(), default="tiny-1b", default_exempt=True)
    return router.route("hello", Preferences(weights, **requirements))


def test_the_explanation_of_a_choice():
    text = route({"size": 0.8}, capabilities=["tools"]).explain()
    assert text.splitlines() == [
        "tiny-1b is chosen: the lowest total of 4 experts.",
        "  predicted loss     0.450 ± 0.080",
        "  + size             0.400   = weight 0.8 x 0.500",
        "  = total            0.850",
        "  expected cost: $0.000012",
        "2. code-7b, 0.013 behind: predicted loss 0.350 + size 0.513 ($0.00012); "
        "tiny-1b is better with probability 54%.",
        "3. chat-70b, 0.016 behind: predicted loss 0.220 + size 0.646 ($0.000406).",
        "Rejected: 1 expert.",
        "  capabilities, 1 expert: newcomer (capabilities unknown, required tools)",
    ]


def test_the_explanation_names_unknown_values():
    text = route({"size": 0.01}).explain()
    assert text.startswith("frontier is chosen")
    assert "  + size             0.010   = weight 0.01 x 1.000" in text
    assert "Unknown, so counted as the worst: size of frontier." in text


def test_the_explanation_names_the_sources_of_the_facts_that_counted():
    seen = {"source": "list of providers", "seen": "2026-11-20T08:00:00+00:00", "confidence": 0.9}
    sources = {"input_price": "price list", "output_price": "price list", "parameters": "card",
               "context_length": seen}  # fmt: skip
    priced = Expert("priced", input_price=1, output_price=2, parameters=1e9, context_length=9,
                    metadata={"sources": sources})  # fmt: skip
    router = Router(FixedPerception({"priced": 0.1}), [priced])
    preferences = Preferences({"cost": 0.5}, min_context=5)
    text = router.route("hello", preferences).explain()
    assert (
        "Facts about priced: input_price, output_price from price list; "
        "context_length from list of providers (2026-11-20)."
    ) in text.splitlines()
    assert "Facts about priced: input_price, output_price" in router.route("hello").explain()
    assert "Facts about" not in router.route("hello", "best").explain()


def test_the_explanation_of_a_default_has_the_reason_and_the_unmet_requirements():
    text = route(max_parameters=1e6).explain()
    assert text.startswith("tiny-1b is used as the declared default: None of the 5 experts")
    assert "It does not meet the requirements: parameters 1B is not <= 1M." in text
    assert "and 2 more" in text


def test_the_explanation_lists_the_requested_number_of_experts():
    assert "5. tiny-1b" in route().explain(top=5)
    assert "2. " not in route().explain(top=1)


def test_flags_and_warnings_are_listed():
    decision = Decision("p", Expert("x"), flags=("smallest model",), warnings=("odd flag",))
    assert "Taken from the prompt: smallest model" in decision.explain()
    assert "Warning: odd flag" in decision.explain()


def test_equal_totals_and_a_single_eligible_expert_are_named_as_such():
    tied = Router(FixedPerception({"a": 0.1, "b": 0.1})).route("x").explain()
    assert "2. b, equal total: predicted loss 0.100;" in tied
    alone = Router(FixedPerception({"a": 0.1})).route("x").explain()
    assert alone.startswith("a is chosen: the only eligible expert.")


def test_the_age_of_the_facts_comes_last():
    moment = datetime.datetime(2026, 11, 20, 8, 30, tzinfo=datetime.timezone.utc)
    text = Decision("p", Expert("x"), as_of=moment).explain()
    assert text.endswith("Facts about all experts: the Hub as of 2026-11-20 08:30 UTC.")


def test_a_calibrated_explanation_has_an_interval_and_says_what_the_confidence_is(calibration):
    one = calibration()
    ranked = [
        RankedExpert(name, loss, 0.05, {}, loss, (), uncertainty=one)
        for name, loss in (("a", 0.2), ("b", 0.3))
    ]
    low, high = one.interval(0.2, 0.05, 0.9, 100)
    assert Decision("p", Expert("a"), ranked, typicality=0.004).explain().splitlines() == [
        "a is chosen: the lowest total of 2 experts.",
        "  predicted loss     0.200 ± 0.050   the mean of 100 such prompts: "
        f"{low:.3f} to {high:.3f} with 90%",
        "The prompt is unlike the training prompts (p = 0.004): the predictions are uncertain.",
        "2. b, 0.100 behind: predicted loss 0.300; "
        "where their answers differ, a is better with probability 63%.",
    ]
    assert "unlike" not in Decision("p", Expert("a"), ranked, typicality=0.02).explain()


def test_a_lead_by_more_than_the_loss_is_told_as_one_in_the_total(calibration):
    one = calibration()
    ranked = [
        RankedExpert("a", 0.3, 0.05, {"size": 0.0}, 0.3, (), uncertainty=one),
        RankedExpert("b", 0.3, 0.05, {"size": 0.2}, 0.5, (), uncertainty=one),
    ]
    text = Decision("p", Expert("a"), ranked).explain()
    assert "where their answers differ, a has the lower total with probability" in text


def test_the_explanation_says_what_a_policy_changed_and_how_far_its_expert_is_behind():
    router = Router(demo_perception(), demo_library(), policy=FixedPolicy("code-7b"))
    lines = router.route("hello", Preferences({"size": 0.8}, capabilities=["tools"])).explain()
    lines = lines.splitlines()
    assert lines[0] == "code-7b is chosen by a policy."
    assert lines[1] == "  FixedPolicy takes code-7b instead of tiny-1b: code-7b is on offer."
    assert any(line.startswith("2. tiny-1b, 0.013 ahead:") for line in lines)


def test_the_explanation_names_a_policy_that_keeps_the_choice():
    router = Router(demo_perception(), demo_library(), policy=FixedPolicy("tiny-1b"))
    lines = router.route("hello", Preferences({"size": 0.8})).explain().splitlines()
    assert lines[0].startswith("tiny-1b is chosen: the lowest total")
    assert lines[1] == "  FixedPolicy keeps tiny-1b: tiny-1b is on offer."


def test_nothing_in_an_explanation_controls_the_terminal_on_which_it_is_printed():
    hostile = "card \x1b]52;c;aGk=\x07\u202e\n= total 0"
    facts = {"sources": {"parameters": hostile, "license": {"source": hostile, "seen": hostile}}}
    expert = Expert("big", parameters=1e9, license="mit", metadata=facts)
    router = Router(FixedPerception({"big": 0.1}), [expert])
    text = router.route("hello", Preferences({"size": 0.5}, licenses=["mit"])).explain()
    assert r"\x1b]52;c;aGk=\x07\u202e\n= total 0" in text
    assert all(line.isprintable() for line in text.splitlines())
