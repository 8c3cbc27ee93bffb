"""The whole evaluation, on tables with known results and on the real sets if they are here."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from tryage.errors import InputError, QTableError
from tryage.learning.evaluation.evaluator import BASELINES, evaluate
from tryage.learning.evaluation.splits import EvaluationConfig
from tryage.scoring.qtable import QTable

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
QUICK = EvaluationConfig(inner_folds=2, draws=200)
NO_MLP = {name: run for name, run in BASELINES.items() if name != "MLP"}


@pytest.fixture(scope="module")
def found(ridge, two_kinds):
    return evaluate(*two_kinds(), {"ridge": ridge}, config=QUICK, name="two kinds")


def test_a_router_that_knows_the_kind_beats_the_best_single_expert(found):
    assert found["ridge"].score.value == found["category table"].score.value
    single = found["best single"]
    assert single.lead.value == pytest.approx(found["ridge"].score.value - single.score.value)
    assert 0 < single.lead.low < single.lead.value < single.lead.high
    assert found["random"].score.value < found["best single"].score.value
    assert found["oracle"].regret == 0
    assert found["oracle"].optimal_rate == 1


def test_every_trained_baseline_finds_the_two_kinds(found):
    for name in ("nearest neighbours", "matrix factorisation", "MLP"):
        assert found[name].score.value >= found["category table"].score.value - 0.03, name


def test_prompt_lengths_that_are_random_gain_nothing(found):
    assert found["prompt length"].score.value <= found["best single"].score.value + 0.02


def test_two_cheap_specialists_replace_the_expensive_expert_at_parity(found):
    parity = found["ridge"].cost.parity
    assert parity.kept
    assert parity.relative_cost.value == pytest.approx(0.05, abs=0.001)
    assert found["best single"].cost.parity.relative_cost.value == pytest.approx(1)


def test_a_front_runs_from_the_best_score_to_the_least_cost(found):
    front = found["ridge"].cost.front
    assert front[0].score == pytest.approx(found["ridge"].score.value)
    assert front[-1].cost == pytest.approx(0.001)


def test_shares_of_a_category_sum_to_one_and_name_its_expert(found):
    shares = found["ridge"].shares
    assert shares["maths"]["mathematician"] == pytest.approx(1)
    assert sum(shares["law"].values()) == pytest.approx(1)


def test_the_same_seed_gives_the_same_figures(found, ridge, two_kinds):
    again = evaluate(*two_kinds(), {"ridge": ridge}, config=QUICK, name="two kinds")
    assert again.to_dict() == found.to_dict()


def test_a_pair_is_judged_as_a_whole_and_by_source(ridge, two_kinds):
    table, embeddings = two_kinds(costs=False)
    pair = table.select(["lawyer", "both"])
    sources = ["a" if i % 2 else "b" for i in range(len(pair))]
    pair = QTable(pair.prompts, pair.experts, pair.losses, pair.categories, sources)
    result = evaluate(pair, embeddings, {"ridge": ridge}, baselines=NO_MLP, config=QUICK)
    assert set(result["ridge"].pairs) == {"all", "a", "b"}
    assert result["ridge"].pairs["all"].strong == "both"
    assert result["ridge"].pairs["all"].apgr > 0.7
    assert result["random"].pairs["all"].apgr == pytest.approx(0.5)
    assert result["oracle"].pairs["all"].apgr > result["ridge"].pairs["all"].apgr


def test_gaps_and_prompts_without_a_measurement_are_noted(ridge, two_kinds):
    table, embeddings = two_kinds(gaps=0.4)
    result = evaluate(table, embeddings, {"ridge": ridge}, config=QUICK)
    empty = int((~table.measured.any(axis=1)).sum())
    assert empty > 0
    assert result.n_prompts == len(table) - empty
    assert f"{empty} prompts without any measurement" in result.table()
    assert "were not measured" in result.table()
    assert result["oracle"].regret == 0


@pytest.mark.parametrize("n_experts", [1, 2, 3])
@pytest.mark.parametrize("n", [2, 5, 8, 11, 21, 30, 40])
def test_a_table_of_any_size_is_evaluated_or_refused_with_a_reason(ridge, n, n_experts):
    rng = np.random.default_rng(n)
    table = QTable(
        tuple(f"prompt {i}" for i in range(n)),
        tuple("abc"[:n_experts]),
        rng.random((n, n_experts)),
        categories=None if n % 2 else tuple("maths" if i % 3 else "law" for i in range(n)),
        costs=rng.random((n, n_experts)),
    )
    embeddings = rng.normal(size=(n, 4)).astype(np.float32)
    quick = EvaluationConfig(n_folds=2, inner_folds=2, draws=20)
    if n < 8:
        with pytest.raises(QTableError, match="folds over"):
            evaluate(table, embeddings, {"ridge": ridge}, config=quick)
        return
    found = evaluate(table, embeddings, {"ridge": ridge}, config=quick)
    assert 0 <= found["MLP"].score.value <= 1
    left_out = [note for note in found.notes if note.startswith("The cost view is left out")]
    assert len(left_out) == (n_experts > 1 and n < 40)


def test_embeddings_of_another_table_and_duplicate_names_are_refused(ridge, two_kinds):
    table, embeddings = two_kinds(40)
    with pytest.raises(InputError, match="for 40 prompts"):
        evaluate(table, embeddings[:7], {})
    with pytest.raises(InputError, match="'random'"):
        evaluate(table, embeddings, {"random": ridge})


@pytest.fixture(scope="module")
def datasets():
    spec = importlib.util.spec_from_file_location("datasets", BENCHMARKS / "datasets.py")
    module = sys.modules["datasets"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not module.available():
        pytest.skip("the outcome sets of ../shared/data are not here")
    return module


@pytest.mark.parametrize(
    ("name", "best", "category", "oracle"),
    [("mmlu_pro", 0.720, 0.744, 0.959), ("bfcl_2024_08", 0.905, 0.902, 0.979)],
)
def test_known_figures_of_real_sets(datasets, name, best, category, oracle):
    table = datasets.load(name)
    shown = {k: BASELINES[k] for k in ("best single", "category table", "oracle")}
    bare = QTable(table.prompts, table.experts, table.losses, table.categories)
    result = evaluate(bare, np.zeros((len(table), 1)), {}, baselines=shown, config=QUICK)
    assert result["best single"].score.value == pytest.approx(best, abs=0.003)
    assert result["category table"].score.value == pytest.approx(category, abs=0.006)
    assert result["oracle"].score.value == pytest.approx(oracle, abs=0.003)


def test_the_published_gap_of_the_routellm_pair_on_mmlu(datasets):
    table = datasets.load("routellm_pair")
    mmlu = table.take([i for i, source in enumerate(table.sources) if source == "mmlu"])
    scores = dict(zip(mmlu.experts, 1 - mmlu.losses.mean(axis=0), strict=True))
    assert scores["gpt-4-1106-preview"] == pytest.approx(0.806, abs=0.004)
    assert min(scores.values()) == pytest.approx(0.681, abs=0.006)
