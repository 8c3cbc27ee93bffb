"""The result of co-training is a router of the usual kind, with weighted constraints or without."""

from __future__ import annotations

import numpy as np
import pytest

from tryage import Expert, Library, Preferences, Router
from tryage.errors import InputError
from tryage.learning.cotraining.loop import CotrainConfig, cotrain
from tryage.learning.cotraining.modes import ByLabel
from tryage.learning.cotraining.pipeline import constraint_penalties, fit_router

pytest.importorskip("sklearn")


def test_the_fitted_router_sends_each_domain_to_its_expert(
    letters, pool, domains, encoder, tmp_path
):
    learners = letters()
    mode = ByLabel(domains.tolist(), 2)
    cotrain(learners, pool, mode, CotrainConfig(tokens=5_000, batch=16), progress=False)
    router = fit_router(learners, pool.texts, encoder, categories=domains, progress=False)
    router.save_pretrained(tmp_path)
    again = Router.from_pretrained(tmp_path)
    assert again.route("abcabcddeaegghbaccda").expert.name == "letters-0"
    assert again.route("zzyxzyvwtussvwxyzzyx").expert.name == "letters-1"


def test_weights_of_constraints_become_penalties(pool):
    library = Library([Expert("letters-0", parameters=1e6), Expert("letters-1", parameters=4e6)])
    found = constraint_penalties(pool, library, Preferences(weights={"size": 0.5}))
    assert found.shape == (200, 2)
    assert found[0] == pytest.approx([0.0, 0.5 * np.log10(4) / 6])  # of six powers of ten


def test_dollars_become_penalties(pool):
    library = Library([Expert("letters-0", input_price=0, output_price=10), Expert("letters-1")])
    found = constraint_penalties(pool, library, Preferences(answer_value=0.1))
    assert found[0, 0] == pytest.approx(500 * 10 / 1e6 / 0.1)
    assert found[0, 1] >= 0.0375 / 0.1  # an unknown price is that of a dear model


def test_requirements_are_refused(pool):
    with pytest.raises(InputError, match="weights only"):
        constraint_penalties(pool, Library(["a", "b"]), Preferences(max_parameters=1e9))
