"""What the log keeps is on the page about it, field by field."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from tryage.traffic.records import DecisionRecord, Feedback, Outcome
from tryage.traffic.schema import CHARGES, PURSES

PAGE = (Path(__file__).parents[2] / "docs" / "traffic.md").read_text("utf-8")
SECTION = PAGE.split("## What is kept")[1].split("\n## ")[0]


def fields(record):
    return [field.name for field in dataclasses.fields(record)]


@pytest.mark.parametrize(
    "names",
    [
        fields(DecisionRecord),
        [name for name in fields(Outcome) if name not in {"decision_id", "time"}],
        fields(Feedback),
        PURSES.columns.keys(),
        CHARGES.columns.keys(),
    ],
    ids=["decision", "outcome", "feedback", "purse", "charge"],
)
def test_every_field_of_the_log_is_described(names):
    described = set(re.findall(r"`(\w+)`", SECTION))
    assert [name for name in names if name not in described] == []
