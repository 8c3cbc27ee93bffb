"""What Alembic runs to migrate a log: the scripts in `versions`, on the connection it is given."""

from __future__ import annotations

from alembic import context

from tryage.traffic.schema import METADATA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
)
context.run_migrations()
