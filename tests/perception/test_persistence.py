"""A perception comes back from its folder the same; an incomplete folder is refused."""

from __future__ import annotations

import json
import stat
from dataclasses import fields, replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.errors import PersistenceError
from tryage.learning.training.metadata_prior import with_metadata_prior
from tryage.learning.training.trainer import FitConfig, fit
from tryage.perception.encoder import StaticEncoder
from tryage.perception.persistence import (
    HEADER_FILE,
    WEIGHTS_FILE,
    load_encoder,
    load_perception,
    save_perception,
)

PROMPTS = ["sum word1 word2", "code word3", "", "poem law"]


@pytest.fixture(scope="module")
def folder(learned, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "perception"
    save_perception(learned, path)
    return path


@pytest.fixture
def copy(learned, tmp_path):
    """A folder to damage."""
    save_perception(learned, tmp_path)
    return tmp_path


@pytest.fixture
def with_feedback(learned):
    """A perception with a prior from metadata, and feedback on an expert that it does not know."""
    facts = Library([Expert(n, parameters=10.0 ** (8 + i)) for i, n in enumerate(learned.experts)])
    perception = with_metadata_prior(learned, facts)
    perception.for_library(Library([*facts, "new"])).observe("sum word1", "new", 0.0)
    return perception


def rewrite(folder, change):
    header = json.loads((folder / HEADER_FILE).read_text("utf-8"))
    (folder / HEADER_FILE).write_text(json.dumps(change(header)), "utf-8")


def assert_alike(one, two, prompts):
    ours, theirs = one.predict(prompts), two.predict(prompts)
    np.testing.assert_allclose(ours.losses, theirs.losses, atol=1e-3)
    np.testing.assert_allclose(ours.std, theirs.std, rtol=0.02, atol=1e-3)
    assert (ours.losses.argmin(axis=1) == theirs.losses.argmin(axis=1)).mean() > 0.99


# What comes back


def test_predictions_and_choices_come_back(learned, folder, specialists):
    again = load_perception(folder)
    assert again.experts == learned.experts
    assert again.report == learned.report
    prompts = [*specialists(n=200, seed=9).prompts, "", "unheard of"]
    assert_alike(learned, again, prompts)
    np.testing.assert_allclose(
        again.predict(prompts).output_tokens, learned.predict(prompts).output_tokens, rtol=1e-3
    )


def test_a_loaded_perception_is_saved_as_the_same_files(folder, tmp_path):
    save_perception(load_perception(folder), tmp_path)
    once, twice = load_file(folder / WEIGHTS_FILE), load_file(tmp_path / WEIGHTS_FILE)
    assert set(once) == set(twice)
    for name in once:
        np.testing.assert_array_equal(once[name], twice[name])
    assert (folder / HEADER_FILE).read_text() == (tmp_path / HEADER_FILE).read_text()


def test_a_loaded_perception_learns_on(learned, folder):
    again = load_perception(folder)
    for i in range(8):
        again.observe(f"poem word{i}", "coder", 0.0)
    prompt, coder = ["poem word1"], learned.experts.index("coder")
    assert again.predict(prompt).losses[0, coder] < learned.predict(prompt).losses[0, coder]


def test_an_onboarded_expert_comes_back(learned, tmp_path):
    losses = {f"law word{i}": 0.0 for i in range(10)}
    larger = learned.onboard(Expert("jurist"), losses)
    save_perception(larger, tmp_path)
    again = load_perception(tmp_path)
    assert again.experts[-1] == "jurist"
    assert_alike(larger, again, ["law word20", "sum word1"])
    assert again.soft_threshold == replace(larger.soft_threshold)


def test_the_prior_and_the_observed_experts_come_back_bit_for_bit(with_feedback, tmp_path):
    save_perception(with_feedback, tmp_path)
    again = load_perception(tmp_path)
    for name in (
        "slopes",
        "effects",
        "coefficient_covariance",
        "residual_covariance",
        "unseen_group_variances",
        "missing_value_covariance",
    ):
        one, two = getattr(with_feedback.metadata_prior, name), getattr(again.metadata_prior, name)
        np.testing.assert_array_equal(one, two)
    assert again.metadata_prior.groups == with_feedback.metadata_prior.groups
    assert again.observed_experts.names == ("new",)
    np.testing.assert_array_equal(
        again.observed_experts.abilities.means, with_feedback.observed_experts.abilities.means
    )
    library = Library(["new", "adder"])
    one, two = (p.for_library(library).predict(PROMPTS) for p in (with_feedback, again))
    np.testing.assert_allclose(one.losses, two.losses, atol=1e-3)
    save_perception(again, tmp_path / "twice")
    for name in (HEADER_FILE, WEIGHTS_FILE):
        assert (tmp_path / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()


def test_a_perception_that_describes_options_comes_back(encoder, specialists, tmp_path):
    table = specialists(60)
    prompts = tuple(f"{p}\nA. word1\nB. word{i}" for i, p in enumerate(table.prompts))
    perception = fit(replace(table, prompts=prompts), encoder, progress=False)
    save_perception(perception, tmp_path)
    again = load_perception(tmp_path)
    assert again.feature_extractor.choice_scaler is not None
    np.testing.assert_allclose(
        again.predict(prompts).losses, perception.predict(prompts).losses, atol=0.01
    )


def test_a_perception_without_form_comes_back(encoder, specialists, tmp_path):
    table = specialists(n=60)
    perception = fit(table, encoder, config=FitConfig(form=False), progress=False)
    assert np.isinf(perception.feature_extractor.surface_scaler.std).any()
    save_perception(perception, tmp_path)
    assert_alike(load_perception(tmp_path), perception, [*table.prompts[:5], "A LONG ONE!! " * 50])


def test_a_perception_of_real_valued_losses_comes_back(encoder, specialists, tmp_path):
    table = specialists()
    real = fit(replace(table, losses=5 + 10 * table.losses), encoder, progress=False)
    save_perception(real, tmp_path)
    assert load_perception(tmp_path).link.scale == real.link.scale
    assert load_perception(tmp_path).loss_range() == real.loss_range()
    assert real.loss_range()[1] < 40
    prompts = specialists(n=50, seed=9).prompts
    one, two = (p.predict(prompts).losses for p in (real, load_perception(tmp_path)))
    np.testing.assert_allclose(one, two, rtol=5e-3)


# How it is stored


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e6])
def test_losses_of_any_unit_survive_half_precision(encoder, specialists, tmp_path, scale):
    rng = np.random.default_rng(0)
    table = specialists(n=200)
    many = (0.3 + np.linspace(0, 2, 40) + rng.normal(0, 0.3, (200, 40))).astype(np.float32)
    wide = type(table)(table.prompts, tuple(f"e{i}" for i in range(40)), scale * (many - 1))
    perception = fit(wide, encoder, progress=False)
    save_perception(perception, tmp_path)
    one, two = (p.predict(table.prompts) for p in (perception, load_perception(tmp_path)))
    np.testing.assert_allclose(two.losses, one.losses, atol=5e-3 * scale)
    np.testing.assert_allclose(two.std, one.std, rtol=0.05, atol=2e-3 * scale)


