"""What every peer gets and gives: choices as scores, the order of experts, checks of both."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ADAPTERS = Path(__file__).resolve().parents[4] / "benchmarks" / "peers" / "adapters"
if not ADAPTERS.is_dir():
    pytest.skip("the benchmarks are not part of this copy", allow_module_level=True)
sys.path.insert(0, str(ADAPTERS))

from peer import (  # noqa: E402 - after the path is set
    MAX_TOKENS,
    OnnxEncoder,
    Peer,
    Training,
    mark_choices,
    run_task,
    typical_lengths,
)

NAN = np.nan


def make_training() -> Training:
    scores = np.float32([[1, 1, 0], [0, 1, NAN], [NAN, 0, 1], [1, 0, 0]])
    prompts = ["a", "b", "c", "a"]
    return Training(prompts, ["x", "y", "z"], np.zeros((4, 2), np.float32), scores)


def test_the_first_of_equally_good_experts_is_the_best_one_of_a_prompt() -> None:
    assert make_training().best.tolist() == [0, 1, 2, 0]


def test_peers_that_group_by_text_get_the_first_row_of_each_text() -> None:
    assert make_training().usable.tolist() == [0, 1, 2]


def test_after_the_chosen_expert_come_the_others_by_their_means() -> None:
    # Means of the training scores: 2/3, 1/2, 1/3.
    scores = mark_choices([2, 0], make_training())
    assert (-scores).argsort(axis=1).tolist() == [[2, 0, 1], [0, 1, 2]]


class Fixed(Peer):
    def __init__(self, scores: np.ndarray) -> None:
        super().__init__(OnnxEncoder(Path()))
        self.scores = scores

    def fit(self, training: Training) -> None:
        self.training = training

    def predict(self, *_: object) -> np.ndarray:
        return self.scores


@pytest.fixture
def task(tmp_path: Path) -> Path:
    folder = tmp_path / "toy-0"
    folder.mkdir()
    train = {"prompts": ["a", "b"], "experts": ["x", "y"], "categories": None, "seed": 0}
    (folder / "train.json").write_text(json.dumps(train))
    (folder / "test.json").write_text(json.dumps({"prompts": ["c"]}))
    one = np.zeros((2, 3), np.float32)
    np.savez(folder / "train.npz", embeddings=one, scores=np.float32([[1, 0], [0, 1]]))
    np.savez(folder / "test.npz", embeddings=one[:1])
    return folder


def test_two_peers_leave_what_they_predict_and_how_long_it_took(task: Path, tmp_path: Path) -> None:
    for scores in (np.float32([[0.2, 0.7]]), np.float32([[1.0, 0.0]])):
        run_task(Fixed(scores), task, tmp_path)
        with np.load(tmp_path / "toy-0.npz") as file:
            np.testing.assert_array_equal(file["scores"], scores)
        facts = json.loads((tmp_path / "toy-0.json").read_text())
        assert facts["forecasts"]
        assert facts["fit_seconds"] >= 0


@pytest.mark.parametrize("scores", [[[0.5]], [[NAN, 0.5]], [[0.1, 0.2], [0.1, 0.2]]])
def test_scores_of_a_wrong_shape_or_nan_are_refused_and_not_written(
    task: Path, tmp_path: Path, scores: list[list[float]]
) -> None:
    with pytest.raises(ValueError, match=r"expected finite numbers of shape \(1, 2\)"):
        run_task(Fixed(np.float32(scores)), task, tmp_path)
    assert not (tmp_path / "toy-0.json").exists()


def test_decisions_are_measured_on_prompts_of_about_100_tokens_if_there_are_any() -> None:
    assert typical_lengths(["x" * 9, "y" * 400, "z" * 450], 3) == ["y" * 400, "z" * 450, "y" * 400]
    assert typical_lengths(["x" * 9], 2) == ["x" * 9] * 2


def test_of_a_long_text_the_encoder_reads_both_ends() -> None:
    class Tokenizer:
        def encode(self, _: str) -> object:
            return type("Encoding", (), {"ids": list(range(1000))})

    class Session:
        def run(self, _: object, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            self.ids = inputs["input_ids"][0]
            return [np.float32([[3.0, 4.0]])]

    encoder = OnnxEncoder(Path())
    encoder._session, encoder._tokenizer = Session(), Tokenizer()
    np.testing.assert_allclose(encoder.encode(["text"]), [[0.6, 0.8]])
    half = MAX_TOKENS // 2
    assert encoder._session.ids.tolist() == [*range(half), *range(1000 - half, 1000)]
