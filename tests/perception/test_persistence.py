"""A perception comes back from its folder the same; a folder that is not whole says so."""

from __future__ import annotations

import json
import stat
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tryage.errors import PersistenceError
from tryage.learning.training.trainer import fit
from tryage.perception.persistence import (
    HEADER_FILE,
    WEIGHTS_FILE,
    load_perception,
    save_perception,
)


@pytest.fixture(scope="module")
def folder(learned, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "perception"
    save_perception(learned, path)
    return path


@pytest.fixture
def copy(learned, tmp_path):
    """A folder of one's own, to damage."""
    save_perception(learned, tmp_path)
    return tmp_path


def rewrite(folder, change):
    header = json.loads((folder / HEADER_FILE).read_text("utf-8"))
    (folder / HEADER_FILE).write_text(json.dumps(change(header)), "utf-8")


def alike(ours, theirs, prompts):
    one, two = ours.predict(prompts), theirs.predict(prompts)
    np.testing.assert_allclose(one.losses, two.losses, atol=1e-3)
    np.testing.assert_allclose(one.std, two.std, rtol=0.02, atol=1e-3)
    assert (one.losses.argmin(axis=1) == two.losses.argmin(axis=1)).mean() > 0.99


def test_predictions_and_choices_survive(learned, folder, specialists):
    again = load_perception(folder)
    assert again.experts == learned.experts
    assert again.report == learned.report
    prompts = [*specialists(n=200, seed=9).prompts, "", "unheard of"]
    alike(learned, again, prompts)
    np.testing.assert_allclose(
        again.predict(prompts).output_tokens, learned.predict(prompts).output_tokens, rtol=1e-3
    )


def test_what_was_read_is_saved_the_same_again(folder, tmp_path):
    save_perception(load_perception(folder), tmp_path)
    once, twice = load_file(folder / WEIGHTS_FILE), load_file(tmp_path / WEIGHTS_FILE)
    assert set(once) == set(twice)
    for name in once:
        np.testing.assert_array_equal(once[name], twice[name])
    assert (folder / HEADER_FILE).read_text() == (tmp_path / HEADER_FILE).read_text()


def test_it_goes_on_learning_after_it_was_read(learned, folder):
    again = load_perception(folder)
    for i in range(8):
        again.observe(f"poem word{i}", "coder", 0.0)
    prompt, coder = ["poem word1"], learned.experts.index("coder")
    assert again.predict(prompt).losses[0, coder] < learned.predict(prompt).losses[0, coder]


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e6])
def test_losses_of_any_unit_survive_half_precision(encoder, specialists, tmp_path, scale):
    rng = np.random.default_rng(0)
    table = specialists(n=200)
    many = (0.3 + np.linspace(0, 2, 40) + rng.normal(0, 0.3, (200, 40))).astype(np.float32)
    wide = type(table)(table.prompts, tuple(f"e{i}" for i in range(40)), scale * (many - 1))
    perception = fit(wide, encoder, progress=False)
    save_perception(perception, tmp_path)
    one, two = (p.predict(table.prompts) for p in (perception, load_perception(tmp_path)))
    np.testing.assert_allclose(two.losses, one.losses, atol=3e-3 * scale)
    np.testing.assert_allclose(two.std, one.std, rtol=0.05, atol=2e-3 * scale)


def test_everybody_may_read_the_files(folder):
    for path in folder.rglob("*.*"):
        assert path.stat().st_mode & stat.S_IROTH, path


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


@pytest.mark.parametrize(
    "gone",
    ["experts", "report", "feature_extractor", "head", "abilities", "soft_threshold", "link"],
)
def test_a_header_without_a_part_is_refused(copy, gone):
    rewrite(copy, lambda header: {k: v for k, v in header.items() if k != gone})
    with pytest.raises(PersistenceError, match="damaged"):
        load_perception(copy)


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


def test_a_newer_format_says_to_upgrade(copy):
    rewrite(copy, lambda _: {"format": 99, "what": "we cannot know"})
    with pytest.raises(PersistenceError, match="newer format than 2: upgrade with"):
        load_perception(copy)


def test_an_onboarded_expert_is_saved_too(learned, tmp_path):
    from tryage.core.expert import Expert

    losses = {f"law word{i}": 0.0 for i in range(10)}
    knows = learned.onboard(Expert("jurist"), losses)
    save_perception(knows, tmp_path)
    again = load_perception(tmp_path)
    assert again.experts[-1] == "jurist"
    alike(knows, again, ["law word20", "sum word1"])
    assert again.soft_threshold == replace(knows.soft_threshold)


def test_a_router_of_real_valued_losses_comes_back_the_same(encoder, specialists, tmp_path):
    table = specialists()
    real = fit(replace(table, losses=5 + 10 * table.losses), encoder, progress=False)
    save_perception(real, tmp_path)
    assert load_perception(tmp_path).link.scale == real.link.scale
    prompts = specialists(n=50, seed=9).prompts
    one, two = (p.predict(prompts).losses for p in (real, load_perception(tmp_path)))
    np.testing.assert_allclose(one, two, rtol=5e-3)
