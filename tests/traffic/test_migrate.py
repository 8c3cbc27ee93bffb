"""Versions of the tables: scripts make what schema.py declares, and newer tables are refused."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import sqlite3
from pathlib import Path

import pytest

from tryage.errors import TrafficError

pytest.importorskip("alembic")

import sqlalchemy as sa

from tryage.traffic.migrate import SCRIPTS, migrate
from tryage.traffic.records import DecisionRecord, Feedback, Outcome
from tryage.traffic.schema import METADATA, VERSION, VERSION_TABLE
from tryage.traffic.spending import Charge, Purse

FIXTURES = Path(__file__).parents[1] / "fixtures"

VERSIONS = sa.table(VERSION_TABLE, sa.column("version_num"))


@pytest.fixture
def connection(log):
    """A connection to a log that has just been made."""
    with log._database.read() as connection:
        yield connection


def test_the_scripts_make_the_tables_that_are_declared(connection):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    assert compare_metadata(context, METADATA) == []


def test_the_version_is_that_of_the_newest_script(connection):
    from alembic.script import ScriptDirectory

    assert ScriptDirectory(str(SCRIPTS)).get_current_head() == VERSION
    version = connection.execute(sa.select(VERSIONS.c.version_num)).scalar()
    assert version == VERSION


@pytest.fixture
def first_version(tmp_path):
    """The URL of a log that the first version of Tryage with a log has written."""
    path = tmp_path / "tryage.db"
    file = sqlite3.connect(path)
    file.executescript((FIXTURES / "traffic_0001.sql").read_text("utf-8"))
    file.close()
    return f"sqlite:///{path}"


def check_content(log, decision, plain):
    (first, its_outcome, its_feedback), (second, *_) = log.decisions()
    expected = decision(
        "d1", 1_000.0, losses=(0.125, 0.25), stds=(0.5, None), totals=(0.125, 0.375)
    )
    expected = dataclasses.replace(expected, cost_terms=(0.0, 0.125), changes=(), user_id=None)
    assert plain(first) == plain(expected)
    assert its_outcome == Outcome(
        "d1", 1_001.0, "a", 1.5, 3, 40, 0.01, "b", 0.02, 0.03, "RateLimitError", ("c",)
    )
    assert its_feedback == [Feedback("f1", "d1", 1_002.0, 0.75, "judge", "good")]
    assert plain(second) == plain(DecisionRecord("d2", 2_000.0, "r" * 16, "b"))
    assert [entry.sequence for entry in log.log_after(0)] == [1, 2]
    assert log.latest_snapshot("r").data == b"state"
    assert log.counts()["pending_feedback"] == 1


def test_a_log_of_the_first_version_is_read(first_version, open_log, decision, plain):
    check_content(open_log(first_version), decision, plain)


def test_a_log_of_the_first_version_keeps_budgets(first_version, open_log):
    purse = Purse("day", "", 0.0)
    ledger = open_log(first_version).spending
    ledger.charge(Charge(purse, "d1", 1.0, 2.0, 2.0))
    assert open_log(first_version).spending.read(purse).spent == 0.0
    assert ledger.read(purse).spent == 2.0


NEXT_SCRIPT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "0004", "0003", None, None


def upgrade():
    op.add_column("tryage_decisions", sa.Column("region", sa.Text))
    op.execute("UPDATE tryage_decisions SET region = 'eu'")
    {mistake}
"""


@pytest.fixture
def next_version(tmp_path, monkeypatch):
    """Add a migration to the scripts, with a mistake if one is given."""

    def add(mistake=""):
        scripts = tmp_path / "scripts"
        shutil.copytree(SCRIPTS, scripts, dirs_exist_ok=True)
        (scripts / "versions" / "v0004_regions.py").write_text(NEXT_SCRIPT.format(mistake=mistake))
        monkeypatch.setattr("tryage.traffic.database.VERSION", "0004")
        changed = functools.partial(migrate, scripts=scripts)
        monkeypatch.setattr("tryage.traffic.database.migrate", changed)

    return add


def test_a_log_is_brought_to_the_next_version_with_all_it_holds(
    first_version, next_version, open_log, decision, plain
):
    next_version()
    log = open_log(first_version)
    check_content(log, decision, plain)
    with log._database.read() as connection:
        assert connection.execute(sa.text("SELECT region FROM tryage_decisions")).all() == [
            ("eu",), ("eu",),
        ]  # fmt: skip
        assert connection.execute(sa.select(VERSIONS.c.version_num)).scalar() == "0004"


def test_a_migration_that_fails_leaves_the_log_as_it_was(
    first_version, next_version, open_log, decision, plain, monkeypatch
):
    next_version(mistake="raise ZeroDivisionError")
    with pytest.raises(ZeroDivisionError):
        open_log(first_version)
    monkeypatch.undo()
    check_content(open_log(first_version), decision, plain)


def test_tables_of_a_newer_version_are_an_error_that_says_so(log, open_log, url):
    with log._database.write(is_durable=True) as connection:
        connection.execute(sa.update(VERSIONS).values(version_num="9999"))
    with pytest.raises(TrafficError, match=r"'9999'.*upgrade with pip"):
        open_log(url)
