"""Records as the Hub sends them, read into models."""

from __future__ import annotations

import datetime

import pytest

from tryage.hub.reading import read_model

SEEN = datetime.datetime(2026, 10, 3, 12, 30, tzinfo=datetime.timezone.utc)


@pytest.fixture
def seen():
    """When the records of these tests were fetched."""
    return SEEN


@pytest.fixture
def read():
    """Read a record of these fields; `id` and `_id` are made up where they are not given."""

    def reader(name="acme/model", **fields):
        return read_model({"_id": f"key of {name}", "id": name, **fields}, SEEN)

    return reader
