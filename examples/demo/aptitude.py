"""The aptitude test: it measures the losses of every model on the same short prompts."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from tryage import QTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from experts import LocalModel

Row = dict[str, object]
WORKERS = 2  # each model runs on one thread
HELD_OUT = 3  # every third prompt of a kind is held out


@dataclass(frozen=True)
class Prompt:
    """One prompt of the test with its kind, for training or held out."""

    kind: str
    text: str
    held_out: bool


def read_prompts() -> list[Prompt]:
    """Read the prompts in the folder of this file."""
    prompts: list[Prompt] = []
    seen: Counter[str] = Counter()
    for line in (Path(__file__).parent / "prompts.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        seen[row["kind"]] += 1
        prompts.append(Prompt(row["kind"], row["prompt"], seen[row["kind"]] % HELD_OUT == 0))
    return prompts


def measure(
    models: Sequence[LocalModel],
    prompts: Sequence[Prompt],
    path: Path,
    track: Callable[[Iterable[Row], int], Iterable[Row]],
) -> QTable:
    """Measure every model on every prompt, and return the Q-table; a stopped run resumes.

    `track` yields the rows and shows the progress; its second argument is their number.

    The losses are bits per byte (see `LocalModel.loss`), the latencies are in seconds. The file has
    one measurement per line, in the format of `QTable.read`.
    """
    done = _measured(path)
    missing = [
        (model, prompt)
        for model in models
        for prompt in prompts
        if (model.expert.name, prompt.text) not in done
    ]
    for model in {id(model): model for model, _ in missing}.values():
        model.loss("warm-up")  # loads the weights, once and outside the measured time
    with path.open("a", encoding="utf-8") as file, ThreadPoolExecutor(WORKERS) as pool:
        for row in track(pool.map(_row, missing), len(missing)):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    table = QTable.read(path)
    row_of = {text: row for row, text in enumerate(table.prompts)}
    return table.take([row_of[prompt.text] for prompt in prompts])


def held_out(prompts: Sequence[Prompt]) -> np.ndarray:
    """Return which prompts are held out, `(n_prompts,)`."""
    return np.array([prompt.held_out for prompt in prompts])


def _row(pair: tuple[LocalModel, Prompt]) -> Row:
    model, prompt = pair
    start = perf_counter()
    loss = model.loss(prompt.text)
    return {
        "prompt": prompt.text,
        "expert": model.expert.name,
        "category": prompt.kind,
        "loss": loss,
        "latency": perf_counter() - start,
    }


def _measured(path: Path) -> set[tuple[str, str]]:
    """Return the measured pairs in the file, and cut off a half-written last line."""
    if not path.exists():
        return set()
    text = path.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, "utf-8")
    rows = (json.loads(line) for line in whole.splitlines())
    return {(row["expert"], row["prompt"]) for row in rows}
