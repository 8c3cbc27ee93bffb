"""DecisionLog: what the record of a decision holds, and which feedback is accepted."""

from __future__ import annotations

import gc
import time
import weakref

import pytest

from tryage import Expert, Library, Preferences, Router
from tryage.core.request import ConversationContext
from tryage.errors import InputError
from tryage.testing import FixedPerception
from tryage.traffic import writer
from tryage.traffic.decision_log import DecisionLog, decision_record, make_feedback

LIBRARY = Library(
    [
        Expert("cheap", input_price=0.1, output_price=0.4, output_tokens=100),
        Expert("dear", input_price=10.0, output_price=40.0, output_tokens=100),
        Expert("blank"),
    ]
)
LOSSES = {"cheap": 0.3, "dear": 0.2, "blank": 0.5}


def routed(**arguments):
    return Router(FixedPerception(LOSSES), LIBRARY).route("hello", **arguments)


def record_of(decision, **arguments):
    return decision_record(decision, "f00d", decision_id=decision.id, **arguments)


def bundled_router():
    router = Router.from_pretrained(preferences=Preferences(answer_value=1e9))
    return router.subset(router.library.names[:4])


def test_a_record_holds_the_scores_of_the_ranking_in_its_order():
    decision = routed(preferences=Preferences(answer_value=0.05))
    record = record_of(decision)
    assert record.candidates == tuple(ranked.name for ranked in decision.ranking)
    assert record.losses == pytest.approx([ranked.predicted_loss for ranked in decision.ranking])
    assert record.totals == pytest.approx([ranked.total for ranked in decision.ranking])
    assert record.cost_terms == pytest.approx(
        [ranked.terms["answer_value"] for ranked in decision.ranking]
    )
    costs = dict(zip(record.candidates, record.costs, strict=True))
    assert costs["blank"] is None  # unknown is never zero
    assert costs["dear"] == pytest.approx(100 * costs["cheap"])


def test_the_totals_of_a_record_are_without_what_the_tolerance_adds():
    decision = routed(preferences=Preferences(tolerance=0.2))
    record = record_of(decision)
    assert record.tolerance == 0.2
    assert record.chosen == "cheap"
    totals = dict(zip(record.candidates, record.totals, strict=True))
    assert totals == pytest.approx(LOSSES)


def test_a_certain_choice_has_the_propensity_one():
    record = record_of(routed())
    assert record.propensity == 1.0
    assert dict(zip(record.candidates, record.propensities, strict=True)) == {
        record.chosen: 1.0, **{name: 0.0 for name in record.candidates if name != record.chosen}
    }  # fmt: skip


def test_a_kept_expert_is_the_chosen_one_with_certainty():
    record = record_of(routed(), chosen="blank", prompt_tokens=12.0)
    assert (record.chosen, record.propensity, record.prompt_tokens) == ("blank", 1.0, 12.0)
    assert record.frozen_choice == "blank"
    assert sum(record.propensities) == 1.0


def test_keys_and_tags_of_the_context_are_in_the_record():
    context = ConversationContext(keys={"thread_id": "t1"}, tags=["critical"])
    record = record_of(routed(context=context))
    assert (record.key, record.tags) == ("t1", ("critical",))


def test_a_record_of_the_default_says_so():
    router = Router(FixedPerception(LOSSES), LIBRARY, default="blank", default_exempt=True)
    record = record_of(router.route("x", Preferences(only=["dear"], max_cost=1e-9)))
    assert record.is_default
    assert record.chosen == "blank"


def test_a_learned_router_records_what_it_would_have_chosen_before(log):
    router = bundled_router()
    router.log = DecisionLog(log, router.perception, router.library)
    first = router.decide_batch(["hello there"])[0]
    assert first.frozen_choice is None  # nothing was learned, so it is the choice itself
    for _ in range(60):
        router.perception.observe("hello there", first.expert.name, 1.0)
    later = router.decide_batch(["hello there"])[0]
    assert min(later.ranking, key=lambda one: one.total).name != first.expert.name
    assert later.frozen_choice == first.expert.name
    assert record_of(later).frozen_choice == first.expert.name


def test_losses_at_the_positions_of_prompts_are_those_that_were_predicted():
    router = bundled_router()
    unknown = Router(router.perception, [*router.library.names, "stranger-9b"])
    for one in (router, unknown):
        prediction = one._aligned_perception.predict(["hello", "prove it"])
        losses = one._aligned_perception.losses_at(prediction.positions)
        assert losses == pytest.approx(prediction.losses, abs=1e-6)


def test_a_record_names_the_kind_of_the_prompt():
    assert bundled_router().route("Write a Python function that sorts a list").kind


def test_routers_of_the_same_experts_share_a_log_and_others_learn_anew(log):
    router = bundled_router()
    own = DecisionLog(log, router.perception, router.library)
    assert own.for_parts(router.perception, router.library.subset(router.library.names[:2])) is own
    wider = own.for_parts(router.perception, Library([*router.library, Expert("new-7b")]))
    assert wider is not own
    assert wider.perception is not own.perception
    assert wider.fingerprint == own.fingerprint


@pytest.mark.parametrize("score", [1.5, -0.1, float("nan"), "good", None])
def test_a_score_outside_0_to_1_is_refused(score):
    with pytest.raises(InputError, match="score"):
        make_feedback("id", score)


@pytest.mark.parametrize("field", ["kind", "comment", "feedback_id"])
def test_a_field_of_feedback_of_another_type_is_refused(field):
    with pytest.raises(InputError, match=field):
        make_feedback("id", 1.0, **{field: 7})


def test_a_decision_instead_of_its_id_is_refused():
    with pytest.raises(InputError, match="id is"):
        make_feedback(routed(), 1.0)


def test_a_thumb_is_true_or_false():
    assert make_feedback("id", True).score == 1.0
    assert make_feedback("id", False).score == 0.0


def test_feedback_without_an_id_gets_a_random_one_and_a_given_id_stays():
    assert make_feedback("id", 1.0).id != make_feedback("id", 1.0).id
    assert make_feedback("id", 1.0, feedback_id="mine").id == "mine"


@pytest.mark.usefixtures("small_heap")
def test_a_router_that_is_no_longer_used_is_freed_although_it_has_written_signals(log, monkeypatch):
    monkeypatch.setattr(writer, "IDLE_SECONDS", 0.05)
    router = Router(bundled_router().perception, bundled_router().library, traffic=log)
    decision = router.route("hello")
    router.log.add_signal(make_feedback(decision.id, 0.0, kind="error"))
    assert router.log.flush()
    reference = weakref.ref(router.log)
    del router, decision

    ends = time.monotonic() + 60
    while reference() is not None and time.monotonic() < ends:
        gc.collect()
        time.sleep(0.01)
    assert reference() is None
