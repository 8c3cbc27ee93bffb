"""The first tables of the log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables in an empty database."""
    _create_decisions()
    _create_outcomes()
    _create_feedback()
    _create_events()
    op.create_table(
        "tryage_snapshots",
        sa.Column("router", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    counters = op.create_table(
        "tryage_counters",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(counters, [{"name": "log", "value": 0}])


def _create_decisions() -> None:
    op.create_table(
        "tryage_decisions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("chosen", sa.Text, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("numbers", sa.LargeBinary, nullable=False),
        sa.Column("position", sa.LargeBinary),
        sa.Column("prompt", sa.Text),
    )
    op.create_index("tryage_decisions_time", "tryage_decisions", ["time", "id"])
    _create_partial_index("tryage_decisions_key", "tryage_decisions", "key", "key IS NOT NULL")


def _create_outcomes() -> None:
    op.create_table(
        "tryage_outcomes",
        sa.Column("decision_id", sa.Text, primary_key=True),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("served_by", sa.Text),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_index("tryage_outcomes_time", "tryage_outcomes", ["time"])


def _create_feedback() -> None:
    op.create_table(
        "tryage_feedback",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("decision_id", sa.Text, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("comment", sa.Text),
        sa.Column("expert", sa.Text),
        sa.Column("sequence", sa.BigInteger),
        sa.Column("answered_by", sa.Text),
        sa.Column("logged", sa.Double),
    )
    op.create_index("tryage_feedback_sequence", "tryage_feedback", ["sequence"], unique=True)
    op.create_index("tryage_feedback_decision", "tryage_feedback", ["decision_id"])
    _create_partial_index(
        "tryage_feedback_pending", "tryage_feedback", "decision_id", "sequence IS NULL"
    )


def _create_events() -> None:
    op.create_table(
        "tryage_events",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("expert", sa.Text),
    )


def _create_partial_index(name: str, table: str, column: str, condition: str) -> None:
    """Make an index of the rows that meet a condition."""
    where = sa.text(condition)
    op.create_index(name, table, [column], sqlite_where=where, postgresql_where=where)
