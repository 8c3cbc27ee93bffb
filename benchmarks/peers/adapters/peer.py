"""What every peer does, and the child process that runs it: tasks in, predicted scores out.

A peer runs in an environment of its own, so this file and the adapters need numpy alone. A task is
a folder with `train.json`, `train.npz`, `test.json` and `test.npz`; losses of the tested prompts
are not in it. The process writes `NAME.npz` (`scores`, `(n_test, n_experts)`) and `NAME.json` for
each task, and prints its name when it is done. With `--speed` it measures decisions instead.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

MAX_TOKENS = 256  # of a prompt; of a longer one the first and the last

_WARM_UP = 20  # decisions before the clock starts

_ROUNDS = 3


@dataclass(frozen=True)
class Training:
    """What a peer learns from; `scores` and `costs` (USD) are NaN where nothing was measured.

    Experts are listed best first (by the mean of `scores`, `(n_prompts, n_experts)`): this is the
    friendliest order for a peer that takes the first of several that are equally good.
    """

    prompts: list[str]
    experts: list[str]
    embeddings: Floats
    scores: Floats
    costs: Floats | None = None
    categories: list[str] | None = None
    seed: int = 0

    @property
    def best(self) -> NDArray[np.intp]:
        """The expert with the highest score on each prompt, `(n_prompts,)`; the first of equals."""
        return np.nanargmax(self.scores, axis=1)

    @property
    def usable(self) -> NDArray[np.intp]:
        """The rows of the first prompt of each text: peers that group by text keep one of them."""
        first = {prompt: row for row, prompt in reversed(list(enumerate(self.prompts)))}
        return np.array(sorted(first.values()))


class Peer:
    """A router to compare: it learns from `Training` and scores the experts on other prompts."""

    forecasts = True  # scores are forecasts of quality; False if they only mark the choice

    n_experts: int | None = None  # that it chooses between, if not those of the training

    def __init__(self, encoder: OnnxEncoder) -> None:
        """Keep the encoder, which is needed only for a decision on a text."""
        self.encoder = encoder

    def fit(self, training: Training) -> None:
        """Learn; nothing else of the task is known."""
        raise NotImplementedError

    def predict(self, prompts: Sequence[str], embeddings: Floats) -> Floats:
        """Score every expert on every prompt, `(n_prompts, n_experts)`; higher is better."""
        raise NotImplementedError

    def decide(self, prompt: str) -> object:
        """Make one decision from a text, the way a user of the peer would."""
        return int(self.predict([prompt], self.encoder.encode([prompt])).argmax())

    def decide_many(self, prompts: Sequence[str]) -> None:
        """Decide about many texts; a peer that has a faster way for it says so here."""
        for prompt in prompts:
            self.decide(prompt)


class OnnxEncoder:
    """all-MiniLM-L6-v2 in float32 by ONNX Runtime, on one thread; loaded when first used."""

    def __init__(self, folder: Path) -> None:
        """Remember the folder, with `model.onnx` and `tokenizer.json`."""
        self.folder = folder
        self._session: Any = None

    def load(self) -> None:
        """Load tokenizer and network, unless they are there."""
        if self._session is not None:
            return
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(self.folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def encode(self, texts: Sequence[str]) -> Floats:
        """Embed texts one by one into unit rows `(n_texts, 384)`."""
        self.load()
        return np.concatenate([self._encode(text) for text in texts])

    def _encode(self, text: str) -> Floats:
        ids = np.array(self._tokenizer.encode(text).ids, np.int64)
        if len(ids) > MAX_TOKENS:
            ids = np.concatenate([ids[: MAX_TOKENS // 2], ids[-MAX_TOKENS // 2 :]])
        inputs = {"input_ids": ids[None], "attention_mask": np.ones_like(ids)[None]}
        row = np.asarray(self._session.run(None, inputs)[0], np.float32)
        return np.asarray(row / np.linalg.norm(row, axis=1, keepdims=True))


def mark_choices(chosen: Sequence[int], training: Training) -> Floats:
    """Return scores that mark the chosen experts; the others follow in the order of their means.

    A prompt on which the chosen expert was not measured so goes to the best single one that was.
    """
    means = np.nanmean(training.scores, axis=0)
    ranks = means.argsort().argsort() / (2.0 * len(means))
    scores = np.tile(ranks.astype(np.float32), (len(chosen), 1))
    scores[np.arange(len(chosen)), list(chosen)] = 1.0
    return scores


def read_training(task: Path) -> Training:
    """Read the part of a task that a peer learns from."""
    texts, arrays = _read(task, "train")
    return Training(
        prompts=texts["prompts"],
        experts=texts["experts"],
        embeddings=arrays["embeddings"],
        scores=arrays["scores"],
        costs=arrays.get("costs"),
        categories=texts.get("categories"),
        seed=texts["seed"],
    )


def read_test(task: Path) -> tuple[list[str], Floats]:
    """Read the tested prompts and their embeddings."""
    texts, arrays = _read(task, "test")
    return texts["prompts"], arrays["embeddings"]


def _read(task: Path, part: str) -> tuple[dict[str, Any], dict[str, Floats]]:
    texts = json.loads((task / f"{part}.json").read_text("utf-8"))
    with np.load(task / f"{part}.npz", allow_pickle=False) as file:
        return texts, {name: np.asarray(file[name], np.float32) for name in file.files}


def run_task(peer: Peer, task: Path, out: Path) -> None:
    """Train on a task, predict its tested prompts and write both files, the JSON last."""
    training, (prompts, embeddings) = read_training(task), read_test(task)
    start = time.process_time()
    peer.fit(training)
    trained = time.process_time()
    scores = np.asarray(peer.predict(prompts, embeddings), np.float32)
    if scores.shape != (len(prompts), len(training.experts)) or not np.isfinite(scores).all():
        raise ValueError(
            f"{task.name}: scores of shape {scores.shape}, or not finite; expected finite numbers "
            f"of shape {(len(prompts), len(training.experts))}"
        )
    np.savez(out / f"{task.name}.npz", scores=scores)
    facts = {
        "forecasts": peer.forecasts,
        "fit_seconds": trained - start,
        "predict_seconds": time.process_time() - trained,
    }
    partial = out / f"{task.name}.part"
    partial.write_text(json.dumps(facts), "utf-8")
    partial.replace(out / f"{task.name}.json")


def measure_speed(peer: Peer, task: Path, n_decisions: int) -> dict[str, float]:
    """Train on a task and measure decisions about single texts, in processor time.

    The cold start is everything from the start of the process to its first decision but reading
    the task and learning from it. Of the rounds, the one with the lowest median counts: what else
    runs on the machine can only add to it.
    """
    start = time.process_time()
    training, (prompts, _) = read_training(task), read_test(task)
    peer.fit(training)
    learned = time.process_time() - start
    peer.decide(prompts[0])
    cold = time.process_time() - learned
    texts = typical_lengths(prompts, n_decisions + _WARM_UP)
    rounds = [list(_decision_seconds(peer, texts))[_WARM_UP:] for _ in range(_ROUNDS)]
    seconds = min(rounds, key=np.median)
    start = time.process_time()
    peer.decide_many(texts)
    rate = len(texts) / (time.process_time() - start)
    return {
        "p50_ms": 1e3 * float(np.median(seconds)),
        "p99_ms": 1e3 * float(np.quantile(seconds, 0.99)),
        "per_second": rate,
        "cold_seconds": cold,
        "resident_mb": resident_mb(),
        "experts": peer.n_experts or len(training.experts),
    }


def _decision_seconds(peer: Peer, texts: Sequence[str]) -> Iterator[float]:
    for text in texts:
        start = time.process_time()
        peer.decide(text)
        yield time.process_time() - start


def typical_lengths(prompts: Sequence[str], n: int) -> list[str]:
    """Return `n` prompts of about 100 tokens (300 to 500 characters), some again if few are so."""
    fitting = [text for text in prompts if 300 <= len(text) <= 500] or list(prompts)
    return [fitting[i % len(fitting)] for i in range(n)]


def resident_mb() -> float:
    """Return the resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * 4096 / 1e6


def main(routers: Mapping[str, Callable[[OnnxEncoder], Peer]]) -> None:
    """Run the tasks that the command line names; `routers` are what `--router` may name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--router", choices=list(routers), default=next(iter(routers)))
    parser.add_argument("--speed", type=int, help="measure so many decisions on the first task")
    arguments = parser.parse_args()
    peer = routers[arguments.router](OnnxEncoder(arguments.encoder))
    if arguments.speed:
        figures = measure_speed(peer, arguments.tasks[0], arguments.speed)
        arguments.out.joinpath("speed.json").write_text(json.dumps(figures), "utf-8")
        return
    for task in arguments.tasks:
        run_task(peer, task, arguments.out)
        print(f"done {task.name}", flush=True)
