"""Predictions of a router beside the scores of a table, with the reference first."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tryage import Expert, Preferences, QTable, Router
from tryage.errors import InputError, LibraryError
from tryage.policies import guarantee_table
from tryage.policies.guarantee_table import predict_measured
from tryage.testing import FunctionPerception

EXPERTS = [
    Expert("small", input_price=1, output_price=1, output_tokens=100, context_length=1_000),
    Expert("large", input_price=10, output_price=10, output_tokens=100, aliases=("acme/large",)),
]


def make_router(**settings) -> Router:
    perception = FunctionPerception(["small", "large"], lambda text: [float(text) / 10, 0.1])
    return Router(perception, EXPERTS, **settings)


def make_table(losses, experts=("small", "large")) -> QTable:
    prompts = [str(i) for i in range(len(losses))]
    return QTable(prompts, experts, np.array(losses, np.float32))


def test_predictions_and_scores_belong_to_the_same_prompts(monkeypatch) -> None:
    monkeypatch.setattr(guarantee_table, "_BATCH", 2)  # so that there are several batches
    table = make_table([[0.0, 1.0], [0.25, np.nan], [1.0, 0.5], [np.nan, 0.0]])
    found = predict_measured(make_router(), table, "acme/large")
    assert found.names == ("large", "small")
    np.testing.assert_allclose(found.losses[:, 1], [0.0, 0.2, 0.3], atol=1e-6)
    np.testing.assert_allclose(found.scores, [[0.0, 1.0], [0.5, 0.0], [1.0, np.nan]])
    assert (found.costs[:, 0] > found.costs[:, 1]).all()
    assert found.eligible.all()


def test_rows_with_the_same_text_are_one_prompt_with_its_mean_scores() -> None:
    # Ten copies of each row would prove ten times as much as was measured.
    table = make_table([[0.0, 0.5], [1.0, np.nan], [np.nan, 0.0]])
    table = dataclasses.replace(table, prompts=("1", "0", "1"))
    table = QTable.concat([table, make_table([[np.nan, 1.0]])])
    found = predict_measured(make_router(), table, "large")
    np.testing.assert_allclose(found.scores, [[0.75, 1.0], [0.0, np.nan]])
    np.testing.assert_allclose(found.losses[:, 1], [0.1, 0.0], atol=1e-6)


def test_agreement_is_with_the_reference_itself() -> None:
    found = predict_measured(
        make_router(), make_table([[0.0, 0.7], [1.0, 0.7]]), "large", "agreement"
    )
    np.testing.assert_allclose(found.scores, [[1.0, 1.0], [1.0, 0.0]])


def test_prompts_that_the_reference_may_not_answer_are_left_out() -> None:
    router = make_router(preferences=Preferences(only=["small"]))
    assert len(predict_measured(router, make_table([[0.0, 0.0]]), "large").scores) == 0


def test_what_cannot_be_compared_is_refused() -> None:
    router = make_router()
    with pytest.raises(InputError, match="no answers of large to compare with; it has small"):
        predict_measured(router, make_table([[0.0]], ["small"]), "large")
    with pytest.raises(InputError, match=r"outside \[0, 1\]"):
        predict_measured(router, make_table([[0.0, 3.0]]), "large")
    with pytest.raises(InputError, match=r"table is a list; expected a tryage\.scoring\.QTable"):
        predict_measured(router, [[0.0, 0.0]], "large")
    with pytest.raises(LibraryError):
        predict_measured(router, make_table([[0.0, 0.0]]), "huge")


def test_a_reference_without_a_price_is_refused() -> None:
    perception = FunctionPerception(["small", "large"], lambda _: [0.2, 0.1])
    router = Router(perception, [EXPERTS[0], Expert("large")])
    with pytest.raises(InputError, match="price of large is unknown"):
        predict_measured(router, make_table([[0.0, 0.0]]), "large")
