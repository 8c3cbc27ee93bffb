"""The sliders are those of the state, and reach what is asked of them."""

from tryage.core.constraints import DEFAULT_CONSTRAINTS
from tryage_playground.sliders import SLIDERS
from tryage_playground.state import WEIGHTS, Side


def test_the_worth_of_an_answer_comes_first_and_every_weight_has_a_slider():
    names = [slider.name for slider in SLIDERS]
    assert names == ["answer_value", *WEIGHTS]
    assert set(WEIGHTS) <= set(DEFAULT_CONSTRAINTS)


def test_the_slider_of_dollars_holds_the_defaults():
    dollars = SLIDERS[0]
    assert dollars.is_log
    assert 10**dollars.low < Side().answer_value < 10**dollars.high
