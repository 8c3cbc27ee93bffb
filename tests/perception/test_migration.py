"""Routers that format 1 saved predict and decide what the version that wrote them did.

`tests/fixtures/format_1/make.py` says how the files were made.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tryage import Router
from tryage.errors import PersistenceError
from tryage.perception.persistence import (
    FORMAT,
    HEADER_FILE,
    WEIGHTS_FILE,
    load_perception,
    save_perception,
)

FIXTURES = Path(__file__).parents[1] / "fixtures" / "format_1"
NAMES = ("router_scored", "router_losses", "router_learning")

# What format 1 called the parts of a path in perception.safetensors -> what format 2 calls them.
RENAMED = {
    "features.": "feature_extractor.",
    ".lexicon.tokens": ".tfidf.token_ids",
    ".lexicon.table": ".tfidf.projection",
    ".lexicon.": ".tfidf.",
    ".surface.": ".surface_scaler.",
    ".offer.": ".tool_schema_scaler.",
    ".choices.": ".choice_scaler.scaler.",
    "head.categories.": "head.category_classifier.",
    "head.stretch": "head.gain",
    ".places": ".positions",
    "link.gaps": "link.knots_x",
    "link.rises": "link.knots_y",
    "kinship.shares": "kinship.group_frequencies",
    "kinship.doubt": "kinship.coefficient_covariance",
    "kinship.spread": "kinship.residual_covariance",
    "kinship.strangeness": "kinship.unseen_group_variances",
    "kinship.ignorance": "kinship.missing_value_covariance",
    "kinship.scale.centre": "kinship.scaler.mean",
    "kinship.scale.unit": "kinship.scaler.std",
    "kinship.scale.lowest": "kinship.scaler.lower",
    "kinship.scale.highest": "kinship.scaler.upper",
    "kinship.": "metadata_prior.",
    "acquaintances.": "observed_experts.",
}


def numbers(rows):
    """Read numbers that `float.hex` wrote; null is NaN."""
    return np.array([[np.nan if v is None else float.fromhex(v) for v in row] for row in rows])


def new_path(path):
    for old, new in RENAMED.items():
        path = path.replace(old, new)
    return path


@pytest.fixture(scope="module", params=NAMES)
def saved(request):
    """A folder of format 1, and what its router answered."""
    folder = FIXTURES / request.param
    return folder, json.loads((folder / "expected.json").read_text("utf-8"))


@pytest.fixture
def copy(tmp_path):
    """A folder of format 1 to change."""
    return shutil.copytree(FIXTURES / "router_scored", tmp_path / "router")


def rewrite(folder, change):
    header = json.loads((folder / HEADER_FILE).read_text("utf-8"))
    (folder / HEADER_FILE).write_text(json.dumps(change(header)), "utf-8")


def test_predictions_are_those_of_the_version_that_saved_it(saved):
    folder, expected = saved
    perception = load_perception(folder)
    prediction = perception.predict(expected["prompts"])
    for name in ("losses", "std", "output_tokens"):
        np.testing.assert_allclose(
            getattr(prediction, name), numbers(expected[name]), rtol=1e-6, atol=1e-6
        )
    np.testing.assert_allclose([perception.prior()], numbers([expected["prior"]]), rtol=1e-6)
    assert list(perception.experts) == expected["experts"]


def test_decisions_are_those_of_the_version_that_saved_it(saved):
    folder, expected = saved
    router = Router.from_pretrained(folder)
    one_by_one = [router.route(prompt) for prompt in expected["prompts"]]
    for decisions, told in (
        (one_by_one, expected["decisions"]),
        (router.route_batch(expected["prompts"]), expected["batch"]),
    ):
        for decision, before in zip(decisions, told, strict=True):
            now = {one.name: one for one in decision.ranking}
            assert decision.prompt == before["prompt"]
            assert decision.default_used == before["default_used"]
            assert list(decision.flags) == before["flags"]
            assert [one.name for one in decision.rejected] == before["rejected"]
            # Totals and their order are not those of that version: it scaled constraints to the
            # library, and today's scales are fixed.
            assert sorted(now) == sorted(before["ranking"])
            for key, name in (("losses", "predicted_loss"), ("std", "std")):
                values = [getattr(now[expert], name) for expert in before["ranking"]]
                np.testing.assert_allclose([values], numbers([before[key]]), 1e-6, 1e-6)


def test_the_router_around_the_perception_is_read_too(saved):
    folder, expected = saved
    router = Router.from_pretrained(folder)
    assert router.library.to_dicts() == expected["library"]
    assert router.preferences.to_dict() == expected["preferences"]
    assert (router.default, router.strict) == (expected["default"], expected["strict"])
    assert router.prompt_flags == expected["prompt_flags"]


def test_saving_it_again_keeps_every_stored_array_byte_for_byte(saved, tmp_path):
    folder, _ = saved
    save_perception(load_perception(folder), tmp_path)
    before, after = load_file(folder / WEIGHTS_FILE), load_file(tmp_path / WEIGHTS_FILE)
    for path, array in before.items():
        again = after.pop(new_path(path))
        assert again.dtype == array.dtype
        assert again.tobytes() == array.tobytes()
    assert set(after) <= {f"feature_extractor.choice_scaler.pair_{n}" for n in ("mean", "std")}
    assert json.loads((tmp_path / HEADER_FILE).read_text("utf-8"))["format"] == FORMAT


def test_saved_in_the_format_of_today_it_predicts_the_same_bits(saved, tmp_path):
    folder, expected = saved
    one = load_perception(folder)
    save_perception(one, tmp_path)
    two = load_perception(tmp_path)
    ours, theirs = (p.predict(expected["prompts"]) for p in (one, two))
    for name in ("losses", "std", "output_tokens"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_the_constants_of_multiple_choice_questions_are_added_where_options_are_described():
    scaler = load_perception(FIXTURES / "router_learning").feature_extractor.choice_scaler
    assert scaler.pair_mean.dtype == scaler.pair_std.dtype == np.float32
    np.testing.assert_allclose(
        scaler.pair_mean, [5, 3.2, 3.6, 1.6, 0.2, 0.16, 0.06, 0.8, 1.4, 0.3, 0.09]
    )
    np.testing.assert_allclose(
        scaler.pair_std, [1, 1.2, 1.2, 1.1, 0.35, 0.2, 0.14, 0.9, 1.8, 0.8, 0.08]
    )
    assert load_perception(FIXTURES / "router_scored").feature_extractor.choice_scaler is None


def test_files_older_than_options_and_the_metadata_prior_are_read(copy):
    expected = load_perception(copy).predict(["sum word"]).losses

    def change(header):
        del header["features"]["choices"], header["kinship"], header["acquaintances"]
        return header

    rewrite(copy, change)
    np.testing.assert_array_equal(load_perception(copy).predict(["sum word"]).losses, expected)


def test_a_router_of_scores_that_version_0_1_0_saved_is_read(copy):
    expected = load_perception(copy).predict(["sum word"]).losses
    rewrite(copy, lambda h: h | {"link": h["link"] | {"kind": "Link", "scored": True}})
    np.testing.assert_array_equal(load_perception(copy).predict(["sum word"]).losses, expected)


def test_a_router_of_real_valued_losses_of_version_0_1_0_has_to_be_trained_again(copy):
    rewrite(copy, lambda h: h | {"link": h["link"] | {"kind": "Link", "scored": False}})
    with pytest.raises(PersistenceError, match="train it again"):
        load_perception(copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header | {"features": None},
        lambda header: header | {"head": {"kind": "Head"}},
        lambda header: header | {"head": {"kind": ["Head"]}},
        lambda header: header | {"link": header["caution"]},
        lambda header: {key: part for key, part in header.items() if key != "caution"},
        lambda header: header | {"format": 2},
    ],
)
def test_a_damaged_file_of_format_1_is_refused(copy, change):
    rewrite(copy, change)
    with pytest.raises(PersistenceError, match="damaged"):
        load_perception(copy)