def test_big_arrays_are_stored_in_half_precision_and_costs_in_single(learned, tmp_path):
    rows = np.random.default_rng(0).normal(size=(5_000, 2))
    big = learned.replace(
        head=replace(learned.head, prototypes=rows), forecasts={"costs": rows * 1e-7}
    )
    save_perception(big, tmp_path)
    stored = load_file(tmp_path / WEIGHTS_FILE)
    assert stored["head.prototypes"].dtype == np.float16
    assert stored["forecasts.costs"].dtype == np.float32
    np.testing.assert_allclose(stored["forecasts.costs"], rows * 1e-7, rtol=1e-6)


@pytest.mark.parametrize("part", ["metadata_prior", "observed_experts"])
def test_not_even_a_big_array_of_what_learning_continues_from_is_rounded(
    with_feedback, tmp_path, part
):
    """Some arrays get 10,000 numbers each, which half and single precision would round."""
    big = np.random.default_rng(0).normal(size=(100, 100))
    if part == "metadata_prior":
        names = ("coefficient_covariance", "residual_covariance", "effects", "slopes")
        arrays = {name: big.copy() for name in names}
        changed = replace(with_feedback.metadata_prior, **arrays)
    else:
        observed, names = with_feedback.observed_experts, ("abilities.means",)
        changed = replace(observed, abilities=replace(observed.abilities, means=big))
    save_perception(with_feedback.replace(**{part: changed}), tmp_path)
    stored = load_file(tmp_path / WEIGHTS_FILE)
    for name in names:
        assert stored[f"{part}.{name}"].dtype == np.float64
        np.testing.assert_array_equal(stored[f"{part}.{name}"], big)


def test_every_user_may_read_the_files(folder):
    for path in folder.rglob("*.*"):
        assert path.stat().st_mode & stat.S_IROTH, path


