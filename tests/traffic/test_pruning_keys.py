"""All of one user or thread, and nothing of another, whatever the names are."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from tryage.errors import InputError, TrafficError
from tryage.traffic.spending import Charge, Purse

DAY = 86_400.0
NOW = time.time()

ODD_KEYS = (
    "50%",
    "a_b",
    "*",
    "o'hara\"; DROP TABLE tryage_decisions; --",
    "line\nbreak",
    "nul\0byte",
    "half \ud800 of a pair",
    "\N{LATIN SMALL LETTER E WITH ACUTE}ve",
    "e\N{COMBINING ACUTE ACCENT}ve",
    "\N{GRINNING FACE}",
    "x" * 3_000,
    "x" * 3_001,
)
NEIGHBOURS = ("500", "axb", "any", "nul\N{REPLACEMENT CHARACTER}byte", "half ? of a pair", "eve")


def exported(log, path, key):
    log.export(path, key=key)
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def kept_keys(log):
    return [record.key for record, *_ in log.decisions()]


@pytest.fixture
def of_users(log, decision, outcome, feedback):
    """A log in which ann talks in two threads and bob in one; a budget by team pays for all."""
    for name, thread, user in (("d1", "t1", "ann"), ("d2", "t2", "ann"), ("d3", "t3", "bob")):
        log.record_decision(decision(name, NOW - DAY, key=thread, user_id=user))
        log.record_outcome(outcome(name, NOW - DAY))
        log.add_feedback(feedback(f"f-{name}", name, NOW - DAY, comment=f"word of {user}"))
        charge = Charge(Purse("day", "team", NOW - DAY, NOW + DAY), name, NOW - DAY, 1.0, 1.0)
        log.spending._store.apply([charge], [])
    return log


def test_all_of_a_user_goes_whatever_the_threads(of_users, tmp_path):
    deleted = of_users.prune(days=0, key="ann")
    assert deleted == {"decisions": 2, "outcomes": 2, "feedback": 2, "charges": 2}
    ((left, _, (its_feedback,)),) = of_users.decisions()
    assert (left.id, its_feedback.comment) == ("d3", "word of bob")
    (line,) = [line for line in exported(of_users, tmp_path / "all", None) if "charge" in line]
    assert line["charge"]["decision_id"] == "d3"


def test_what_others_share_with_a_user_stays(of_users, tmp_path):
    of_users.prune(days=0, key="ann")
    (purse,) = [line for line in exported(of_users, tmp_path / "all", None) if "purse" in line]
    assert purse["purse"]["spent"] == 3.0


def test_a_thread_of_a_user_goes_alone(of_users):
    assert of_users.prune(days=0, key="t1")["decisions"] == 1
    assert kept_keys(of_users) == ["t2", "t3"]


def test_all_of_a_user_is_exported_and_nothing_else(of_users, tmp_path):
    first, second, *charges = exported(of_users, tmp_path / "log.jsonl", "ann")
    assert [line["decision"]["id"] for line in (first, second)] == ["d1", "d2"]
    assert first["outcome"]["served_by"] == "a"
    assert first["feedback"][0]["comment"] == "word of ann"
    assert [line["charge"]["decision_id"] for line in charges] == ["d1", "d2"]
    assert "bob" not in (tmp_path / "log.jsonl").read_text("utf-8")


@pytest.mark.parametrize("key", ODD_KEYS)
def test_an_odd_name_means_itself_alone(log, decision, tmp_path, key):
    names = [*ODD_KEYS, *NEIGHBOURS]
    for i, one in enumerate(names):
        log.record_decision(decision(f"d{i}", NOW - DAY, key=f"t{i}", user_id=one))
    assert log.flush()
    assert log.lost == {}
    expected = names.index(key)
    assert [one["decision"]["id"] for one in exported(log, tmp_path / "log", key)] == [
        f"d{expected}"
    ]
    assert log.prune(days=0, key=key)["decisions"] == 1
    assert set(kept_keys(log)) == {f"t{i}" for i in range(len(names)) if i != expected}


@pytest.mark.parametrize("key", [7, b"ann", "", ["ann"]])
def test_a_name_is_a_text_and_not_empty(log, tmp_path, key):
    for call in (
        lambda: log.prune(0, key=key),
        lambda: log.export(tmp_path / "log.jsonl", key=key),
        lambda: list(log.decisions(key=key)),
    ):
        with pytest.raises(InputError, match="the name of a thread or a user"):
            call()


def fill(log, decision, n=1_500):
    """Record long and short rows of two users in turn, and delete some: pages are split and filled.

    SQLite moves rows then, and leaves copies of them where they were.
    """
    rng = random.Random(2)  # noqa: S311 - guards no secret
    for _ in range(3):
        for i in range(n // 3):
            user = ("MARKANN", "bob")[i % 2]
            record = decision(
                f"{rng.getrandbits(64):016x}",
                NOW - rng.random() * 90 * DAY,
                key=f"{user} {i % 50}",
                user_id=user,
                tags=(f"{user} tag",),
                prompt=f"{user} " * int(rng.paretovariate(0.7)),
            )
            log.record_decision(record)
        log.flush()
        log.prune(days=70)


def found(url, marker=b"MARKANN"):
    """Return in which files of a database a text is, and how often."""
    path = Path(url.removeprefix("sqlite:///"))
    counts = {one.name: one.read_bytes().count(marker) for one in path.parent.glob(f"{path.name}*")}
    return {name: count for name, count in counts.items() if count}


def test_nothing_of_a_forgotten_user_is_in_a_file(open_log, url, decision):
    log = open_log(url, keep_prompts=True)
    fill(log, decision)
    assert found(url)
    log.prune(days=0, key="MARKANN")
    assert found(url) == {}
    assert log.counts()["decisions"] > 100


def test_a_file_that_another_program_reads_is_not_said_to_be_clean(open_log, url, decision):
    log = open_log(url, keep_prompts=True, timeout=0.1)
    fill(log, decision, 60)
    reader = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM tryage_decisions").fetchone()
    with pytest.raises(TrafficError, match=r"another program reads it\. Do the same again"):
        log.prune(days=0, key="MARKANN")
    assert found(url)
    assert [one.user_id for one, *_ in log.decisions(key="MARKANN")] == []
    reader.close()
    log.prune(days=0, key="MARKANN")
    assert found(url) == {}
