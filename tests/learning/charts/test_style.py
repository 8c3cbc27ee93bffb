"""The house style: contrast by WCAG's formula, and series that differ without colors, too."""

from __future__ import annotations

import pytest

from tryage.learning.charts.style import (
    ACCENT_COLOR,
    MAX_SERIES,
    N_LINE_COLORS,
    OTHERS_COLOR,
    PALETTE,
    SOFT_COLOR,
    TEXT_COLOR,
    contrast_ratio,
    fill_style,
    line_style,
    point_style,
    short_name,
)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("#000000", "#FFFFFF", 21.0),
        ("#FFFFFF", "#FFFFFF", 1.0),
        ("#777777", "#FFFFFF", 4.48),
        ("#404040", "#FFFFFF", 10.37),
    ],
)
def test_the_contrast_is_that_of_wcag(one, other, expected):
    assert contrast_ratio(one, other) == pytest.approx(expected, abs=0.005)
    assert contrast_ratio(one, other) == contrast_ratio(other, one)


def test_texts_and_lines_can_be_seen_on_white():
    assert min(contrast_ratio(TEXT_COLOR), contrast_ratio(SOFT_COLOR)) >= 4.5
    assert min(map(contrast_ratio, PALETTE[:N_LINE_COLORS])) >= 3
    assert contrast_ratio(OTHERS_COLOR) >= 3


def test_every_fill_differs_from_its_dark_edge():
    """The light colors have less than 3 against white, so the edge must show where they end."""
    assert all(contrast_ratio(color, TEXT_COLOR) >= 2 for color in PALETTE)


def test_series_differ_by_shape_without_any_color():
    for make in (fill_style, line_style, point_style):
        looks = {(make(i).marker, make(i).dash, make(i).hatch) for i in range(5)}
        assert len(looks) == 5, make.__name__
    assert (
        len({(fill_style(i).color, fill_style(i).hatch) for i in range(MAX_SERIES)}) == MAX_SERIES
    )


def test_the_accent_of_a_page_is_no_color_of_a_series():
    assert ACCENT_COLOR not in PALETTE


def test_a_long_name_is_cut_and_has_no_owner():
    assert short_name("org/small") == "small"
    assert short_name("org/") == "org/"
    assert len(short_name("m" * 80)) == 26
