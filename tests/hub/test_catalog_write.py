"""Writing to the catalogue: one row per model, the newer record, renames, and all or nothing."""

from __future__ import annotations

import dataclasses
import datetime

import pytest

from tryage.hub.catalog_write import ChangeCounts

LATER = datetime.timedelta(hours=1)


def later(model, **changed):
    return dataclasses.replace(model, fetched_at=model.fetched_at + LATER, **changed)


def test_the_same_model_twice_is_one_and_the_newer_record_stays(catalogue, parse):
    old = parse(downloads=1)
    new = later(old, downloads=2.0)
    catalogue.put([old, new])
    assert catalogue.put([old]) == ChangeCounts()
    assert [entry.downloads for entry in catalogue.search()] == [2]


def test_downloads_and_likes_are_stored_and_count_as_no_change(catalogue, parse):
    model = parse(downloads=1)
    catalogue.put([model])
    assert catalogue.put([later(model, downloads=5.0, likes=2.0)]) == ChangeCounts()
    assert catalogue.search()[0].downloads == 5
    assert catalogue.put([later(model, gated="auto")]) == ChangeCounts(changed=1)


def test_a_renamed_model_is_found_by_both_names_and_is_one(catalogue, parse):
    model = parse("org/old")
    catalogue.put([model])
    assert catalogue.put([later(model, name="new/name")]) == ChangeCounts(renamed=1)
    assert catalogue.get("org/old").name == "new/name"
    assert [entry.name for entry in catalogue.search()] == ["new/name"]


def test_a_name_that_another_model_took_over_means_that_model(catalogue, parse):
    first, second = parse("org/name"), parse("org/name", _id="another")
    catalogue.put([first])
    assert catalogue.put([later(second)]).deleted == 1
    assert catalogue.get("org/name").key == "another"
    assert [entry.key for entry in catalogue.search()] == ["another"]


def test_a_put_that_fails_changes_nothing(catalogue, parse, content):
    catalogue.put([parse("org/a")])
    before = content(catalogue)

    def models():
        yield parse("org/b")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        catalogue.put(models())
    assert content(catalogue) == before
