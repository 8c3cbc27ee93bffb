"""Ranking and Rejections: order, ties, partial sorting, and the reasons of rejected experts."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.objective import DenseTerm, RoutingLoss
from tryage.core.preferences import Requirement
from tryage.core.ranking import Ranking, Rejections, RequirementCheck
from tryage.errors import LibraryError


def ranking(losses, totals=None, eligible=None, std=0.1):
    losses = np.asarray(losses, dtype=float)
    totals = losses if totals is None else np.asarray(totals, dtype=float)
    mask = np.ones(losses.size, bool) if eligible is None else np.asarray(eligible)
    library = Library([f"m{i}" for i in range(losses.size)])
    size = DenseTerm(1.0, totals - losses, np.zeros(losses.size, bool))
    terms = RoutingLoss(losses[None], {"size": size}, totals[None])
    return Ranking(library, losses, np.full(losses.size, std), terms, mask)


def test_the_lowest_total_comes_first():
    assert [r.name for r in ranking([0.3, 0.1, 0.2])] == ["m1", "m2", "m0"]


def test_ties_go_to_the_lower_predicted_loss_then_to_library_order():
    tied = ranking(losses=[0.3, 0.2, 0.1, 0.2], totals=[0.5, 0.5, 0.9, 0.5])
    assert [r.name for r in tied] == ["m1", "m3", "m0", "m2"]


@pytest.mark.parametrize("seed", range(5))
def test_reading_only_the_top_gives_the_same_as_sorting_everything(seed):
    rng = np.random.default_rng(seed)
    losses, totals = rng.integers(0, 5, 60) / 5, rng.integers(0, 5, 60) / 5
    eligible = rng.random(60) < 0.8
    names = [r.name for r in ranking(losses, totals, eligible)[:]]
    for k in (1, 2, 7, 30):
        fresh = ranking(losses, totals, eligible)
        assert [r.name for r in fresh[:k]] == names[:k]
        assert fresh[-1].name == names[-1]
        assert fresh[k].name == names[k]


def test_the_entry_of_an_expert_is_built_once():
    ranked = ranking([0.3, 0.1, 0.2])
    assert ranked[0] is ranked[0] is ranked.entry("m1") is ranked[:2][0]


def test_only_eligible_experts_are_ranked():
    ranked = ranking([0.1, np.nan, 0.3], eligible=[False, False, True])
    assert [r.name for r in ranked] == ["m2"]
    assert len(ranked) == 1
    assert len(ranking([0.1], eligible=[False])) == 0
    with pytest.raises(IndexError):
        ranked[1]


def test_one_expert_can_be_looked_up_in_the_ranking():
    ranked = ranking([0.3, 0.1], totals=[0.35, 0.4], eligible=[True, False])
    found = ranked.entry("m0")
    assert (found.predicted_loss, found.total, found.std) == (0.3, 0.35, 0.1)
    assert found.terms == {"size": pytest.approx(0.05)}
    with pytest.raises(LibraryError, match="rejected"):
        ranked.entry("m1")
    assert ranked.find("m1") is None


def test_an_unknown_std_is_none():
    assert ranking([0.1, 0.2], std=np.nan)[0].std is None


def test_rejections_have_every_reason_and_are_grouped_by_check():
    library = Library([Expert("a", parameters=7e9), Expert("b", parameters=1e9), Expert("c")])
    requirement = Requirement("parameters", "<", 3e9)
    rejected = Rejections(
        library,
        [
            RequirementCheck(None, np.array([False, True, True])),
            RequirementCheck(requirement, requirement.satisfied(library)),
        ],
    )
    assert [(r.name, len(r.reasons)) for r in rejected] == [("a", 2), ("c", 1)]
    assert rejected[0].reasons == ("no usable prediction", "parameters 7B is not < 3B")
    assert [r.name for r in rejected[:1]] == ["a"]
    assert rejected.failed_requirements(0) == ("parameters 7B is not < 3B",)
    (_, unpredicted, _), (label, count, examples) = rejected.group_by_check(examples=1)
    assert (unpredicted, label, count) == (1, "parameters", 2)
    assert examples == (("a", "parameters 7B is not < 3B"),)
    assert len(Rejections(library, [])) == 0
