"""Versions of the tables: scripts make what schema.py declares, and newer tables are refused."""

from __future__ import annotations

import pytest

from tryage.errors import TrafficError

pytest.importorskip("alembic")

import sqlalchemy as sa

from tryage.traffic.migrate import SCRIPTS
from tryage.traffic.schema import METADATA, VERSION, VERSION_TABLE

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


def test_tables_of_a_newer_version_are_an_error_that_says_so(log, open_log, url):
    with log._database.write(is_durable=True) as connection:
        connection.execute(sa.update(VERSIONS).values(version_num="9999"))
    with pytest.raises(TrafficError, match=r"'9999'.*upgrade with pip"):
        open_log(url)
