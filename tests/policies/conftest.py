"""Two routers over the same log: "good" takes the best expert, "cheap" the cheapest."""

from __future__ import annotations

import pytest

from tryage import Preferences, Router
from tryage.testing import FixedPerception

pytest.importorskip("sqlalchemy")

LOSSES = {"large": 0.1, "medium": 0.2, "small": 0.3}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/traffic.db"


@pytest.fixture
def make_router(url):
    """Return a function that makes a router that prefers one expert, with the log or without."""

    def make(best, *, logged=True, **settings):
        losses = {**LOSSES, best: 0.05}
        traffic = url if logged else None
        return Router(FixedPerception(losses), traffic=traffic, **settings)

    return make


@pytest.fixture
def good(make_router):
    return make_router("large")


@pytest.fixture
def cheap(make_router):
    return make_router("small")


@pytest.fixture
def read_log(url):
    """Return a function that reads the records of the log by the ids of their decisions."""
    from tryage.traffic.traffic import open_traffic

    def read():
        return {record.id: record for record, _, _ in open_traffic(url).decisions()}

    return read


@pytest.fixture
def only():
    """Return a function that makes preferences which leave one expert."""
    return lambda name: Preferences(only=[name])
