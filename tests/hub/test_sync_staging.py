"""An interrupted sync resumes from what it has staged, and nothing is published by halves."""

from __future__ import annotations

import datetime

import pytest

from tryage.hub.catalog import Catalogue
from tryage.hub.catalog_query import Query
from tryage.hub.catalog_sync import sync
from tryage.hub.catalog_write import CatalogWriter
from tryage.hub.sync_stages import utc_now

pytestmark = pytest.mark.usefixtures("pages_of_four")
AT_ONCE = datetime.timedelta(0)


def names(catalogue, **conditions):
    return {row.name for row in catalogue.search(Query(**conditions))}


def paths(hub, start=0):
    return [request.target.split("&expand")[0] for request in hub.requests[start:]]


@pytest.mark.parametrize("full", [False, True])
def test_after_an_interrupt_a_sync_goes_on_from_there(
    hub, client, catalogue, tmp_path, content, change_hub, full
):
    with Catalogue(tmp_path / "undisturbed.sqlite") as other:
        sync(client(hub), catalogue)
        sync(client(hub), other)
        change_hub(hub)
        sync(client(hub), other, refresh=AT_ONCE, full=full)
        expected = content(other)
    before = content(catalogue)
    for limit in (2, 1, 2, 2, 3, 3, 3, 4, 4, 5, 6, 7, 8, 99):
        start, steps = len(hub.requests), iter(range(limit - 1))

        def stop(*_, steps=steps):
            if next(steps, None) is None:
                raise KeyboardInterrupt

        try:
            sync(client(hub), catalogue, refresh=AT_ONCE, full=full, progress=stop)
        except KeyboardInterrupt:
            assert {**content(catalogue), "staged": []} == before
        else:
            break
    assert content(catalogue) == expected
    listed = [path for path in paths(hub, start) if "sort=" in path]
    assert all("cursor" in path for path in listed)  # not from the beginning


def test_an_interrupted_sync_of_other_options_or_of_long_ago_starts_over(hub, client, catalogue):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync(client(hub), catalogue, limit=9, progress=stop)
    sync(client(hub), catalogue, limit=1, served=False)
    assert names(catalogue) == {"org/m0"}
    with pytest.raises(KeyboardInterrupt):
        sync(client(hub), catalogue, limit=9, served=False, progress=stop)
    hub.remove("org/m8")
    late = utc_now() + datetime.timedelta(days=2)
    sync(client(hub), catalogue, limit=9, served=False, clock=lambda: late)
    assert "org/m8" not in names(catalogue)


def test_what_was_staged_before_a_failed_publication_is_published_next_time(
    hub, client, catalogue, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(CatalogWriter, "propagate", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sync(client(hub), catalogue)
    assert len(catalogue) == 0
    start = len(hub.requests)
    sync(client(hub), catalogue)
    assert names(catalogue) == set(hub)
    assert paths(hub, start) == []
