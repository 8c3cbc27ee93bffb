"""Router with a log of traffic: decisions are written, feedback by id reaches every process."""

from __future__ import annotations

import contextlib
import datetime
import pickle
import sqlite3

import numpy as np
import pytest

from tryage import Expert, Library, Router
from tryage.core.exploration import Exploration
from tryage.core.perception import SecondStage
from tryage.core.preferences import Preferences
from tryage.core.request import ConversationContext
from tryage.errors import InputError, LibraryError, PerceptionError
from tryage.testing import FixedPerception

LOSSES = {"small": 0.3, "large": 0.29}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/log.db"


@pytest.fixture
def router(url):
    return Router(FixedPerception(LOSSES), list(LOSSES), traffic=url)


def bundled(url, **settings):
    router = Router.from_pretrained(
        preferences=Preferences(answer_value=1e9), traffic=url, **settings
    )
    return router.subset(router.library.names[:4])


def rows(router):
    router.traffic.flush(5)
    return list(router.traffic.decisions())


def losses(router, prompt="hello there"):
    """Return the predicted losses by name; a probe may put another expert first."""
    return {one.name: one.predicted_loss for one in router.decide_batch([prompt])[0].ranking}


def best(router):
    return min(losses(router).items(), key=lambda item: item[1])[0]


def test_every_routed_prompt_is_in_the_log(router):
    decisions = router.route_batch(["one", "two"])
    assert [record.id for record, _, _ in rows(router)] == [one.id for one in decisions]


def test_decide_batch_leaves_no_record(router):
    router.decide_batch(["one"])
    assert rows(router) == []


@pytest.mark.parametrize(
    ("keys", "thread", "user"),
    [
        ({"user_id": "ann"}, None, "ann"),
        ({"user": "ann"}, None, "ann"),
        ({"thread_id": "t1", "user_id": "ann"}, "t1", "ann"),
        ({"session_id": "s1"}, "s1", None),
        ({"team": "red"}, None, None),
    ],
)
def test_the_thread_and_the_user_are_in_the_log(router, keys, thread, user):
    router.route("hello", context=ConversationContext(keys=keys))
    router.record_kept("turn-2", "small", keys=keys)
    assert [(one.key, one.user_id) for one, *_ in rows(router)] == [(thread, user)] * 2


def test_a_user_without_a_thread_can_be_forgotten(router):
    router.route("hello", context=ConversationContext(keys={"user_id": "ann"}))
    router.route("hello")
    assert router.traffic.prune(days=0, key="ann") == {"decisions": 1}
    assert len(rows(router)) == 1


def test_feedback_by_id_from_another_router_is_with_its_decision(router, url):
    decision = router.route("hello")
    router.traffic.flush(5)
    other = Router(FixedPerception(LOSSES), list(LOSSES), traffic=url)
    assert other.feedback(decision.id, 0.25, kind="judge", comment="so so")
    ((record, _, feedback),) = rows(router)
    assert record.id == decision.id
    assert [(one.score, one.kind, one.comment) for one in feedback] == [(0.25, "judge", "so so")]


def test_feedback_with_an_id_that_is_there_changes_nothing(router):
    decision = router.route("hello")
    assert router.feedback(decision.id, 1.0, feedback_id="f1")
    assert not router.feedback(decision.id, 0.0, feedback_id="f1")
    ((_, _, feedback),) = rows(router)
    assert [one.score for one in feedback] == [1.0]


def test_feedback_about_an_unknown_expert_is_refused(router):
    with pytest.raises(LibraryError, match="'larg'"):
        router.feedback(router.route("x").id, 1.0, expert="larg")


@pytest.mark.parametrize("expert", [0, 7, True])
def test_the_expert_of_feedback_is_a_name_and_no_position(router, expert):
    with pytest.raises(LibraryError, match="No expert is called"):
        router.feedback(router.route("x").id, 1.0, expert=expert)


def test_a_decision_instead_of_its_id_is_refused_without_the_text_of_its_prompt(router):
    with pytest.raises(InputError, match=r"a Decision; .* decision\.id") as caught:
        router.feedback(router.route("my secret zebra4711"), 1.0)
    assert "zebra4711" not in str(caught.value)


@pytest.mark.parametrize("score", [np.True_, np.float32(1.0), np.int64(1)])
def test_scores_of_numpy_are_scores(router, score):
    router.feedback(router.route("x").id, score)
    ((_, _, (feedback,)),) = rows(router)
    assert feedback.score == 1.0


def test_feedback_without_a_log_says_how_to_get_one():
    with pytest.raises(InputError, match="Give it one"):
        Router(FixedPerception(LOSSES)).feedback("id", 1.0)


def test_subsets_and_copies_write_into_the_same_log(router):
    router.subset(["small"]).route("a")
    router.with_preferences("thrifty").route("b")
    assert [record.chosen for record, _, _ in rows(router)] == ["small", "large"]


def test_prompts_are_not_kept(router):
    router.route("my secret zebra4711")
    assert [record.prompt for record, _, _ in rows(router)] == [None]


def test_a_saved_router_holds_no_address_of_a_log(url, tmp_path):
    bundled(url).save_pretrained(tmp_path / "saved")
    for path in (tmp_path / "saved").rglob("*.json"):
        assert "sqlite" not in path.read_text("utf-8")
    assert Router.from_pretrained(tmp_path / "saved").traffic is None


