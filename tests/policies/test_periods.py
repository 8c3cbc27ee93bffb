"""Days, weeks and months, also where clocks change."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from tryage.errors import InputError
from tryage.policies import periods
from tryage.policies.periods import ENDLESS, parse_zone, period_at

HOUR = 3_600


def seconds(*date, zone=timezone.utc):
    return datetime(*date, tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("day", (2026, 11, 29), (2026, 11, 30)),
        ("week", (2026, 11, 23), (2026, 11, 30)),  # a Sunday is the last day of its week
        ("month", (2026, 11, 1), (2026, 12, 1)),
    ],
)
def test_a_period_has_its_first_and_last_day(name, start, end):
    found = period_at(name, seconds(2026, 11, 29, 12), timezone.utc)
    assert (found.start, found.end) == (seconds(*start), seconds(*end))


def test_december_ends_with_the_year():
    assert period_at("month", seconds(2026, 12, 31), timezone.utc).end == seconds(2027, 1, 1)


def test_a_day_begins_at_midnight_of_its_zone():
    found = period_at("day", seconds(2026, 7, 1, 23), parse_zone("Europe/Berlin"))
    assert found.start == seconds(2026, 7, 1, 22)


def test_a_day_on_which_clocks_change_has_another_length():
    zone = parse_zone("Europe/Berlin")
    found = period_at("day", seconds(2026, 10, 25, 12), zone)
    assert found.end - found.start == 25 * HOUR
    assert period_at("day", found.end, zone).start == found.end


def test_the_share_that_is_over_is_from_0_to_1():
    found = period_at("day", seconds(2026, 11, 29), timezone.utc)
    times = [found.start - 1, found.start + 6 * HOUR, found.end + 1]
    assert [found.elapsed(time) for time in times] == [0.0, 0.25, 1.0]
    assert ENDLESS.elapsed(1e9) == 0.0


@pytest.mark.parametrize("name", ["Mars", "", None, "../etc"])
def test_an_unknown_zone_is_an_error_with_an_example(name):
    with pytest.raises(InputError, match="Europe/Berlin"):
        parse_zone(name)


def test_utc_needs_no_database_of_zones(monkeypatch):
    def is_missing(name):
        raise LookupError(name)

    monkeypatch.setattr(periods, "ZoneInfo", is_missing)
    assert parse_zone("UTC") == timezone.utc
    with pytest.raises(InputError, match="pip install tzdata"):
        parse_zone("Europe/Berlin")
