"""Scores of latent maps against cases worked by hand, their pictures, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.errors import InputError
from tryage.learning.evaluation.latent_space import (
    chance_level,
    check_categories,
    latent_map,
    plot_latent,
    purities,
    silhouettes,
)

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

# Two pairs on opposite sides: the cosine is .8 within a pair, -.8 or -1 between them.
PAIRS = np.array([[1.0, 0.0], [0.8, 0.6], [-1.0, 0.0], [-0.8, -0.6]])


def two_columns(vectors, seed):
    """Stand in for UMAP, which takes long to import."""
    return vectors[:, :2] + seed


@pytest.fixture
def clusters():
    """Draw three categories around three directions, and a space that is independent of them."""
    rng = np.random.default_rng(0)
    kinds = np.repeat([0, 1, 2], 20)
    spaces = {
        "apart": np.eye(3)[kinds] + rng.normal(0, 0.1, (60, 3)),
        "mixed": rng.normal(size=(60, 5)),
    }
    return spaces, [("maths", "law", "poems")[kind] for kind in kinds]


def test_silhouettes_of_two_pairs_are_those_worked_by_hand():
    within, between = 0.2, (2.0 + 1.8) / 2
    expected = (between - within) / between
    np.testing.assert_allclose(silhouettes(PAIRS, ["a", "a", "b", "b"]), [expected] * 4)


def test_silhouettes_of_split_pairs_are_negative_as_worked_by_hand():
    within, between = 1.8, (0.2 + 2.0) / 2  # the other prompt of the category is on the other side
    expected = (between - within) / within
    np.testing.assert_allclose(silhouettes(PAIRS, ["a", "b", "b", "a"]), [expected] * 4)


def test_a_prompt_alone_in_its_category_has_a_silhouette_of_zero():
    assert silhouettes(PAIRS, ["a", "a", "a", "b"])[3] == 0


def test_purity_counts_the_nearest_prompts_without_the_prompt_itself():
    labels = ["a", "a", "b", "b"]
    np.testing.assert_array_equal(purities(PAIRS, labels, 1), [1, 1, 1, 1])
    np.testing.assert_array_equal(purities(PAIRS, labels, 2), [0.5, 0.5, 0.5, 0.5])
    np.testing.assert_array_equal(purities(PAIRS, ["a", "b", "b", "a"], 1), [0, 0, 0, 0])


def test_scores_agree_with_a_loop_over_all_pairs(clusters):
    vectors, categories = clusters[0]["mixed"], np.array(clusters[1])
    rows = vectors - vectors.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    far = 1 - rows @ rows.T
    silhouette, purity = [], []
    for i, own in enumerate(categories):
        others = np.arange(60) != i
        within = far[i, others & (categories == own)].mean()
        next_ = min(far[i, categories == name].mean() for name in set(categories) - {own})
        silhouette.append((next_ - within) / max(next_, within))
        nearest = sorted(np.flatnonzero(others), key=lambda j: far[i, j])[:7]
        purity.append(np.mean(categories[nearest] == own))
    np.testing.assert_allclose(silhouettes(vectors, categories), silhouette)
    np.testing.assert_allclose(purities(vectors, categories, 7), purity)


def test_a_direction_that_all_prompts_share_changes_nothing(clusters):
    vectors, categories = clusters[0]["apart"], clusters[1]
    moved = vectors + np.array([50.0, 0, 0])
    np.testing.assert_allclose(silhouettes(moved, categories), silhouettes(vectors, categories))
    np.testing.assert_array_equal(purities(moved, categories), purities(vectors, categories))


def test_chance_is_the_share_of_pairs_of_the_same_category():
    assert chance_level(["a", "a", "b"]) == pytest.approx(1 / 3)
    assert chance_level(["a"] * 5) == 1


def test_a_space_that_separates_categories_scores_higher_than_a_random_one(clusters):
    spaces, categories = clusters
    found = latent_map(spaces, categories, layout=two_columns, seed=3)
    apart, mixed = found.scores
    assert (apart.space, apart.dim, mixed.dim) == ("apart", 3, 5)
    assert apart.purity.value == 1
    assert apart.silhouette.low > 0.5
    assert mixed.silhouette.high < 0.05
    assert mixed.purity.low < found.chance + 0.1
    np.testing.assert_array_equal(found.coordinates[0], spaces["apart"][:, :2] + 3)
    each = silhouettes(spaces["apart"], categories)
    assert apart.silhouette.value == pytest.approx(each.mean())
    error = each.std() / np.sqrt(60)
    assert apart.silhouette.high - apart.silhouette.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_the_same_seed_gives_the_same_scores_as_plain_values(clusters):
    one, two = (latent_map(*clusters, layout=two_columns).to_dict() for _ in range(2))
    assert one == two
    assert one["categories"] == {"maths": 20, "law": 20, "poems": 20}
    assert one["spaces"][0]["purity"]["value"] == 1
    assert (one["prompts"], one["neighbours"], one["seed"]) == (60, 10, 0)


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        (["a", "b"] * 5, "10 prompts, each compared with 10 neighbours"),
        ([], "0 prompts"),
        (["a"] * 12, "1 categories, such as 'a'"),
        ([str(i) for i in range(12)], "12 prompts are of 12 categories"),
    ],
)
def test_prompts_that_cannot_be_scored_are_refused(categories, message):
    with pytest.raises(InputError, match=message):
        check_categories(categories)


@pytest.mark.parametrize("rows", [np.zeros((59, 3)), np.zeros(60), np.full((60, 2), np.nan)])
def test_a_space_that_does_not_fit_the_prompts_is_refused(clusters, rows):
    with pytest.raises(InputError, match="the space 'odd' has the shape"):
        latent_map({"odd": rows}, clusters[1], layout=two_columns)


def test_prompts_at_the_mean_of_all_are_scored_too(clusters):
    vectors = clusters[0]["apart"].copy()
    vectors[:5] = vectors[5:].mean(axis=0)  # the mean has no direction
    found = latent_map({"apart": vectors}, clusters[1], layout=two_columns)
    assert np.isfinite(found.scores[0].silhouette.value)


def test_the_picture_has_a_panel_per_space_and_a_name_per_category(clusters, tmp_path):
    chart = plot_latent(latent_map(*clusters, layout=two_columns), tmp_path / "deep" / "map.png")
    assert (tmp_path / "deep" / "map.png").read_bytes().startswith(b"\x89PNG")
    titles = [panel.title for panel in chart.panels]
    assert [title.split(" (")[0] for title in titles] == ["apart", "mixed"]
    assert titles[0].endswith("purity 1.00")
    assert chart.title.endswith(
        "100% of a prompt's neighbors in apart are of its category, 32% by chance"
    )
    assert {mark.name for mark in chart.panels[0].marks} == {"maths", "law", "poems"}


def test_every_named_category_looks_different_and_the_smallest_share_a_gray():
    sizes = [30, *[2] * 29]
    categories = [f"kind {i}" for i, size in enumerate(sizes) for _ in range(size)]
    vectors = np.random.default_rng(0).normal(size=(len(categories), 4))
    (panel,) = plot_latent(latent_map({"one": vectors}, categories, layout=two_columns)).panels
    marks = panel.marks
    looks = {(mark.style.color, mark.style.marker) for mark in marks}
    names = [mark.name for mark in marks]
    assert len(names) == len(looks) == 22
    assert "kind 0" in names
    assert "others" in names
    assert sum(len(mark.x) for mark in marks) == len(categories)


@pytest.mark.slow
def test_umap_separates_clusters_and_is_repeatable(clusters):
    pytest.importorskip("umap")
    spaces, categories = {"apart": clusters[0]["apart"]}, clusters[1]
    one, two = (latent_map(spaces, categories, seed=1).coordinates[0] for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (60, 2)
    far = np.linalg.norm(one[:, None] - one[None], axis=2)
    alike = np.equal.outer(categories, categories)
    assert far[alike].mean() < 0.5 * far[~alike].mean()
