"""Options of multiple-choice questions: who is described, and by what the options differ."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage.learning.training.estimators import fit_feature_extractor
from tryage.learning.training.trainer import fit
from tryage.perception.features import CHOICE_WIDTH as WIDTH
from tryage.perception.features import multiple_choice_features
from tryage.perception.persistence import HEADER_FILE, load_perception, save_perception

NUMBERS, ALIKE, ABOVE, STATEMENTS, DENIED = 7, 8, 11, 12, 13


def asked(question, *options, mark="{}. {}"):
    told = (mark.format("ABCDEFGHIJ"[i], option) for i, option in enumerate(options))
    return "\n".join([question, *told, "Answer:"])


def one(prompt):
    return multiple_choice_features([prompt])[0]


PLAIN = asked("Which sea is it?", "the Black Sea", "an ocean", "some lake", "a river")


@given(st.lists(st.text(alphabet=st.characters()) | st.text(alphabet="\nAB. 1"), max_size=3))
def test_any_strings_are_described_by_finite_numbers(prompts):
    described = multiple_choice_features(prompts)
    assert described.shape == (len(prompts), WIDTH)
    assert np.isfinite(described).all()


@pytest.mark.parametrize("text", ["", "A. b", "Why?\nA. so", "x\n- a\n- b", "a\nb. c\nd. e"])
def test_a_prompt_without_options_is_zeros(text):
    np.testing.assert_array_equal(one(text), 0)


@pytest.mark.parametrize("mark", ["{}. {}", "{}) {}", "({}) {}", "  {}: {}", "{}.{}"])
def test_options_are_found_however_they_are_marked(mark):
    assert one(asked("Which?", "yes", "no", mark=mark))[0] == 1


def test_options_that_combine_the_same_statements_are_alike():
    combined = asked("1 | 2", "True, True", "False, False", "True, False", "False, True")
    assert one(PLAIN)[ALIKE] == 0
    assert one(combined)[ALIKE] > 0.2
    assert one(combined)[STATEMENTS] == 1
    assert one(PLAIN)[STATEMENTS] == 0


def test_the_share_of_two_options_is_that_of_the_shorter_one():
    np.testing.assert_allclose(one(asked("?", "a b c", "a b"))[ALIKE], 2 / 3)


def test_numbers_and_words_of_exams_are_told():
    described = one(asked("All EXCEPT", "12", "$3", "-4", "none of the above"))
    assert described[NUMBERS] == 0.75
    assert described[ABOVE] == described[DENIED] == 1
    assert one(PLAIN)[NUMBERS] == one(PLAIN)[ABOVE] == one(PLAIN)[DENIED] == 0


def test_the_order_of_prompts_changes_nothing():
    both = multiple_choice_features(["no options", PLAIN])
    np.testing.assert_array_equal(both[1], one(PLAIN))
    np.testing.assert_array_equal(both[0], 0)


def test_thousands_of_options_are_not_compared_with_each_other():
    assert one(asked("Q", *"abcdefghij") + "\nA. x" * 9_000)[1] == pytest.approx(np.log1p(10))


def _joined(prompts, encoder):
    ids = encoder.token_ids(prompts)
    features = fit_feature_extractor(prompts, ids, encoder.vocabulary, tfidf_dim=3)
    return features, features.extract(prompts, encoder.encode(prompts), ids)


def test_only_who_met_options_in_training_looks_for_them(encoder):
    without = [f"sum word{i}" for i in range(8)]
    features, x = _joined(without, encoder)
    assert features.choice_scaler is None
    more, wider = _joined([*without, PLAIN], encoder)
    assert more.choice_scaler is not None
    assert wider.shape[1] == x.shape[1] + 85


def test_a_perception_that_reads_options_is_saved_and_read(encoder, specialists, tmp_path):
    table = specialists(60)
    prompts = tuple(f"{p}\nA. word1\nB. word{i}" for i, p in enumerate(table.prompts))
    perception = fit(replace(table, prompts=prompts), encoder, progress=False)
    save_perception(perception, tmp_path)
    again = load_perception(tmp_path)
    assert again.feature_extractor.choice_scaler is not None
    np.testing.assert_allclose(
        again.predict(prompts).losses, perception.predict(prompts).losses, atol=0.01
    )


def test_a_perception_saved_before_choices_were_read_predicts_as_it_did(
    encoder, specialists, tmp_path
):
    perception = fit(specialists(60), encoder, progress=False)
    save_perception(perception, tmp_path)
    header = json.loads((tmp_path / HEADER_FILE).read_text("utf-8"))
    del header["feature_extractor"]["choice_scaler"]
    (tmp_path / HEADER_FILE).write_text(json.dumps(header), "utf-8")
    expected = perception.predict([PLAIN]).losses
    np.testing.assert_allclose(
        load_perception(tmp_path).predict([PLAIN]).losses, expected, atol=0.01
    )
