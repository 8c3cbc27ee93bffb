"""Router and flags: what a prompt asks for never changes who answers against the operator."""

from __future__ import annotations

import logging

import pytest

from tryage.core.expert import Expert
from tryage.core.preferences import Preferences
from tryage.errors import NoExpertError, PerceptionError
from tryage.router import Router
from tryage.testing import FailingPerception, FixedPerception

EXPERTS = [
    Expert("mini", parameters=8e9, license="mit", input_price=0.1, output_price=0.4),
    Expert("opus", parameters=2e12, license="proprietary", input_price=15, output_price=75),
]


def router(**options):
    perception = FixedPerception({"mini": 0.3, "opus": 0.1})
    return Router(perception, EXPERTS, **{"prompt_flags": True, "default": "opus"} | options)


QUOTED_MAIL = """Summarize this mail:

> From: someone
> [Flag: size<1]
> Please pay at once."""


@pytest.mark.parametrize(
    "prompt",
    ["hi [Flag: cost<=0]", "Hi [Flag: model=x]", "hi [Flag: license=gpl]", QUOTED_MAIL],
)
@pytest.mark.parametrize("exempt", [False, True])
def test_flags_that_leave_nobody_are_dropped_with_a_warning(prompt, exempt, caplog):
    operator = Preferences(licenses=["mit"])
    decision = router(preferences=operator, default_exempt=exempt).route(prompt)
    assert (decision.expert.name, decision.default_used) == ("mini", False)
    assert decision.preferences == operator.overridden(Preferences.preset("balanced"))
    assert (len(decision.flags), len(decision.dropped_flags)) == (0, 1)
    assert decision.warnings[0].startswith("The flags leave no expert, so they are dropped: ")
    assert decision.to_dict()["dropped_flags"] == list(decision.dropped_flags)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("tryage.router", logging.WARNING)
    assert decision.dropped_flags[0] not in record.getMessage()


def test_the_decision_without_the_dropped_flags_is_that_of_the_plain_prompt():
    plain = router().route("hi")
    dropped = router().route("hi [Flag: smallest model, size<1]")
    assert dropped.prompt == plain.prompt
    assert dropped.ranking[0].to_dict() == plain.ranking[0].to_dict()


def test_in_strict_mode_flags_that_leave_nobody_raise_and_are_named():
    with pytest.raises(NoExpertError, match=r"does not drop flags that leave no expert: size<1\."):
        router(strict=True).route("hi [Flag: size<1]")


def test_each_prompt_of_a_batch_keeps_or_drops_its_own_flags():
    prompts = ["a [Flag: size<1]", "b [Flag: size<10B]", "c", "d [Flag: cost<=0]"]
    decisions = router().route_batch(prompts)
    assert [one.expert.name for one in decisions] == ["opus", "mini", "opus", "opus"]
    assert [len(one.dropped_flags) for one in decisions] == [1, 0, 0, 1]
    assert decisions[1].flags == ("size<10B",)


def test_where_the_operator_leaves_nobody_the_flags_are_dropped_and_only_the_operator_is_named():
    limit = Preferences(max_parameters=1e9)
    with pytest.raises(NoExpertError, match="parameters <= 1B") as caught:
        router(preferences=limit).route("hi [Flag: license=gpl]")
    assert "license" not in str(caught.value)
    decision = router(preferences=limit, default_exempt=True).route("hi [Flag: license=gpl]")
    assert (decision.expert.name, decision.default_used) == ("opus", True)
    assert decision.dropped_flags == ("license=?",)


def test_when_the_perception_fails_flags_do_not_keep_the_default_from_answering():
    perception = FailingPerception(["mini", "opus"], RuntimeError("cuda"))
    failing = Router(perception, EXPERTS, prompt_flags=True, default="opus")
    assert failing.route("hi [Flag: size<10B]").expert.name == "opus"
    with pytest.raises(PerceptionError, match="default opus does not meet"):
        failing.route("hi [Flag: size<1]", Preferences(max_parameters=1e10))


def test_the_front_drops_flags_that_leave_nobody():
    front = router().pareto(["hi [Flag: size<1]"], "size")
    assert front[0].share == {"opus": 1.0}
    with pytest.raises(NoExpertError):
        router(strict=True).pareto(["hi [Flag: size<1]"], "size")


def test_no_text_of_a_flag_that_no_expert_has_reaches_the_decision():
    prompt = "hi [Flag: model=mini|sk-live my mother \x1b0;title\x07, license=mit|sk-live]"
    decision = router().route(prompt)
    assert decision.expert.name == "mini"
    shown = decision.explain() + repr(decision.to_dict())
    assert "model=mini|?" in shown
    assert "license=mit|?" in shown
    assert not any(part in shown for part in ("sk-live", "mother", "\x1b"))


def test_a_flag_in_the_middle_of_a_long_document_is_text():
    document = "word " * 3_000 + "[Flag: size<10B]" + " word" * 3_000
    decision = router().route(document)
    assert (decision.expert.name, decision.prompt) == ("opus", document)
