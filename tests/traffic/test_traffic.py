"""The log of traffic: what is recorded comes back, in an order that is the same for all readers."""

from __future__ import annotations

import copy
import datetime
import pickle
from multiprocessing.context import set_spawning_popen

import pytest

from tryage.errors import InputError, TrafficError
from tryage.traffic.traffic import open_traffic

pytest.importorskip("sqlalchemy")


def test_decisions_come_back_with_their_outcomes_and_feedback(
    log, decision, outcome, feedback, plain
):
    log.record_decision(decision("d1", 1.0, prompt=None))
    log.record_decision(decision("d2", 2.0, prompt=None, position=None))
    log.record_outcome(outcome("d1"))
    log.add_feedback(feedback("f1", "d1", comment="good"))
    (first, its_outcome, its_feedback), (second, no_outcome, no_feedback) = log.decisions()
    assert plain(first) == plain(decision("d1", 1.0, prompt=None))
    assert (its_outcome, its_feedback) == (outcome("d1"), [feedback("f1", "d1", comment="good")])
    assert plain(second) == plain(decision("d2", 2.0, prompt=None, position=None))
    assert (no_outcome, no_feedback) == (None, [])


def test_a_decision_of_no_router_comes_back(log, decision):
    log.record_decision(decision("d1", router=""))
    assert [record.router for record, _, _ in log.decisions()] == [""]


def test_decisions_are_of_a_time_and_of_a_key(log, decision):
    for i in range(5):
        log.record_decision(decision(f"d{i}", float(i), key="even" if i % 2 == 0 else "odd"))
    assert [one.id for one, *_ in log.decisions(1.0, 4.0)] == ["d1", "d2", "d3"]
    assert [one.id for one, *_ in log.decisions(since=1.0, key="even")] == ["d2", "d4"]


def test_the_last_decisions_are_of_the_same_condition_and_in_order(log, decision):
    for i in range(6):
        log.record_decision(decision(f"d{i}", float(i), key="even" if i % 2 == 0 else "odd"))

    def ids(**conditions):
        return [one.id for one, *_ in log.decisions(**conditions)]

    assert ids(last=2) == ["d4", "d5"]
    assert ids(last=2, key="even") == ["d2", "d4"]
    assert ids(last=2, until=3.0) == ["d1", "d2"]
    assert ids(last=9) == ids()
    log.record_decision(decision("d6", 5.0))
    assert ids(last=1) == ["d5", "d6"]  # of the same time
    with pytest.raises(InputError, match="last must be a whole number from 1"):
        ids(last=0)


