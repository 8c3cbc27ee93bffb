"""Router.pareto: the exact front agrees with routing at every weight."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.core.constraints import DEFAULT_CONSTRAINTS
from tryage.core.library import Library
from tryage.core.preferences import Preferences
from tryage.errors import InputError, NoExpertError
from tryage.router import Router
from tryage.scoring.qtable import QTable
from tryage.testing import FunctionPerception, demo_library, demo_perception


def demo(**options):
    return Router(demo_perception(), demo_library(), **options)


@pytest.mark.parametrize("constraint", [*DEFAULT_CONSTRAINTS])
def test_the_front_agrees_with_routing_at_each_weight(constraint):
    rng = np.random.default_rng(0)
    columns = rng.random((4, 12))
    library = Library.from_columns(
        [f"m{i}" for i in range(12)],
        parameters=10 ** (6 + 5 * columns[0]),
        input_price=columns[1],
        output_price=columns[2],
        **dict.fromkeys(("security", "latency", "readability", "downloads"), columns[3]),
    )
    perception = FunctionPerception(
        library.names, lambda text: np.random.default_rng(len(text)).random(12).tolist()
    )
    router = Router(perception, library, preferences=Preferences({"size": 0.1, "cost": 0.2}))
    prompts = ["x" * i for i in range(1, 300, 25)]
    preferences = Preferences({constraint: 0.3}, max_parameters=1e10)
    front = router.pareto(prompts, constraint, preferences=preferences)
    ends = [*front.weights, front.weights[-1] + 1]
    for k, point in enumerate(front):
        weight = (ends[k] + ends[k + 1]) / 2
        weighted = Preferences(
            {**preferences.weights, constraint: weight}, preferences.requirements
        )
        decisions = router.route_batch(prompts, weighted)
        assert point.loss == pytest.approx(
            np.mean([d.ranking[0].predicted_loss for d in decisions])
        )
        terms = [d.ranking[0].terms[constraint] / weight for d in decisions]
        assert point.constraint == pytest.approx(np.mean(terms))
        for name, share in point.share.items():
            assert share == np.mean([d.expert.name == name for d in decisions])


def test_the_front_has_measured_losses_when_a_q_table_is_given():
    table = QTable(("hello",), ("frontier", "tiny-1b"), np.array([[0.4, 0.1]]))
    router = demo().subset(["frontier", "tiny-1b"])
    front = router.pareto(["hello"], "size", table=table)
    assert [p.true_loss for p in front] == pytest.approx([0.4, 0.1])
    assert [p.true_loss for p in router.pareto(["hello"])] == [None, None]


def test_the_front_reads_flags_and_keeps_requirements():
    front = demo(prompt_flags=True).pareto(["hello", "hi [Flag: license=mit]"], "size")
    assert front[0].share == {"frontier": 0.5, "code-7b": 0.5}
    assert front.changes(1) == ()


def test_the_front_uses_an_exempt_default_without_an_eligible_expert_and_raises_otherwise():
    preferences = Preferences(max_parameters=1)
    exempt = demo(default="tiny-1b", default_exempt=True)
    front = exempt.pareto(["x"], preferences=preferences)
    assert [p.share for p in front] == [{"tiny-1b": 1.0}]
    for router in (demo(), demo(default="tiny-1b"), demo(default="tiny-1b", strict=True)):
        with pytest.raises(NoExpertError, match="the nearest is tiny-1b with 1B"):
            router.pareto(["x"], preferences=preferences)


def test_a_front_needs_prompts_and_a_known_constraint():
    with pytest.raises(InputError, match="at least one prompt"):
        demo().pareto([])
    with pytest.raises(InputError, match="Did you mean size"):
        demo().pareto(["x"], "siz")
