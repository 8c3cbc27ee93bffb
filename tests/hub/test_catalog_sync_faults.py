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
# Another attempt cannot mend these: a record of the wrong shape, and a refused token.
FINAL = (WrongShape, Unauthorized)


class FaultySyncs:
    """Syncs of copies of one catalogue with a changed Hub, each with a fault at some request."""

    def __init__(self, hub, client, folder, content, change_hub):
        self._hub, self._client, self._folder = hub, client, folder
        self.content = content
        self._good = folder / "good.sqlite"
        with Catalogue(self._good) as good:
            self._sync(good)
            self.before = content(good)
        change_hub(hub)
        with self.copy() as undisturbed:
            start = len(hub.requests)
            self._sync(undisturbed)
            self.steps = len(hub.requests) - start
            self.after = content(undisturbed)

    def copy(self):
        path = self._folder / "attempt.sqlite"
        shutil.copy(self._good, path)
        return Catalogue(path)

    def _sync(self, catalogue, **settings):
        client = self._client(self._hub, **{"timeout": 10.0, **settings})
        options = {"limit": 12, "scans": 3, "leaderboards": ["data/board"]}
        sync(client, catalogue, refresh=datetime.timedelta(0), **options)

    def run(self, fault, step, times):
        """Let a fault happen from this request on; return the error and the content after it.

        Last comes the content after another sync without faults.
        """
        # A right answer may take longer on a busy machine, too: then a further attempt gets it.
        settings = {"timeout": 0.1} if isinstance(fault, Slow) else {}
        settings |= {} if times is None else {"retries": 20}
        with self.copy() as catalogue:
            self._hub.fail(fault, skip=step, times=times)
            try:
                self._sync(catalogue, **settings)
                error = None
            except HubError as raised:
                error = raised
            found = self.content(catalogue)
            self._hub.clear_faults()
            self._sync(catalogue)
            return error, found, self.content(catalogue)


@pytest.fixture
def syncs(hub, client, tmp_path, content, change_hub):
    return FaultySyncs(hub, client, tmp_path, content, change_hub)


def test_the_sync_under_test_has_every_stage(syncs, hub):
    assert syncs.steps >= 14
    targets = [request.target for request in hub.requests[-syncs.steps :]]
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
    assert syncs.before["models"] != syncs.after["models"]


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_fault_that_passes_leaves_no_trace(syncs, fault):
    for step in range(syncs.steps):
        error, found, finally_ = syncs.run(fault, step, times=1)
        if isinstance(fault, FINAL) and error is not None:
            assert {**found, "staged": []} == syncs.before, step
        else:
            assert error is None, (step, error)
            assert found == syncs.after, step
        assert finally_ == syncs.after, step


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_fault_that_stays_leaves_the_last_good_catalogue_and_a_clear_error(syncs, fault):
    steps = range(syncs.steps)
    for step in steps if not isinstance(fault, Slow) else steps[:: len(steps) // 3]:
        error, found, finally_ = syncs.run(fault, step, times=None)
        assert isinstance(error, HubError), step
        assert len(str(error)) > 20
        assert {**found, "staged": []} == syncs.before, step
        assert finally_ == syncs.after, step
