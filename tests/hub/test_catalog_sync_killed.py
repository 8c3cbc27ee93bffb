"""A sync that is killed at any moment, also twice, loses nothing and duplicates nothing."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tryage.hub import endpoints
from tryage.hub.catalog import Catalogue
from tryage.hub.catalog_sync import sync

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks")
KILLS = 12


@pytest.fixture
def good(hub, client, tmp_path, change_hub, monkeypatch):
    """A catalogue of the Hub before every kind of change."""
    monkeypatch.setattr(endpoints, "MAX_PAGE_SIZE", 4)
    with Catalogue(tmp_path / "good" / "catalogue.sqlite") as catalogue:
        sync(client(hub), catalogue, limit=12, scans=3, leaderboards=["data/board"])
    change_hub(hub)
    return catalogue


@pytest.fixture
def kill(hub, good, tmp_path):
    """Sync copies of the good catalogue in processes that are killed at these steps."""

    def run(*steps):
        script = Path(__file__).with_name("killed_syncs.py")
        command = [sys.executable, script, hub.url, good.path, tmp_path, *map(str, steps)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own script
        return [int(number) for number in done.stdout.split()]

    return run


@pytest.mark.timeout(1_200)  # a busy machine takes minutes: some seventy syncs wait for its disk
def test_after_a_kill_at_any_moment_the_result_is_that_of_an_undisturbed_sync(
    kill, tmp_path, content
):
    statements, *begun = kill(0)
    with Catalogue(tmp_path / "0.sqlite") as undisturbed:
        expected = content(undisturbed)
    assert expected["deleted"]
    fetched = {model["name"] for model in expected["models"].values()}
    assert "org/m20" in fetched  # a base model that is not listed
    drawn = random.Random(0).sample(range(1, statements), KILLS)  # noqa: S311 - a draw
    steps = sorted({*begun, *drawn})  # between all transactions, and anywhere
    kill(*steps)
    for step in steps:
        with Catalogue(tmp_path / f"{step}.sqlite") as finished:
            assert content(finished) == expected, step
            assert finished.connection().execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_after_a_kill_readers_see_the_last_good_catalogue(kill, good, tmp_path, content):
    statements = kill(0)[0]
    steps = [-statements // 3, -statements // 2, 10 - statements]  # the last while publishing
    assert kill(*steps) == []
    before = content(good)
    for step in steps:
        with Catalogue(tmp_path / f"{step}.sqlite") as killed:
            assert {**content(killed), "staged": []} == before
