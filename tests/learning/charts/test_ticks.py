"""How numbers of axes are written, worked by hand."""

from __future__ import annotations

import pytest

from tryage.learning.charts.chart import Axis
from tryage.learning.charts.ticks import axis_ticks, format_dollars, format_number


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0, "$0"),
        (0.00012, "$0.00012"),
        (0.5, "$0.5"),
        (12.345, "$12.3"),
        (99.96, "$100"),
        (1_234.4, "$1,234"),
        (2.5e6, "$2,500,000"),
    ],
)
def test_dollars_have_three_digits_and_no_exponent(usd, text):
    assert format_dollars(usd) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.125, "percent", "12.5%"),
        (1.0, "percent", "100%"),
        (-2.0, "dollars", "-$2"),
        (12_000, "number", "12,000"),
        (0.3, "number", "0.3"),
    ],
)
def test_numbers_have_their_unit(value, unit, text):
    assert format_number(value, unit) == text


def test_a_logarithmic_axis_has_one_two_and_five_of_each_decade():
    found = axis_ticks(Axis(unit="dollars", is_log=True), (0.15, 12.0))
    assert found == ((0.2, 0.5, 1.0, 2.0, 5.0, 10.0), ("$0.2", "$0.5", "$1", "$2", "$5", "$10"))


def test_many_decades_have_powers_of_ten_and_a_part_of_one_has_some_ticks():
    assert axis_ticks(Axis(is_log=True), (0.001, 1_000.0))[0] == (
        0.001,
        0.01,
        0.1,
        1,
        10,
        100,
        1000,
    )
    assert len(axis_ticks(Axis(is_log=True), (2.1, 4.4))[0]) == 4


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (300, ["06:00:00", "06:01:00", "06:02:00", "06:03:00", "06:04:00"]),
        (86_400, ["06:00", "12:00", "18:00", "00:00"]),
        (864_000, ["03 Jan", "05 Jan", "07 Jan", "09 Jan", "11 Jan"]),
    ],
)
def test_times_are_round_and_show_seconds_minutes_or_dates_by_the_period(seconds, expected):
    start = 86_400.0 + 21_600
    positions, texts = axis_ticks(Axis(unit="time"), (start, start + seconds))
    assert list(texts) == expected
    assert start <= positions[0]
    assert positions[-1] < start + seconds


def test_given_ticks_stay_and_plain_numbers_are_left_to_the_library():
    assert axis_ticks(Axis(ticks=((1.0, "one"),)), (0, 2)) == ((1.0,), ("one",))
    assert axis_ticks(Axis(ticks=()), (0, 2)) == ((), ())
    assert axis_ticks(Axis(), (0, 2)) is None
