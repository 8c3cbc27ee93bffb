"""The paper's experiment computes its figures correctly, on tables worked by hand."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from tryage import Expert, Library, QTable

PAPER = Path(__file__).resolve().parents[3] / "benchmarks" / "paper"
A, B, C = range(3)
TABLE = QTable(
    ("one", "two", "three", "four"),
    ("a", "b", "c"),
    np.array([[1, 2, 3], [2, 1, 3], [3, 3, 1], [3, 2, 1]], np.float32),
    categories=("x", "x", "y", "y"),
    sources=("router", "test", "router", "test"),
)
CHOSEN = np.eye(3)[[A, A, C, B]]


@pytest.fixture
def paper(monkeypatch):
    monkeypatch.syspath_prepend(str(PAPER))
    return importlib.import_module


def test_a_choice_has_an_optimal_rate_a_loss_and_a_share_of_the_oracles_gain(paper):
    found = paper("figures").worth(CHOSEN, TABLE.losses, B)
    assert (found.optimal, found.loss, found.gain) == (0.5, 1.5, 0.5)


def test_chance_is_best_in_one_of_three_and_loses_to_the_best_single_expert(paper):
    found = paper("figures").worth(np.full((4, 3), 1 / 3), TABLE.losses, B)
    assert found.optimal == pytest.approx(1 / 3)
    assert found.loss == pytest.approx(25 / 12)
    assert found.gain == pytest.approx(-1 / 12)


def test_the_oracle_has_all_of_the_gain_and_the_best_single_expert_none(paper):
    worth = paper("figures").worth
    assert worth(np.eye(3)[[A, B, C, C]], TABLE.losses, B).gain == 1
    assert worth(np.eye(3)[[B, B, B, B]], TABLE.losses, B).gain == 0


def test_within_a_domain_the_router_is_compared_with_the_majority_of_that_domain(paper):
    x, y = paper("figures").by_domain(CHOSEN, TABLE, TABLE)
    assert (x.domain, x.majority, x.majority_optimal) == ("x", "a", 0.5)
    assert (x.router.optimal, x.router.loss, x.router.gain) == (0.5, 1.5, 0)
    assert (y.domain, y.majority, y.majority_optimal) == ("y", "c", 1)
    assert y.router.optimal == 0.5


def test_without_a_possible_gain_its_share_is_unknown(paper):
    assert np.isnan(paper("figures").by_domain(CHOSEN, TABLE, TABLE)[1].router.gain)


def test_the_majority_expert_is_best_most_often_and_need_not_have_the_lowest_mean(paper):
    losses = np.array([[1, 2], [1, 2], [9, 2]], np.float32)
    table = QTable(("p", "q", "r"), ("often", "steady"), losses)
    fold = paper("tryage.learning.evaluation").Fold(table, np.ones((3, 2)), table, np.ones((3, 2)))
    assert paper("contest").majority(fold).losses.argmin(axis=1).tolist() == [0, 0, 0]
    assert paper("figures").best_single(table) == 1


def test_the_seed_changes_the_training_part_and_not_the_test_part(paper):
    split = paper("contest").split
    many = TABLE.take([0, 2] * 10 + [1, 3])
    one, two = split(many, 0), split(many, 1)
    assert one.test.prompts == two.test.prompts == ("two", "four")
    assert len(one.train) == 16
    assert set(one.train.prompts) == {"one", "three"}
    assert one.train.prompts != two.train.prompts


def test_means_and_deviations_are_over_the_seeds(paper):
    figures = paper("figures")
    runs = [{"m": figures.Worth(rate, 1.0, 0.5)} for rate in (0.5, 0.7)]
    mean, deviation = figures.over_seeds(runs)["m"]
    assert mean.optimal == pytest.approx(0.6)
    assert deviation.optimal == pytest.approx(0.2 / 2**0.5)
    assert np.isnan(figures.over_seeds(runs[:1])["m"][1].optimal)


def test_a_front_changes_to_the_small_expert_where_the_weight_exceeds_the_lead(paper):
    library = Library([Expert("small", parameters=1e6), Expert("large", parameters=1e12)])
    losses = np.array([[1.0, 0.5]])
    front = paper("front").trace_front(losses, library, losses)
    assert [front.at(weight) for weight in (0, 0.49, 0.51)] == [(0.5, 1e12), (0.5, 1e12), (1, 1e6)]


def test_an_answer_names_an_expert_only_if_it_names_exactly_one(paper):
    parse_choice = paper("asking").parse_choice
    experts = ("masked-c", "masked-c-large", "rxnmapper")
    assert parse_choice("The model is Masked-C-large.", experts) == "masked-c-large"
    assert parse_choice("rxnmapper", experts) == "rxnmapper"
    assert parse_choice("rxnmapper or masked-c", experts) is None
    assert parse_choice("I cannot tell.", experts) is None


def test_answers_are_saved_and_a_half_written_line_is_asked_again(paper, tmp_path):
    cache = paper("asking").AnswerCache
    assert cache(tmp_path / "n").recall(["q", "ü"], lambda: [1.5]) == [1.5]
    with (tmp_path / "n").open("a") as file:
        file.write('{"asked": "[')
    again = cache(tmp_path / "n")
    assert again.recall(["q", "ü"], pytest.fail) == [1.5]
    assert again.recall(["other"], lambda: 2) == 2
    assert cache(tmp_path / "n").recall(["other"], pytest.fail) == 2


def test_names_in_a_picture_keep_their_distance_and_stay_inside(paper):
    spread = paper("pictures").spread
    assert spread([0.2, 0.21, 0.9], 0.1) == pytest.approx([0.2, 0.3, 0.9])
    assert spread([0.97, 0.98, 0.99], 0.1) == pytest.approx([0.8, 0.9, 1.0])


def test_the_report_says_which_bar_is_missed(paper):
    report, figures = paper("report"), paper("figures")
    worths = {"Tryage": (figures.Worth(0.7, 1, 0.98), figures.Worth(0.01, 0, 0))}
    found = report.Findings("Masked experts", {"a": 1e6}, (10, 4), 3, choices=worths)
    assert "97% of the gain: reached" in report.markdown(found, "Tryage")
    worths["Tryage"] = (figures.Worth(0.7, 1, 0.96), worths["Tryage"][1])
    found.asked = worths | {"SmolLM2": (figures.Worth(0.5, 1, 0), figures.Worth(0, 0, 0))}
    text = report.markdown(found, "Tryage")
    assert "97% of the gain: **not reached**" in text
    assert "language model: **not reached**, 1.4 times" in text
    assert "| Tryage | 70.0% ± 1.0% | 1.000 | 96.0% |" in text
