"""Where the points, ticks and names of a small drawing stand."""

from __future__ import annotations

import pytest

from tryage.core.ranking import RankedExpert
from tryage_playground.picture import HEIGHT, WIDTH, Dot, draw, place_labels
from tryage_playground.trade_off import trade_off


def models(n):
    return [
        RankedExpert(f"model-{i}", 0.8 - 0.5 * i / n, None, {}, 0.8 - 0.5 * i / n, (), 1e-5 * 2**i)
        for i in range(n)
    ]


@pytest.mark.parametrize("n", [1, 2, 8, 20])
def test_everything_is_within_the_drawing(n):
    picture = draw(trade_off(models(n)), [("A", "model-0")])
    assert len(picture.dots) == n
    places = [(dot.x, dot.y) for dot in picture.dots]
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in places)
    assert all(44 <= tick.place <= WIDTH for tick in picture.x_ticks)
    assert 2 <= len(picture.y_ticks) <= 7


def test_ticks_of_qualities_that_differ_little_have_different_texts():
    close = [RankedExpert(f"m{i}", 0.08 + i / 1000, None, {}, 0.08, (), 0.01) for i in range(3)]
    texts = [tick.text for tick in draw(trade_off(close), []).y_ticks]
    assert len(set(texts)) == len(texts) >= 2


def test_better_is_higher_and_dearer_is_further_right():
    dots = {dot.name: dot for dot in draw(trade_off(models(3)), []).dots}
    assert dots["model-0"].x < dots["model-1"].x < dots["model-2"].x
    assert dots["model-0"].y > dots["model-1"].y > dots["model-2"].y


def test_the_choices_of_both_sides_are_marked_and_drawn_last():
    picture = draw(trade_off(models(4)), [("A", "model-2"), ("B", "model-2")])
    assert picture.dots[-1].name == "model-2"
    assert picture.dots[-1].chosen_by == ("A", "B")


def test_a_free_model_has_a_place_and_models_without_a_price_have_no_picture():
    free = RankedExpert("free", 0.5, None, {}, 0.5, (), 0.0)
    assert draw(trade_off([free]), []).dots[0].title == "free: quality 50.0%, $0"
    assert draw(trade_off([RankedExpert("a", 0.5, None, {}, 0.5, ())]), []) is None


def test_a_name_that_has_no_room_on_one_side_stands_on_another():
    left, right = (Dot("a-rather-long-name", x, 100, True, (), "") for x in (46, WIDTH - 16))
    assert [label.anchor for label in place_labels([left])] == ["start"]
    assert [label.anchor for label in place_labels([right])] == ["end"]
    wide = Dot("n" * 60, 200, 100, True, (), "")
    assert place_labels([wide]) == ()  # longer than the drawing


def test_names_never_overlap():
    dots = [Dot(f"a-long-name-{i}", 100 + 3 * i, 100, True, (), "") for i in range(12)]
    boxes = [
        (
            label.x - {"start": 0, "middle": 0.5, "end": 1}[label.anchor] * 5.6 * len(label.text),
            label.y,
        )
        for label in place_labels(dots)
    ]
    assert 2 <= len(boxes) <= 8
    for i, (x, y) in enumerate(boxes):
        for other_x, other_y in boxes[:i]:
            assert abs(y - other_y) >= 11 or abs(x - other_x) >= 5.6 * 13
