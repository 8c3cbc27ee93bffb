"""What judged answers tell about a guarantee, and what follows in all processes."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import pytest

from tryage.core.policy_change import PolicyChange
from tryage.policies.guarantee_calibration import GuaranteeCalibration
from tryage.policies.guarantee_monitor import BROKEN, GuaranteeMonitor, GuaranteeTerms, id_place
from tryage.traffic.records import DecisionRecord, Feedback

pytest.importorskip("sqlalchemy")

from tryage.errors import TrafficError
from tryage.traffic.traffic import Traffic

TERMS = GuaranteeTerms("Guarantee", "large", 0.9, 0.95, judged_share=1.0, kind="judge")
START = 1_000.0
CALIBRATION = GuaranteeCalibration(0.1, 500, 0.5, 0.4, 0.98, "large", time=START)


def record(i=0, *, drawn=False, chosen=None, time=START + 1, **values) -> DecisionRecord:
    """Return a decision in which the rule chose small, unless the reference was drawn."""
    chosen = chosen or ("large" if drawn else "small")
    settings = {
        "propensity": 0.5,
        "candidates": ("small", "large"),
        "losses": (0.3, 0.1),
        "propensities": (0.5, 0.5),
        "changes": (PolicyChange("Guarantee", "why", "small", chosen),),
    }
    return DecisionRecord(f"{i:016x}", time, "router", chosen, **settings | values)


@pytest.fixture
def traffic(tmp_path):
    with Traffic(f"sqlite:///{tmp_path}/traffic.db") as log:
        yield log


def write(traffic, decision, score, kind="judge") -> None:
    traffic.record_decision(decision)
    traffic.add_feedback(Feedback(f"f{decision.id}{kind}", decision.id, decision.time, score, kind))


def test_the_difference_is_the_predicted_one_corrected_by_the_answer() -> None:
    predicted = 0.7 - 0.9 * 0.9
    assert TERMS.difference(record(), "small", 1.0) == pytest.approx(predicted + (1 - 0.7) / 0.5)
    drawn = record(drawn=True)
    assert TERMS.difference(drawn, "large", 0.0) == pytest.approx(predicted + 0.9 * 0.9 / 0.5)
    # Whatever was predicted, the mean over both is the score of small less .9 of that of large.
    for losses in ((0.3, 0.1), (0.9, 0.6)):
        of_small = TERMS.difference(record(losses=losses), "small", 0.8)
        of_large = TERMS.difference(record(drawn=True, losses=losses), "large", 0.6)
        assert (of_small + of_large) / 2 == pytest.approx(0.8 - 0.9 * 0.6)


def test_no_difference_is_above_the_highest() -> None:
    for losses in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
        for drawn, name in ((False, "small"), (True, "large")):
            for score in (0.0, 1.0):
                value = TERMS.difference(record(drawn=drawn, losses=losses), name, score)
                assert value <= TERMS.highest + 1e-12


def test_where_the_rule_takes_the_reference_the_difference_is_known() -> None:
    same = record(chosen="large", propensity=1.0, propensities=(0.0, 1.0))
    assert TERMS.difference(same, "large", 0.5) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("decision", "expert"),
    [
        (record(), "large"),  # another expert answered, because the first failed
        (record(changes=()), "small"),  # no decision of the guarantee
        (record(chosen="small", changes=(PolicyChange("Guarantee", "", "", "large"),)), "small"),
        (record(propensity=1.0), "small"),  # a conversation: the reference was not drawn
        (record(), "medium"),
    ],
)
def test_other_answers_tell_nothing(decision, expert) -> None:
    assert TERMS.difference(decision, expert, 1.0) is None


def test_only_answers_that_are_due_to_be_judged_count_and_half_of_them_are_the_references() -> None:
    terms = GuaranteeTerms("Guarantee", "large", 0.9, 0.95, judged_share=0.5, kind="judge")
    assert terms.difference(record(i=2**62), "small", 1.0) is not None  # at a quarter
    assert terms.difference(record(i=2**63 + 1), "small", 1.0) is None  # at a half
    assert terms.is_sampled(f"{2**61:016x}")
    assert not terms.is_sampled(f"{2**62 + 1:016x}")
    assert terms.propensities("small") == {"small": 0.75, "large": 0.25}
    assert id_place("no number") == 1.0


def test_good_answers_are_no_evidence(traffic) -> None:
    for i in range(40):
        write(traffic, record(i, drawn=i % 2 == 0), 0.9)
    state = GuaranteeMonitor(traffic, TERMS, CALIBRATION).sync()
    assert state.test.count == 40
    assert state.test.mean == pytest.approx(0.9 - 0.9 * 0.9)
    assert state.test.wealth < 1
    assert state.stopped is None


def test_bad_answers_stop_it_in_all_processes_with_one_event(traffic, caplog) -> None:
    monitors = [GuaranteeMonitor(traffic, TERMS, CALIBRATION) for _ in range(2)]
    for i in range(60):
        write(traffic, record(i, drawn=i % 2 == 0), 1.0 if i % 2 == 0 else 0.0)
    with caplog.at_level(logging.WARNING):
        states = [monitor.sync() for monitor in monitors]
    assert states[0].stopped == states[1].stopped == START + 1
    assert states[0].test.count < 60  # what comes later is not read
    assert "no longer 90% as good as those of large" in caplog.text
    (event,) = traffic.events_after(0)
    assert (event.kind, event.expert) == (BROKEN, "large")
    assert event.values["calibration"] == CALIBRATION.id
    later = GuaranteeMonitor(traffic, TERMS, CALIBRATION)
    assert later.sync().stopped is not None


def test_an_event_alone_stops_it_and_that_of_another_calibration_does_not(traffic) -> None:
    monitor = GuaranteeMonitor(traffic, TERMS, CALIBRATION)
    traffic.add_event(BROKEN, {"calibration": "another"}, "large")
    assert monitor.sync().stopped is None
    traffic.add_event(BROKEN, {"calibration": CALIBRATION.id}, "large")
    assert monitor.sync().stopped is not None


def test_other_feedback_and_earlier_decisions_do_not_count(traffic) -> None:
    write(traffic, record(1), 0.0, kind="thumb")
    write(traffic, record(2, time=START - 1), 0.0)
    assert GuaranteeMonitor(traffic, TERMS, CALIBRATION).sync().test.count == 0


def test_a_log_that_fails_is_a_warning_and_is_read_on_later(traffic, monkeypatch, caplog) -> None:
    monitor = GuaranteeMonitor(traffic, TERMS, CALIBRATION)
    write(traffic, record(1), 1.0)

    def fail(*_):
        raise TrafficError("out of reach")

    with monkeypatch.context() as patch:
        patch.setattr(traffic, "log_after", fail)
        assert monitor.sync().test.count == 0
        monitor.sync()
    assert caplog.text.count("out of reach") == 1
    assert monitor.sync().test.count == 1


def test_a_full_disk_does_not_keep_a_broken_guarantee_in_force(
    traffic, monkeypatch, caplog
) -> None:
    monitor, add_event = GuaranteeMonitor(traffic, TERMS, CALIBRATION), traffic.add_event

    def fail(*_, **__) -> None:
        raise TrafficError("the disk is full")

    monkeypatch.setattr(traffic, "add_event", fail)
    for i in range(60):
        write(traffic, record(i, drawn=i % 2 == 0), 1.0 if i % 2 == 0 else 0.0)
    assert monitor.sync().stopped is not None
    assert monitor.sync().stopped is not None
    assert caplog.text.count("no longer 90%") == 1
    monkeypatch.setattr(traffic, "add_event", add_event)
    monitor.sync()
    monitor.sync()
    assert len(traffic.events_after(0)) == 1


def test_a_calibration_under_a_clock_that_was_ahead_is_watched_from_now_on(traffic) -> None:
    now = time.time()
    ahead = replace(CALIBRATION, time=now + 365 * 86_400.0)
    monitor = GuaranteeMonitor(traffic, TERMS, ahead)
    for i in range(60):
        good = i % 2 == 0
        write(traffic, record(i, drawn=good, time=now + 1.0), 1.0 if good else 0.0)
    assert monitor.sync().stopped is not None
