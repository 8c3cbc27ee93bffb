"""Every fault at every request of a sync: the same catalogue as without, or the last good one."""

from __future__ import annotations

import datetime
import shutil

import pytest

from tryage.errors import HubError
from tryage.hub.catalog import Catalogue
from tryage.hub.catalog_sync import sync
from tryage.testing.hub import (
    ConnectionDropped,
    ServerError,
    Slow,
    TooManyRequests,
    Truncated,
    Unauthorized,
    WrongJson,
    WrongShape,
)

pytestmark = pytest.mark.usefixtures("pages_of_four")
FAULTS = [
    TooManyRequests(after=1),
    ServerError(500),
    ServerError(504),
    Truncated(),
    WrongJson(),
    ConnectionDropped(),
    WrongShape(),
    WrongShape([{"unexpected": 1}]),
    Unauthorized(),
    Slow(0.25),
    Slow(0.25, inside=True),
]
# What asking again cannot mend: a record of the wrong shape, and a refusal of the token.
FINAL = (WrongShape, Unauthorized)


class Attempts:
    """One catalogue, one changed world, and any number of first attempts to bring them together."""

    def __init__(self, world, client, folder, content, move_on):
        self._world, self._client, self._folder = world, client, folder
        self.content = content
        self._good = folder / "good.sqlite"
        with Catalogue(self._good) as good:
            self._sync(good)
            self.before = content(good)
        move_on(world)
        with self.copy() as undisturbed:
            start = len(world.requests)
            self._sync(undisturbed)
            self.steps = len(world.requests) - start
            self.after = content(undisturbed)

    def copy(self):
        path = self._folder / "attempt.sqlite"
        shutil.copy(self._good, path)
        return Catalogue(path)

    def _sync(self, catalogue):
        client = self._client(self._world, timeout=0.1, retries=2)
        options = {"limit": 12, "scans": 3, "leaderboards": ["data/board"]}
        sync(client, catalogue, refresh=datetime.timedelta(0), **options)

    def meet(self, fault, step, times):
        """Let a fault strike from this request on; return what is there then, and afterwards."""
        with self.copy() as catalogue:
            self._world.fail(fault, skip=step, times=times)
            try:
                self._sync(catalogue)
                error = None
            except HubError as met:
                error = met
            found = self.content(catalogue)
            self._world.clear_faults()
            self._sync(catalogue)
            return error, found, self.content(catalogue)


@pytest.fixture
def attempts(world, client, tmp_path, content, move_on):
    return Attempts(world, client, tmp_path, content, move_on)


def test_the_sync_under_test_has_every_stage(attempts, world):
    assert attempts.steps >= 14
    targets = [request.target for request in world.requests[-attempts.steps :]]
    for part in (
        "leaderboard",
        "lastModified",
        "/v1/models",
        "downloads",
        "cursor=",
        "security",
        "m5?",
        "m7?",
        "m20?",
    ):
        assert any(part in target for target in targets), part
    assert attempts.before["told"] != attempts.after["told"]


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_fault_that_passes_leaves_no_trace(attempts, fault):
    for step in range(attempts.steps):
        error, found, finally_ = attempts.meet(fault, step, times=1)
        if isinstance(fault, FINAL) and error is not None:
            assert {**found, "left over": []} == attempts.before, step
        else:
            assert error is None, (step, error)
            assert found == attempts.after, step
        assert finally_ == attempts.after, step


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_fault_that_stays_leaves_the_last_good_catalogue_and_a_clear_error(attempts, fault):
    steps = range(attempts.steps)
    for step in steps if not isinstance(fault, Slow) else steps[:: len(steps) // 3]:
        error, found, finally_ = attempts.meet(fault, step, times=None)
        assert isinstance(error, HubError), step
        assert len(str(error)) > 20
        assert {**found, "left over": []} == attempts.before, step
        assert finally_ == attempts.after, step
