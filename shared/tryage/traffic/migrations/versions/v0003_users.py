"""The user of each decision beside its thread, so that all of a user can be found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; decisions from before have no user."""
    op.add_column("tryage_decisions", sa.Column("user_id", sa.Text))
    where = sa.text("user_id IS NOT NULL")
    op.create_index(
        "tryage_decisions_user",
        "tryage_decisions",
        ["user_id"],
        sqlite_where=where,
        postgresql_where=where,
    )
