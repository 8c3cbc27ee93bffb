"""A damaged log is one clear error in bounded time, and fails no answer."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3

import numpy as np
import pytest

from tryage import Router
from tryage.core.library import Library
from tryage.errors import TrafficError, TryageError
from tryage.policies import Budget

pytest.importorskip("sqlalchemy")
pytest.importorskip("alembic")

from tryage.learning.traffic_report.documents import to_markdown
from tryage.learning.traffic_report.summary import read_report
from tryage.traffic.learner import Learner
from tryage.traffic.records import Outcome
from tryage.traffic.traffic import Traffic

VALUES = (
    None, "x", "", -1, 10**18, 1e308, float("inf"), b"\x00\xff", "a" * 1_000, 0, "[[", b"{}",
    "[" * 50_000, b"\x00" * 1_000_000, "\x1b[2J",
)  # fmt: skip


@pytest.fixture(scope="module")
def filled(learned, tmp_path_factory):
    """A log of some decisions with outcomes, feedback, an event, a snapshot and a budget."""
    path = tmp_path_factory.mktemp("log") / "traffic.db"
    fill(learned, path)
    return path


def fill(learned, path):
    """Do what a service does with a router and its log: route, rate, learn."""
    with Traffic(f"sqlite:///{path}") as traffic:
        router = make_router(learned, traffic)
        for _ in range(3):
            decision = router.route("sum word1")
            traffic.record_outcome(Outcome(decision.id, 1.0, decision.expert.name, 1.5, cost=0.01))
            router.settle(decision.id, decision.expert.name, cost=0.001)
            router.feedback(decision.id, 1.0, kind="test")
        router.learned_since(0.0)
        traffic.add_event("drift", {"direction": "worse", "message": "m"}, "adder")
        key = router.log._sync._snapshot_key()
        traffic.save_snapshot(key, 3, learned_state(learned, path))


def make_router(learned, traffic):
    perception = learned.copy()  # a router with feedback teaches it, and other tests share it
    return Router(perception, traffic=traffic, policy=Budget(usd_per_day=100.0, label="b"))


def learned_state(learned, path):
    """Return the bytes of what a log has taught."""
    learner = Learner(learned, Library(learned.experts))
    with Traffic(f"sqlite:///{path}") as traffic:
        learner.update(traffic.log_after(0), lambda _: learner.state)
    return learner.state.to_bytes()


def decide(learned, path):
    """Decide, rate and learn with a log that may be damaged: no decision may fail."""
    try:
        traffic = Traffic(f"sqlite:///{path}", timeout=0.5)
    except TrafficError:
        return  # said at the start of the program
    with traffic:
        router = make_router(learned, traffic)
        decision = router.route("sum word1")
        assert np.isfinite(decision.chosen.predicted_loss)
        router.settle(decision.id, decision.expert.name, cost=0.001)
        for use in (lambda: router.feedback(decision.id, 1.0), lambda: router.learned_since(0.0)):
            with contextlib.suppress(TryageError):
                use()
        assert np.isfinite(router.route("code word2").chosen.predicted_loss)


def read_all(path):
    """Read a log in every way; return the errors that are not clear ones."""
    with Traffic(f"sqlite:///{path}", create=False, timeout=0.5) as log:
        readers = {
            "decisions": lambda: list(log.decisions()),
            "log": lambda: log.log_after(0),
            "counts": log.counts,
            "export": lambda: log.export(path.with_suffix(".jsonl")),
            "report": lambda: to_markdown(read_report(log)),
            "prune": lambda: log.prune(1),
        }
        return [(name, error) for name, read in readers.items() if (error := raw_error(read))]


def raw_error(read):
    try:
        read()
    except TryageError:
        return None
    except Exception as error:  # noqa: BLE001 - any other error is what the test looks for
        return repr(error)
    return None


def damage_row(path, rng):
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        tables = [
            row[0]
            for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if row[0].startswith("tryage")
        ]
        table = rng.choice(tables)
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        column = rng.choice(columns)
        value = rng.choice(VALUES)
        with contextlib.suppress(sqlite3.IntegrityError, OverflowError):
            database.execute(
                f'UPDATE {table} SET "{column}" = ? WHERE rowid IN '  # noqa: S608 - names of the schema
                f"(SELECT rowid FROM {table} ORDER BY random() LIMIT 1)",
                (value,),
            )
        return f"{table}.{column} = {value!r:.40}"


def damage_file(path, rng):
    content = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        del content[rng.randrange(len(content)) :]
    else:
        for _ in range(20):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return "bytes"


@pytest.mark.parametrize("damage", [damage_row, damage_file])
def test_a_damaged_log_is_read_or_refused_in_words(filled, tmp_path, damage):
    problems = []
    for seed in range(10):
        rng, path = random.Random(seed), tmp_path / f"{seed}.db"  # noqa: S311 - the same damage on every run
        shutil.copy(filled, path)
        what = damage(path, rng)
        with contextlib.suppress(TrafficError):
            problems += [(seed, what, *one) for one in read_all(path)]
    assert problems == []


@pytest.mark.parametrize("damage", [damage_row, damage_file])
def test_a_damaged_log_fails_no_decision(learned, filled, tmp_path, damage):
    for seed in range(6):
        rng, path = random.Random(1_000 + seed), tmp_path / f"{seed}.db"  # noqa: S311 - as above
        shutil.copy(filled, path)
        damage(path, rng)
        decide(learned, path)
