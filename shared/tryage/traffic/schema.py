"""The tables of the log, the same in SQLite and PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sa

VERSION = "0003"  # of the newest migration; a change of the tables needs another one

VERSION_TABLE = "tryage_version"  # holds the version of a database, as Alembic keeps it

METADATA = sa.MetaData()

# One row per decision. What is searched for has a column, `content` is JSON of all other texts, and
# `numbers` and `position` are binary (rows.py). Each value of a row takes time while calls wait for
# Python's lock, so there are few.
DECISIONS = sa.Table(
    "tryage_decisions",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("chosen", sa.Text, nullable=False),
    sa.Column("key", sa.Text),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("numbers", sa.LargeBinary, nullable=False),
    sa.Column("position", sa.LargeBinary),
    sa.Column("prompt", sa.Text),
    sa.Column("user_id", sa.Text),
    sa.Index("tryage_decisions_time", "time", "id"),
    sa.Index("tryage_decisions_key", "key", sqlite_where=sa.text("key IS NOT NULL"),
             postgresql_where=sa.text("key IS NOT NULL")),
    sa.Index("tryage_decisions_user", "user_id", sqlite_where=sa.text("user_id IS NOT NULL"),
             postgresql_where=sa.text("user_id IS NOT NULL")),
)  # fmt: skip

# At most one row per decision. It has no foreign key: an outcome may come before its decision.
OUTCOMES = sa.Table(
    "tryage_outcomes",
    METADATA,
    sa.Column("decision_id", sa.Text, primary_key=True),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("served_by", sa.Text),
    sa.Column("content", sa.Text, nullable=False),
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

# What budgets have spent: one row per budget, key (such as a user) and period. `spent` holds the
# bills, and where there is none yet what was `reserved` for a request. `content` is JSON.
PURSES = sa.Table(
    "tryage_purses",
    METADATA,
    sa.Column("budget", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("start", sa.Double, primary_key=True, autoincrement=False),
    sa.Column("end", sa.Double),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("spent", sa.Double, nullable=False),
    sa.Column("reserved", sa.Double, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
)

# One row per budget and decision, so that each counts once. `usd` is NULL until it is billed.
CHARGES = sa.Table(
    "tryage_charges",
    METADATA,
    sa.Column("budget", sa.Text, primary_key=True),
    sa.Column("decision_id", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("start", sa.Double, nullable=False),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("reserved", sa.Double, nullable=False),
    sa.Column("expected", sa.Double, nullable=False),
    sa.Column("usd", sa.Double),
    sa.Index("tryage_charges_decision", "decision_id"),
    sa.Index("tryage_charges_time", "time"),
)
