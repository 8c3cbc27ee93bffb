"""The log in PostgreSQL, with a real server that the tests start."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg")

import sqlalchemy as sa

from tryage.errors import TrafficError
from tryage.policies import Budget
from tryage.traffic.rows import MAX_KEY
from tryage.traffic.spending import Bill, Charge, Purse
from tryage.traffic.traffic import Traffic

N_WRITERS, N_EACH = 4, 15
PURSE = Purse("day", "ann", 0.0)


class Server:
    """A PostgreSQL server on a Unix socket, with its data in a folder of its own."""

    def __init__(self, programs: Path):
        self.folder = Path(tempfile.mkdtemp(prefix="tryage-pg-", dir="/tmp"))
        self.folder.chmod(0o755)
        self._programs, self._n_databases = programs, 0
        self._account = _account()  # PostgreSQL does not run as root
        if self._account is not None:
            shutil.chown(self.folder, self._account)
        self._run("initdb", "-D", "data", "-U", "me", "--auth=trust", "--no-sync", "-E", "UTF8")
        self.start()

    def start(self):
        options = f"-F -h '' -k {self.folder}"
        self._run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")

    def stop(self):
        self._run("pg_ctl", "-D", "data", "-w", "-m", "immediate", "stop")

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        import psycopg

        self._n_databases += 1
        name = f"log{self._n_databases}"
        target = f"host={self.folder} user=me dbname=postgres"
        with psycopg.connect(target, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://me@/{name}?host={self.folder}"

    def _run(self, program, *arguments):
        done = subprocess.run(  # noqa: S603 - programs of the server
            [self._programs / program, *arguments],
            cwd=self.folder,
            user=self._account,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()


def _account() -> str | None:
    """Return the account to run a server under; None if this one will do."""
    if os.geteuid() != 0:
        return None
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _find_programs() -> Path | None:
    """Return the folder of the server's programs: Debian's, or those of the package pgserver."""
    folders = [*Path("/usr/lib/postgresql").glob("*/bin")]
    if (found := shutil.which("initdb")) is not None:
        folders.append(Path(found).resolve().parent)
    if (spec := find_spec("pgserver")) is not None:
        folders.append(Path(spec.origin).parent / "pginstall" / "bin")
    return next((one for one in folders if (one / "initdb").exists()), None)


@pytest.fixture(scope="module")
def server():
    programs = _find_programs()
    if programs is None:
        reason = "no PostgreSQL here: install postgresql, or pgserver with pip"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    server = Server(programs)
    yield server
    server.stop()
    shutil.rmtree(server.folder)


@pytest.fixture
def url(server):
    return server.new_database()


def test_what_is_recorded_comes_back(log, decision, outcome, feedback, plain):
    log.record_decision(decision("d1", prompt=None))
    log.record_outcome(outcome("d1"))
    assert log.add_feedback(feedback("f1", "d1", comment="half \ud800 and nul \0"))
    assert not log.add_feedback(feedback("f1", "d1"))
    log.add_event("alarm", {"p": 0.01}, "a")
    log.save_snapshot("r", 2, b"\0state")
    ((record, its_outcome, its_feedback),) = log.decisions()
    assert plain(record) == plain(decision("d1", prompt=None))
    assert (its_outcome, len(its_feedback)) == (outcome("d1"), 1)
    assert [entry.sequence for entry in log.log_after(0)] == [1, 2]
    assert log.latest_snapshot("r").data == b"\0state"
    assert log.lost == {}


def test_the_scripts_make_the_tables_that_are_declared(log):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from tryage.traffic.schema import METADATA, VERSION_TABLE

    with log._database.read() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, METADATA) == []


def test_numbers_are_in_the_order_of_commits_without_gaps(open_log, url, decision, feedback):
    logs = [open_log(url) for _ in range(N_WRITERS)]

    def write(log, writer):
        for i in range(N_EACH):
            name = f"{writer}-{i}"
            if i % 2:
                log.add_feedback(feedback(name, name))
                log.record_decision(decision(name))
            else:
                log.record_decision(decision(name))
                log.add_feedback(feedback(name, name))
            log.add_event("alarm", {}, event_id=name)
        log.flush()

    arguments = list(zip(logs, range(N_WRITERS), strict=True))
    threads = [threading.Thread(target=write, args=one) for one in arguments]
    for thread in threads:
        thread.start()
    reader, seen = open_log(url), []
    while len(seen) < 2 * N_WRITERS * N_EACH:
        seen += reader.log_after(seen[-1].sequence if seen else 0)
        assert [entry.sequence for entry in seen] == list(range(1, len(seen) + 1))
    for thread in threads:
        thread.join()
    assert len(reader.log_after(0)) == len(seen)


def _open_and_record(url, name, start):
    from tryage.traffic.records import DecisionRecord

    start.wait(30)
    with Traffic(url, timeout=30.0) as log:
        log.record_decision(DecisionRecord(name, 1.0, "r", "a"))


def test_ten_processes_that_open_an_empty_database_make_its_tables_once(url, open_log):
    context = multiprocessing.get_context("fork")
    start = context.Barrier(10)
    children = [
        context.Process(target=_open_and_record, args=(url, f"d{i}", start)) for i in range(10)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 10
    assert len(list(open_log(url).decisions())) == 10


def test_a_server_that_was_away_loses_nothing_that_the_queue_holds(
    server, log, decision, feedback, caplog
):
    log.record_decision(decision("before"))
    assert log.flush()
    server.stop()
    try:
        log.record_decision(decision("meanwhile"))
        assert not log.flush(5)
        with pytest.raises(TrafficError, match="fails"):
            log.add_feedback(feedback("f1", "before"))
        assert "The log of traffic at postgresql" in caplog.text
    finally:
        server.start()
    assert log.flush(30)
    assert log.add_feedback(feedback("f1", "before"))
    assert {one.id for one, *_ in log.decisions()} == {"before", "meanwhile"}
    assert log.lost == {}


class Raters:
    """Threads that record decisions and rate them, again with the same id where that fails."""

    def __init__(self, log, decision, feedback):
        self.accepted, self._stop = [], threading.Event()
        self._log, self._decision, self._feedback = log, decision, feedback
        self._threads = [threading.Thread(target=self._repeat, args=(i,)) for i in range(3)]
        for thread in self._threads:
            thread.start()

    def _repeat(self, writer):
        for i in itertools.count():
            name = f"{writer}-{i}"
            self._log.record_decision(self._decision(name))
            while not self._rate(name):
                if self._stop.wait(0.05):
                    return
            if self._stop.wait(0.005):
                return

    def _rate(self, name):
        with contextlib.suppress(TrafficError):
            self._log.add_feedback(self._feedback(name, name))
            self.accepted.append(name)
            return True
        return False

    def end(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_a_server_that_crashes_under_load_loses_and_doubles_nothing_that_was_accepted(
    server, open_log, url, decision, feedback
):
    log = open_log(url, flush_interval=0.02)
    raters = Raters(log, decision, feedback)
    for _ in range(2):
        time.sleep(0.3)
        server.stop()
        server.start()
    n_before, deadline = len(raters.accepted), time.monotonic() + 30
    while len(raters.accepted) < n_before + 10 and time.monotonic() < deadline:
        time.sleep(0.05)
    raters.end()
    assert len(raters.accepted) >= n_before + 10  # it goes on by itself
    assert log.flush(30)
    stored = [entry.feedback.id for entry in log.feedback_after(0, 100_000)]
    assert len(set(stored)) == len(stored)
    assert set(raters.accepted) <= set(stored)
    assert set(raters.accepted) <= {record.id for record, _, _ in log.decisions()}
    assert log.lost == {}


def test_a_child_of_a_fork_connects_anew(log, decision, finishes_in_child):
    log.record_decision(decision("d1", 1.0))
    log.flush()

    def record():
        log.record_decision(decision("d2", 2.0))
        assert log.flush(5)

    assert finishes_in_child(record)
    assert [one.id for one, *_ in log.decisions()] == ["d1", "d2"]


def test_tables_of_a_newer_version_are_an_error_that_says_so(log, open_log, url):
    from tryage.traffic.schema import VERSION_TABLE

    versions = sa.table(VERSION_TABLE, sa.column("version_num"))
    with log._database.write(is_durable=True) as connection:
        connection.execute(sa.update(versions).values(version_num="9999"))
    with pytest.raises(TrafficError, match=r"'9999'.*upgrade with pip"):
        open_log(url)


def test_a_row_that_does_not_fit_is_lost_alone(log, decision):
    for i in range(5):
        log.record_decision(decision(f"d{i}", float(i)))
    log._writer.put(("decisions", (None,) * 9))
    assert log.flush()
    assert len(list(log.decisions())) == 5
    assert log.lost == {"decisions": 1}


def test_a_key_is_short_enough_for_an_index(log, decision):
    log.record_decision(decision("d1", key="\N{GRINNING FACE}" * MAX_KEY))
    assert log.flush(5)
    assert len(list(log.decisions())) == 1


def test_old_rows_can_be_counted_exported_and_deleted(log, decision, outcome, feedback, tmp_path):
    for name, when in (("old", 1_000.0), ("new", time.time())):
        log.record_decision(decision(name, when, key=name))
        log.record_outcome(outcome(name, when))
        log.add_feedback(feedback(name, name, when))
    log.add_event("alarm", {})
    log.save_snapshot("r", 3, b"state")
    assert log.export(tmp_path / "log.jsonl", key="old") == 1
    assert log.prune(days=30) == {"decisions": 1, "outcomes": 1, "feedback": 1}
    counts = log.counts()
    assert [counts[name] for name in ("decisions", "outcomes", "feedback", "snapshots")] == [1] * 4
    assert counts["last_sequence"] == 3


@pytest.mark.parametrize("name", ["nul\0", "half \ud800 of a pair", os.urandom(3_000).hex()])
def test_no_name_of_a_user_makes_the_store_fail(log, decision, tmp_path, name):
    budget = Budget(usd_per_day=1, by="user")._with_traffic(log)
    for i, user in enumerate((name, "ann")):
        budget.record_kept(f"d{i}", "small", {"user_id": user})
        log.record_decision(decision(f"d{i}", key=f"t{i}", user_id=user))
    log.spending.sync()
    assert budget.status(name).requests == budget.status("ann").requests == 1
    assert log.export(tmp_path / "log.jsonl", key=name) == 1
    assert log.prune(days=0, key=name) == {"decisions": 1, "charges": 1}
    assert [record.user_id for record, *_ in log.decisions()] == ["ann"]
    assert log.lost == {}


def test_many_rows_come_back_from_statements_of_several_sizes(log, decision, outcome):
    for i in range(700):
        log.record_decision(decision(f"d{i:03}", float(i)))
        log.record_outcome(outcome(f"d{i:03}"))
    assert log.flush(30)
    assert [one.id for one, *_ in log.decisions()] == [f"d{i:03}" for i in range(700)]
    assert log.counts()["outcomes"] == 700


def _spend(url, name, start):
    start.wait(30)
    with Traffic(url, timeout=30.0) as log:
        for i in range(10):
            log.spending.charge(Charge(PURSE, f"{name}-{i}", 1.0, 2.0, 1.0, (4.0, 2.0)))
            log.spending.sync()
            log.spending.bill(Bill(f"{name}-{i}", 3.0, 2.0))
            log.spending.bill(Bill("d0-0", 3.0, 2.0))
            log.spending.sync()


def test_processes_that_spend_from_one_purse_add_up_each_bill_once(url, open_log):
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)
    children = [context.Process(target=_spend, args=(url, f"d{i}", start)) for i in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 4
    found = open_log(url).spending.read(PURSE)
    assert (found.spent, found.reserved, found.requests) == (120.0, 0.0, 40)
    assert found.costs == (160.0, 80.0)
    assert found.bills == 40