def test_many_decisions_come_page_by_page(log, decision, monkeypatch):
    monkeypatch.setattr("tryage.traffic.traffic._PAGE", 3)
    for i in range(8):  # two have the same time
        log.record_decision(decision(f"d{i}", float(i // 2)))
    assert [one.id for one, *_ in log.decisions()] == [f"d{i}" for i in range(8)]


def test_the_text_of_prompts_is_kept_only_on_demand(open_log, url, decision):
    log = open_log(url)
    log.record_decision(decision("d1", prompt="a secret"))
    log.close()
    log = open_log(url, keep_prompts=True)
    log.record_decision(decision("d2", prompt="a wish"))
    assert [one.prompt for one, *_ in log.decisions()] == [None, "a wish"]


def test_feedback_with_the_same_id_counts_once(log, decision, feedback):
    log.record_decision(decision())
    assert log.add_feedback(feedback("f1", score=1.0))
    assert not log.add_feedback(feedback("f1", score=0.0))
    assert [entry.feedback.score for entry in log.feedback_after(0)] == [1.0]


def test_feedback_that_comes_before_its_decision_gets_its_number_with_it(log, decision, feedback):
    assert log.add_feedback(feedback("early", "d1"))
    assert log.add_event("alarm", {}) == 1
    assert log.feedback_after(0) == []
    log.record_decision(decision("d1"))
    log.flush()
    entry = log.feedback_after(0)[0]
    assert (entry.sequence, entry.feedback.id, entry.decision.id) == (2, "early", "d1")


def test_feedback_is_about_the_expert_that_answered(log, decision, outcome, feedback):
    for name in ("d1", "d2", "d3"):
        log.record_decision(decision(name, chosen="a"))
    log.record_outcome(outcome("d2", served_by="b"))
    log.add_feedback(feedback("f1", "d1"))
    log.add_feedback(feedback("f2", "d2"))
    log.add_feedback(feedback("f3", "d3", expert="c"))
    assert [entry.expert for entry in log.feedback_after(0)] == ["a", "b", "c"]
    log.record_outcome(outcome("d1", served_by="b"))  # too late: readers have seen "a"
    log.flush()
    assert log.feedback_after(0)[0].expert == "a"


def test_feedback_and_events_are_one_sequence(log, decision, feedback):
    log.record_decision(decision())
    log.add_feedback(feedback("f1"))
    assert log.add_event("alarm", {"p": 0.01}, "a") == 2
    log.add_feedback(feedback("f2"))
    entries = log.log_after(0)
    assert [entry.sequence for entry in entries] == [1, 2, 3]
    assert (entries[1].kind, entries[1].values, entries[1].expert) == ("alarm", {"p": 0.01}, "a")
    assert [entry.sequence for entry in log.log_after(1, limit=1)] == [2]
    assert [entry.sequence for entry in log.events_after(0)] == [2]
    assert log.last_sequence() == 3


def test_an_event_with_the_same_id_is_stored_once(log):
    assert log.add_event("alarm", {"p": 0.01}, event_id="a-1") == 1
    assert log.add_event("alarm", {"p": 0.02}, event_id="a-1") == 1
    assert [event.values for event in log.events_after(0)] == [{"p": 0.01}]


def test_snapshots_are_found_by_router_and_number(log):
    log.save_snapshot("r", 10, b"ten")
    log.save_snapshot("r", 20, b"twenty")
    log.save_snapshot("s", 30, b"other")
    assert log.latest_snapshot("r").data == b"twenty"
    assert log.latest_snapshot("r", at_or_before=19).data == b"ten"
    assert log.latest_snapshot("r", at_or_before=9) is None


def test_a_time_has_the_number_of_the_last_entry_before_it(log, monkeypatch):
    for i in range(3):
        monkeypatch.setattr("tryage.traffic.traffic.clock.time", lambda i=i: 100.0 + i)
        log.add_event("alarm", {})
    assert [log.sequence_at(time) for time in (99.0, 100.0, 101.5, 200.0)] == [0, 1, 2, 3]


def test_what_was_written_under_a_clock_that_was_ahead_hides_no_later_entry(log, monkeypatch):
    for written in (100.0, 1e9, 101.0, 102.0):
        monkeypatch.setattr("tryage.traffic.traffic.clock.time", lambda written=written: written)
        log.add_event("alarm", {})
    assert [log.sequence_at(time) for time in (99.0, 101.0, 102.0)] == [0, 3, 4]


def test_two_logs_of_one_file_see_the_same(open_log, url, decision, feedback):
    first, second = open_log(url), open_log(url)
    first.record_decision(decision("d1"))
    second.add_feedback(feedback("f2", "d2"))
    first.add_feedback(feedback("f1", "d1"))
    second.record_decision(decision("d2"))
    second.flush()
    seen = [[(e.sequence, e.feedback.id) for e in log.feedback_after(0)] for log in (first, second)]
    assert seen[0] == seen[1] == [(1, "f1"), (2, "f2")]


@pytest.mark.parametrize("score", [float("inf"), float("nan"), "good", None, 1.5, -0.1])
def test_a_score_is_a_number_from_0_to_1(log, feedback, score):
    with pytest.raises(InputError):
        log.add_feedback(feedback(score=score))
    assert log.feedback_after(0) == []


def test_an_event_holds_plain_json(log):
    with pytest.raises(InputError, match="plain JSON"):
        log.add_event("alarm", {"when": object()})


@pytest.mark.parametrize("kind", ["copy", "deepcopy"])
def test_a_copy_is_the_same_log(log, kind):
    assert getattr(copy, kind)(log) is log


def test_a_pickle_opens_the_same_file(log):
    log.add_event("alarm", {})
    again = pickle.loads(pickle.dumps(log))  # noqa: S301 - made here
    assert [event.kind for event in again.events_after(0)] == ["alarm"]
    again.close()


def test_a_pickle_loads_as_the_log_that_is_open(url):
    with open_traffic(url) as log:
        assert pickle.loads(pickle.dumps(log)) is log  # noqa: S301 - made here


def test_the_same_url_is_one_log_within_a_process_until_it_is_closed(url):
    with open_traffic(url) as log:
        assert open_traffic(url) is log
    with open_traffic(url) as again:
        assert again is not log


@pytest.mark.parametrize("time", ["2026-11-01", datetime.datetime(2026, 11, 1)])  # noqa: DTZ001 - any
def test_times_of_decisions_are_numbers(log, time):
    with pytest.raises(InputError, match="since must be a number"):
        next(log.decisions(since=time))


def test_a_record_for_a_closed_log_is_lost_because_it_is_closed(log, decision, caplog):
    log.close()
    log.record_decision(decision())
    assert log.lost == {"decisions": 1}
    assert "because it is closed" in caplog.text


def test_a_log_that_is_not_there_is_an_error_where_none_shall_be_made(open_log, url, tmp_path):
    with pytest.raises(TrafficError, match=r"no log of traffic at .*tryage\.db"):
        open_log(url, create=False)
    assert list(tmp_path.iterdir()) == []
    open_log(url)
    assert open_log(url, create=False).last_sequence() == 0


def test_what_was_lost_is_stored_as_an_event(open_log, url, decision, outcome):
    log = open_log(url)
    log.record_decision(decision("d1", chosen=3))
    log.record_outcome(outcome("d1", latency="long"))
    log.record_decision(decision("d1"))
    log.flush()
    log.record_decision(decision("d2", chosen=3))  # within the same minute
    log.close()
    events = open_log(url).events_after(0)
    assert [event.kind for event in events] == ["lost", "lost"]
    assert [event.values for event in events] == [{"decisions": 1, "outcomes": 1}, {"decisions": 1}]


def test_an_argument_is_a_log_its_url_or_none(log, url):
    assert open_traffic(None) is None
    assert open_traffic(log) is log
    with open_traffic(url) as opened:
        assert opened.last_sequence() == 0
    with pytest.raises(InputError, match="int"):
        open_traffic(3)


def test_what_is_recorded_after_the_end_is_lost_and_counted(log, decision, outcome):
    log.close()
    log.record_decision(decision())
    log.record_outcome(outcome())
    assert log.lost == {"decisions": 1, "outcomes": 1}


def test_a_record_of_wrong_types_is_lost_and_the_others_are_kept(log, decision):
    log.record_decision(decision("d1"))
    log.record_decision(decision("d2", losses=("high", "low")))
    log.record_decision(decision("d3"))
    assert log.flush()
    assert [one.id for one, *_ in log.decisions()] == ["d1", "d3"]
    assert log.lost == {"decisions": 1}


def test_a_file_of_another_program_is_an_error(tmp_path, open_log):
    (tmp_path / "notes.txt").write_text("not a database " * 100)
    with pytest.raises(TrafficError, match="not a database"):
        open_log(f"sqlite:///{tmp_path}/notes.txt")


# Passwords in pickles ----------------------------------------------------------------------------


@pytest.fixture
def locked_log():
    """A log with a password, whose server nobody has started."""
    pytest.importorskip("psycopg")
    url = "postgresql://me:kwozqmtr@127.0.0.1:9/db?sslpassword=kwozqmtr&application_name=x"
    log = open_traffic(url, timeout=0.1, flush_interval=60.0)
    yield log
    log.close(0.1)


def test_a_pickle_of_a_log_has_no_password_and_loads_here_as_the_same_log(locked_log):
    data = pickle.dumps(locked_log)
    assert b"kwozqmtr" not in data
    assert b"application_name" in data
    assert pickle.loads(data) is locked_log  # noqa: S301 - made here


def test_a_process_that_this_one_starts_gets_the_password(locked_log):
    set_spawning_popen(object())  # as multiprocessing does while it pickles for its child
    try:
        assert b"kwozqmtr" in pickle.dumps(locked_log)
    finally:
        set_spawning_popen(None)
