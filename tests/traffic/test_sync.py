"""All processes that share a log learn the same from it, and go back together."""

from __future__ import annotations

import logging
from multiprocessing import get_context

import numpy as np
import pytest

from tryage.core.library import Library
from tryage.errors import InputError, TrafficError
from tryage.traffic import sync as sync_module
from tryage.traffic.learner import Learner
from tryage.traffic.sync import TrafficSync

NEW = "unheard-of"


@pytest.fixture
def write(rows):
    """Write rows into a log: their decisions, and feedback that teaches."""

    def write_rows(log, expert, scores):
        for score in scores:
            row = rows(expert, score)
            log.record_decision(row.decision)
            log.add_feedback(row.feedback)

    return write_rows


@pytest.fixture
def join(learned):
    """Make what keeps a perception at the state of a log; returns it with the perception."""

    def make(log):
        library, live = Library([*learned.experts, NEW]), learned.replace()
        return TrafficSync(log, Learner(learned, library), live), live

    return make


def loss(live, learned, name):
    library = Library([*learned.experts, NEW])
    losses = live.for_library(library).predict(["sum word1"]).losses
    return float(losses[0, library.index(name)])


def test_feedback_changes_what_is_predicted(log, write, join, learned):
    synced, live = join(log)
    write(log, "adder", [0.0] * 20)
    write(log, NEW, [1.0] * 20)
    synced.sync()
    assert loss(live, learned, "adder") > loss(learned, learned, "adder")
    assert loss(live, learned, NEW) < loss(learned, learned, NEW)


def test_nothing_new_leaves_the_perception_as_it_is(log, write, join):
    synced, live = join(log)
    write(log, "adder", [0.0])
    synced.sync()
    abilities = live.abilities
    assert synced.sync() == []
    assert live.abilities is abilities


def test_two_readers_end_bit_for_bit_alike(log, write, join, open_log, url):
    often, _ = join(log)
    for score in (0.0, 1.0, 0.0):
        write(log, NEW, [score])
        often.sync()
    once, _ = join(open_log(url))
    once.sync()
    assert once.learner.state.to_bytes() == often.learner.state.to_bytes()


def read_in_child(connection, synced):
    synced.sync()
    connection.send_bytes(synced.learner.state.to_bytes())


def test_a_forked_child_ends_bit_for_bit_alike(log, write, join):
    synced, _ = join(log)
    write(log, NEW, [0.0] * 3)
    synced.sync()
    write(log, "adder", [1.0] * 3)
    here, there = get_context("fork").Pipe()
    child = get_context("fork").Process(target=read_in_child, args=(there, synced))
    child.start()
    found = here.recv_bytes()
    child.join()
    synced.sync()
    assert found == synced.learner.state.to_bytes()


def test_a_new_process_starts_from_a_snapshot(log, write, join, monkeypatch):
    monkeypatch.setattr(sync_module, "_FIRST_SNAPSHOT", 5)
    first, _ = join(log)
    write(log, NEW, [0.0] * 6)
    first.sync()
    write(log, NEW, [1.0])
    first.sync()
    asked, read = [], log.log_after
    monkeypatch.setattr(log, "log_after", lambda *args: asked.append(args[0]) or read(*args))
    second, live = join(log)
    second.sync()
    assert asked[0] == 6
    assert second.learner.state.to_bytes() == first.learner.state.to_bytes()
    assert live.observed_experts.names == (NEW,)


def test_undo_goes_back_in_all_processes_and_can_be_undone(log, write, join, monkeypatch):
    here, live = join(log)
    there, _ = join(log)
    now = [1_000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    write(log, NEW, [1.0] * 5)
    here.sync()
    good = here.learner.level(NEW)
    now[0] = 2_000.0
    write(log, NEW, [0.0] * 5)
    here.sync()
    bad = here.learner.level(NEW)
    now[0] = 3_000.0
    here.undo(to=1_500.0)
    there.sync()
    assert here.learner.level(NEW) == there.learner.level(NEW) == good
    shown = live.observed_experts.abilities.means[0]
    np.testing.assert_array_equal(shown, here.learner.ability(NEW).mean)
    now[0] = 4_000.0
    there.undo(to=2_500.0)
    here.sync()
    assert here.learner.level(NEW) == there.learner.level(NEW) == bad


def test_undo_to_the_future_is_refused(log, join):
    synced, _ = join(log)
    with pytest.raises(InputError, match="in the past"):
        synced.undo(to=1e12)


def test_learned_since_counts_what_came_after_a_time(log, write, join, monkeypatch):
    synced, _ = join(log)
    now = [1_000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    write(log, "adder", [1.0] * 5)
    now[0] = 2_000.0
    write(log, NEW, [0.0] * 4)
    (change,) = synced.learned_since(1_500.0).changes
    assert (change.expert, change.count) == (NEW, 4)
    assert {one.expert for one in synced.learned_since(0.0).changes} == {"adder", NEW}


def test_an_alarm_is_told_once_in_each_process_and_written_once(log, write, join, caplog):
    rng = np.random.default_rng(0)
    first, _ = join(log)
    second, _ = join(log)
    second.sync()
    write(log, NEW, [*(float(x < 0.8) for x in rng.random(150)), *[0.0] * 40])
    with caplog.at_level(logging.WARNING, logger="tryage.traffic.sync"):
        assert [alarm.direction for alarm in first.sync()] == ["worse"]
        second.sync()
    messages = [one.getMessage() for one in caplog.records]  # logs of other tests may warn, too
    assert [one for one in messages if NEW in one] == [f"{NEW} has become worse."] * 2
    (event,) = log.events_after(0)
    assert (event.kind, event.expert, event.values["direction"]) == ("drift", NEW, "worse")
    assert first.probes("adder", "adder") == {NEW: 0.01}


def test_a_failing_store_warns_and_learning_goes_on_when_it_is_back(
    log, write, join, monkeypatch, caplog
):
    synced, _ = join(log)
    write(log, NEW, [0.0])

    def fail(*_):
        raise TrafficError("the disk is full")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(log, "log_after", fail)
        assert synced.sync() == synced.sync() == []
    assert len(caplog.records) == 1
    assert "the disk is full" in caplog.text
    synced.sync()
    assert synced.has_learned


def test_a_damaged_snapshot_is_left_out(log, write, join, caplog):
    synced, _ = join(log)
    write(log, NEW, [0.0])
    log.save_snapshot(synced._snapshot_key(), 1, b"nonsense")
    synced.sync()
    assert synced.learner.state.beliefs[NEW].count == 1
    assert "read from its beginning" in caplog.text
