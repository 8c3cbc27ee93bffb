"""Multiple-choice questions: which prompts are described, and by what their options differ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage.errors import InputError
from tryage.perception.features import (
    CHOICE_WIDTH,
    ChoiceScaler,
    FeatureScaler,
    add_pair_products,
    multiple_choice_features,
)

# Columns of the features
OPTIONS, NUMBERS, OVERLAP, ABOVE, STATEMENTS, NEGATION = 1, 7, 8, 11, 12, 13

PAIRED = [2, 3, 4, 6, 7, 8, 9, 10, 16, 17, 18]


def question(text, *options, mark="{}. {}"):
    marked = (mark.format("ABCDEFGHIJ"[i], option) for i, option in enumerate(options))
    return "\n".join([text, *marked, "Answer:"])


def one(prompt):
    return multiple_choice_features([prompt])[0]


PLAIN = question("Which sea is it?", "the Black Sea", "an ocean", "some lake", "a river")


@given(st.lists(st.text(alphabet=st.characters()) | st.text(alphabet="\nAB. 1"), max_size=3))
def test_any_strings_are_described_by_finite_numbers(prompts):
    described = multiple_choice_features(prompts)
    assert described.shape == (len(prompts), CHOICE_WIDTH)
    assert np.isfinite(described).all()


@pytest.mark.parametrize("text", ["", "A. b", "Why?\nA. so", "x\n- a\n- b", "a\nb. c\nd. e"])
def test_a_prompt_without_options_is_zeros(text):
    np.testing.assert_array_equal(one(text), 0)


@pytest.mark.parametrize("mark", ["{}. {}", "{}) {}", "({}) {}", "  {}: {}", "{}.{}"])
def test_options_are_found_however_they_are_marked(mark):
    assert one(question("Which?", "yes", "no", mark=mark))[0] == 1


def test_options_that_combine_the_same_statements_overlap():
    combined = question("1 | 2", "True, True", "False, False", "True, False", "False, True")
    assert one(PLAIN)[OVERLAP] == 0
    assert one(combined)[OVERLAP] > 0.2
    assert one(combined)[STATEMENTS] == 1
    assert one(PLAIN)[STATEMENTS] == 0


def test_the_overlap_of_two_options_is_a_share_of_the_shorter_one():
    np.testing.assert_allclose(one(question("?", "a b c", "a b"))[OVERLAP], 2 / 3)


def test_numbers_and_the_words_of_exams_are_described():
    described = one(question("All EXCEPT", "12", "$3", "-4", "none of the above"))
    assert described[NUMBERS] == 0.75
    assert described[ABOVE] == described[NEGATION] == 1
    assert one(PLAIN)[NUMBERS] == one(PLAIN)[ABOVE] == one(PLAIN)[NEGATION] == 0


def test_the_order_of_prompts_changes_nothing():
    both = multiple_choice_features(["no options", PLAIN])
    np.testing.assert_array_equal(both[1], one(PLAIN))
    np.testing.assert_array_equal(both[0], 0)


def test_of_thousands_of_options_only_ten_are_compared():
    many = question("Q", *"abcdefghij") + "\nA. x" * 9_000
    assert one(many)[OPTIONS] == pytest.approx(np.log1p(10))


# Scaling


def test_the_products_are_those_of_all_pairs_of_centered_and_clipped_numbers():
    numbers = multiple_choice_features([PLAIN, "no options"])
    mean, std = np.linspace(0, 2, 11, dtype=np.float32), np.full(11, 0.1, np.float32)
    described = add_pair_products(numbers, mean, std)
    np.testing.assert_array_equal(described[0, :CHOICE_WIDTH], numbers[0])
    np.testing.assert_array_equal(described[1], 0)
    centered = np.clip((numbers[0, PAIRED] - mean) / std, -4, 4)
    expected = [centered[i] * centered[j] for i in range(11) for j in range(i, 11)]
    np.testing.assert_allclose(described[0, CHOICE_WIDTH:], expected, rtol=1e-6)


def test_a_choice_scaler_standardizes_numbers_and_products():
    width = CHOICE_WIDTH + 66
    unit = FeatureScaler(np.full(width, 0.5, np.float32), np.full(width, 2, np.float32), 0.1)
    pairs = np.zeros(11, np.float32), np.ones(11, np.float32)
    numbers = multiple_choice_features([PLAIN, "no options"])
    x = ChoiceScaler(*pairs, unit).transform(numbers)
    np.testing.assert_array_equal(x, unit.transform(add_pair_products(numbers, *pairs)))
    np.testing.assert_allclose(x[1], -0.1 * 0.5 / 2)  # zeros are scaled like any other number


@pytest.mark.parametrize(("means", "deviations"), [(10, 11), (11, 10), (12, 12)])
def test_a_choice_scaler_needs_a_mean_and_a_deviation_for_each_paired_number(means, deviations):
    unit = FeatureScaler(np.zeros(85, np.float32), np.ones(85, np.float32), 0.1)
    with pytest.raises(InputError, match="expected 11 of each"):
        ChoiceScaler(np.zeros(means, np.float32), np.ones(deviations, np.float32), unit)