# What is refused


@pytest.mark.parametrize("name", [HEADER_FILE, WEIGHTS_FILE])
@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"\xff\xfe\xff", "half"])
def test_a_missing_or_damaged_file_is_refused(copy, name, content):
    path = copy / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:200] if content == "half" else content)
    with pytest.raises(PersistenceError, match="holds no readable perception"):
        load_perception(copy)


def test_a_perception_without_its_encoder_is_refused(copy):
    (copy / "encoder" / "encoder.json").unlink()
    with pytest.raises(PersistenceError, match="holds no readable encoder"):
        load_perception(copy)


@pytest.mark.parametrize(
    "gone",
    ["experts", "report", "feature_extractor", "head", "abilities", "soft_threshold", "link"],
)
def test_a_header_without_a_part_is_refused(copy, gone):
    rewrite(copy, lambda header: {k: v for k, v in header.items() if k != gone})
    with pytest.raises(PersistenceError, match="damaged"):
        load_perception(copy)


def test_a_header_without_the_parts_that_came_later_is_read(with_feedback, tmp_path):
    save_perception(with_feedback, tmp_path)

    def change(header):
        del header["metadata_prior"], header["observed_experts"]
        del header["feature_extractor"]["choice_scaler"]
        return header

    rewrite(tmp_path, change)
    old = load_perception(tmp_path)
    np.testing.assert_allclose(
        old.predict(PROMPTS).losses, with_feedback.predict(PROMPTS).losses, atol=1e-3
    )
    losses = old.for_library(Library(["new", "newer"])).predict(PROMPTS).losses
    np.testing.assert_array_equal(losses[:, 0], losses[:, 1])


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header | {"experts": header["experts"][:2]},
        lambda header: header | {"experts": None},
        lambda header: header | {"soft_threshold": header["link"]},
        lambda header: header | {"link": "none"},
        lambda header: header | {"head": {"kind": "Head"}},
        lambda header: header | {"format": "latest"},
        lambda header: [header],
    ],
)
def test_a_header_that_does_not_fit_is_refused(copy, change):
    rewrite(copy, change)
    with pytest.raises(PersistenceError, match="damaged"):
        load_perception(copy)


def test_weights_without_an_array_are_refused(copy):
    arrays = load_file(copy / WEIGHTS_FILE)
    del arrays["abilities.means"]
    save_file(arrays, copy / WEIGHTS_FILE)
    with pytest.raises(PersistenceError, match=r"abilities\.means"):
        load_perception(copy)


def test_a_token_far_beyond_any_vocabulary_is_refused(copy):
    arrays = load_file(copy / WEIGHTS_FILE)
    arrays["feature_extractor.tfidf.token_ids"][-1] = 2**31 - 1
    save_file(arrays, copy / WEIGHTS_FILE)
    with pytest.raises(PersistenceError, match="token_ids"):
        load_perception(copy)


def test_a_newer_format_says_to_upgrade(copy):
    rewrite(copy, lambda _: {"format": 99, "what": "we cannot know"})
    with pytest.raises(PersistenceError, match="newer format than 3: upgrade with"):
        load_perception(copy)


# Encoders


def test_an_encoder_is_loaded_by_the_kind_that_its_header_names(copy):
    assert isinstance(load_encoder(copy / "encoder"), StaticEncoder)
    assert isinstance(load_encoder(str(copy / "encoder")), StaticEncoder)


def test_an_encoder_of_an_unknown_kind_is_refused_with_the_known_ones(copy):
    (copy / "encoder" / "encoder.json").write_text('{"kind": "x", "format": 1}')
    with pytest.raises(PersistenceError, match="kind 'x'; known kinds: static, transformer"):
        load_encoder(copy / "encoder")


def test_the_calibration_of_the_uncertainty_comes_back_bit_for_bit(learned, folder):
    again = load_perception(folder).uncertainty
    for field in fields(again):
        value, saved = getattr(learned.uncertainty, field.name), getattr(again, field.name)
        np.testing.assert_array_equal(np.asarray(value), np.asarray(saved))


def test_a_file_of_format_2_has_no_calibration_and_predicts_without_one(learned, copy):
    rewrite(
        copy, lambda header: {k: v for k, v in header.items() if k != "uncertainty"} | {"format": 2}
    )
    before = learned.replace(uncertainty=None)
    again = load_perception(copy)
    assert again.uncertainty is None
    assert_alike(before, again, ["sum word3", "law word1"])
