"""Bring the tables of a log to the newest version, once, whichever processes open it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from tryage.errors import TrafficError
from tryage.traffic.schema import VERSION_TABLE

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

SCRIPTS = Path(__file__).with_name("migrations")

_LOCK_KEY = 0x54525947  # "TRYG": PostgreSQL's advisory lock of those that migrate

_VERSIONS = sa.table(VERSION_TABLE, sa.column("version_num"))


def current_version(connection: sa.Connection) -> str | None:
    """Return the version of the tables; None for a database without them."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    version: str | None = connection.execute(sa.select(_VERSIONS.c.version_num)).scalar()
    return version


def migrate(connection: sa.Connection, place: str, scripts: Path = SCRIPTS) -> None:
    """Make or migrate the tables, in the transaction of a connection that writes.

    Raises:
        TrafficError: the tables are of a newer version of Tryage than this.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_KEY)))
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    directory = ScriptDirectory.from_config(config)
    version = current_version(connection)
    if version == directory.get_current_head():  # another process has done it meanwhile
        return
    if version is not None and version not in _known_versions(directory):
        raise TrafficError(
            f"The log of traffic at {place} has the version {version!r:.40}, which this version of "
            "Tryage does not know: upgrade with pip install -U tryage"
        )
    command.upgrade(config, "head")


def _known_versions(directory: ScriptDirectory) -> set[str]:
    """Return the versions to which there is a script; a damaged file may name anything else."""
    return {script.revision for script in directory.walk_revisions()}
