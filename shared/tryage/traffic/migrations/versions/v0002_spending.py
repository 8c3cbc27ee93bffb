"""What budgets have spent: purses, and the charges of single decisions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables of budgets."""
    op.create_table(
        "tryage_purses",
        sa.Column("budget", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("start", sa.Double, primary_key=True, autoincrement=False),
        sa.Column("end", sa.Double),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("spent", sa.Double, nullable=False),
        sa.Column("reserved", sa.Double, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
    )
    op.create_table(
        "tryage_charges",
        sa.Column("budget", sa.Text, primary_key=True),
        sa.Column("decision_id", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("start", sa.Double, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("reserved", sa.Double, nullable=False),
        sa.Column("expected", sa.Double, nullable=False),
        sa.Column("usd", sa.Double),
    )
    op.create_index("tryage_charges_decision", "tryage_charges", ["decision_id"])
    op.create_index("tryage_charges_time", "tryage_charges", ["time"])
