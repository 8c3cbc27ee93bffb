"""The tables of the log, the same in SQLite and PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sa

VERSION = "0001"  # of the newest migration; a change of the tables needs another one

VERSION_TABLE = "tryage_version"  # holds the version of a database, as Alembic keeps it

METADATA = sa.MetaData()

# One row per decision. `numbers` and `position` are binary (rows.py), lists and mappings are JSON.
DECISIONS = sa.Table(
    "tryage_decisions",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("router", sa.Text, nullable=False),
    sa.Column("chosen", sa.Text, nullable=False),
    sa.Column("propensity", sa.Double, nullable=False),
    sa.Column("candidates", sa.Text),
    sa.Column("numbers", sa.LargeBinary),
    sa.Column("position", sa.LargeBinary),
    sa.Column("tolerance", sa.Double),
    sa.Column("kind", sa.Text),
    sa.Column("typicality", sa.Double),
    sa.Column("prompt_tokens", sa.Double),
    sa.Column("is_default", sa.Boolean, nullable=False),
    sa.Column("frozen_choice", sa.Text),
    sa.Column("shadow_choices", sa.Text),
    sa.Column("arm", sa.Text),
    sa.Column("key", sa.Text),
    sa.Column("tags", sa.Text),
    sa.Column("prompt", sa.Text),
    sa.Index("tryage_decisions_time", "time", "id"),
    sa.Index("tryage_decisions_key", "key", sqlite_where=sa.text("key IS NOT NULL"),
             postgresql_where=sa.text("key IS NOT NULL")),
)  # fmt: skip

# At most one row per decision. It has no foreign key: an outcome may come before its decision.
OUTCOMES = sa.Table(
    "tryage_outcomes",
    METADATA,
    sa.Column("decision_id", sa.Text, primary_key=True),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("served_by", sa.Text),
    sa.Column("latency", sa.Double),
    sa.Column("input_tokens", sa.BigInteger),
    sa.Column("output_tokens", sa.BigInteger),
    sa.Column("cost", sa.Double),
    sa.Column("best_single", sa.Text),
    sa.Column("best_single_cost", sa.Double),
    sa.Column("dearest_cost", sa.Double),
    sa.Column("error", sa.Text),
    sa.Column("failed", sa.Text),
    sa.Index("tryage_outcomes_time", "time"),
)

# Feedback has no `sequence` until its decision is here. `answered_by` is the expert that it is
# about, and `logged` the time when it got its number: neither changes any more.
FEEDBACK = sa.Table(
    "tryage_feedback",
    METADATA,
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
    sa.Index("tryage_feedback_sequence", "sequence", unique=True),
    sa.Index("tryage_feedback_decision", "decision_id"),
    sa.Index("tryage_feedback_pending", "decision_id", sqlite_where=sa.text("sequence IS NULL"),
             postgresql_where=sa.text("sequence IS NULL")),
)  # fmt: skip

EVENTS = sa.Table(
    "tryage_events",
    METADATA,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("expert", sa.Text),
)

SNAPSHOTS = sa.Table(
    "tryage_snapshots",
    METADATA,
    sa.Column("router", sa.Text, primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

# The row "log" holds the last number that feedback or an event got. A transaction that draws
# numbers locks the row until it ends, so numbers become visible in their order, without gaps.
COUNTERS = sa.Table(
    "tryage_counters",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)