def test_a_pickled_router_writes_into_the_same_log(router):
    again = pickle.loads(pickle.dumps(router))  # noqa: S301 - our own pickle
    decision = again.route("hello")
    again.traffic.flush(5)
    assert [record.id for record, _, _ in rows(router)] == [decision.id]


def test_a_router_learns_from_feedback_at_once(url):
    router = bundled(url)
    first = best(router)
    for _ in range(30):
        router.feedback(router.route("hello there").id, 0.0, expert=first)
    assert best(router) != first


def test_observe_is_feedback_of_the_kind_test(url):
    router = bundled(url)
    decision = router.route("hello there")
    router.observe(decision, 0.75)
    ((_, _, feedback),) = rows(router)
    assert [(one.kind, one.score) for one in feedback] == [("test", 0.25)]


def test_another_process_learns_the_same_bit_for_bit(url):
    router, other = bundled(url), bundled(url)
    for score in (0.0, 1.0, 0.5):
        router.feedback(router.route("hello there").id, score)
    other.log.sync()
    assert losses(router) == losses(other)


def test_explored_decisions_have_exact_propensities_in_the_log(url):
    router = Router(
        FixedPerception(LOSSES, std=0.2),
        list(LOSSES),
        traffic=url,
        exploration=Exploration(tolerance=0.5, budget=1.0),
    )
    decisions = [router.route("x") for _ in range(40)]
    assert {one.expert.name for one in decisions} == set(LOSSES)
    for record, _, _ in rows(router):
        propensities = dict(zip(record.candidates, record.propensities, strict=True))
        assert record.propensity == pytest.approx(propensities[record.chosen])
        assert sum(propensities.values()) == pytest.approx(1.0)
        assert record.frozen_choice == "large"


def test_requests_tagged_critical_are_not_explored():
    router = Router(
        FixedPerception(LOSSES, std=0.2),
        list(LOSSES),
        exploration=Exploration(tolerance=0.5, budget=1.0),
    )
    context = ConversationContext(tags=("critical",))
    assert {router.route("x", context=context).expert.name for _ in range(40)} == {"large"}


def test_an_unmeasured_expert_learns_from_feedback_as_a_known_one_does(url):
    bundled_router = Router.from_pretrained(preferences=Preferences(answer_value=1e9))
    library = Library([*[bundled_router.library[i] for i in range(3)], Expert("stranger-9b")])
    router = Router(bundled_router.perception, library, traffic=url)
    before = router.decide_batch(["hello"])[0].ranking.entry("stranger-9b").predicted_loss
    for _ in range(10):
        router.feedback(router.route("hello").id, 0.0, expert="stranger-9b", kind="test")
    after = router.decide_batch(["hello"])[0].ranking.entry("stranger-9b").predicted_loss
    assert after > before + 0.05


def test_a_new_router_knows_what_the_log_has_taught(url):
    router = bundled(url)
    for _ in range(5):
        router.feedback(router.route("hello there").id, 0.0)
    again = bundled(url)
    assert losses(again) == losses(router)
    assert again.decide_batch(["hello there"])[0].frozen_choice is not None


def test_an_undo_brings_back_what_was_known_and_a_report_says_what_was_learned(url):
    router = bundled(url)
    before = losses(router)
    start = datetime.datetime.now(datetime.timezone.utc)
    decision = router.route("hello there")
    for _ in range(5):
        router.feedback(decision.id, 0.0)
    assert decision.expert.name in str(router.learned_since(start))
    router.undo(start)
    assert losses(router) == pytest.approx(before)


def test_a_time_without_a_zone_is_refused(url):
    with pytest.raises(InputError, match="without a time zone"):
        bundled(url).learned_since(datetime.datetime(2026, 1, 1))  # noqa: DTZ001 - that is the test


def test_a_perception_without_abilities_says_that_it_does_not_learn(router):
    with pytest.raises(PerceptionError, match="FixedPerception does not learn"):
        router.learned_since(0.0)


def test_a_damaged_row_of_the_log_fails_no_decision(url):
    writer = bundled(url)
    writer.feedback(writer.route("hello").id, 0.0)
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.execute("UPDATE tryage_decisions SET position = x'00'")
        connection.commit()
    reader = bundled(url)
    assert reader.feedback(reader.route("hello").id, 1.0)


def test_feedback_changes_the_choices_of_a_second_stage_as_those_of_the_first(url):
    perception = Router.from_pretrained().perception
    always = (1.0, 1.0)  # thresholds: each prompt is asked
    perception.second_stage = SecondStage(perception.copy(), 0.1, (0.001, 1.0), always)
    router = Router(perception, ["gpt-5-mini", "claude-haiku-4-5"], traffic=url)
    before = losses(router)
    for _ in range(10):
        (decision,) = router.decide_batch(["hello there"])
        router.record(decision)
        router.feedback(decision.id, 0.0, kind="test", expert="gpt-5-mini")
    assert losses(router)["gpt-5-mini"] > before["gpt-5-mini"] + 0.1
    assert best(router) == "claude-haiku-4-5"
