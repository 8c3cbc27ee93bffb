"""What three models answered to real questions, recorded by ZeroEval, under names nobody knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "zeroeval"
ABSENT = (
    f"The recorded answers are not at {DATA}. They are not part of the repository: make the "
    "outcome sets of benchmarks/README.md there, or copy main.py and point it to servers of yours."
)

# The name in this example -> the recorded model, and its price in USD per million tokens.
MODELS = {
    "atlas": ("claude-3-5-sonnet-20241022", 3.0, 15.0),
    "birch": ("gpt-4o-mini-2024-07-18", 0.15, 0.6),
    "cedar": ("Meta-Llama-3.1-70B-Instruct", 0.9, 0.9),
}

WRONG = "I do not know."


@dataclass(frozen=True, slots=True)
class Recording:
    """A question, its right answer, and of each model whether it was right and how long it wrote.

    `tokens` are those of the answer.
    """

    question: str
    answer: str
    is_right: dict[str, bool]
    tokens: dict[str, int]


def load_recordings(seed: int = 0) -> list[Recording]:
    """Return all questions that the three models have answered, in random order.

    Raises:
        SystemExit: the recorded answers are not there.
    """
    if not DATA.is_dir():
        raise SystemExit(ABSENT)
    import pyarrow.parquet as pq

    names = {recorded: name for name, (recorded, _, _) in MODELS.items()}
    found: dict[str, dict[str, tuple[bool, int]]] = {}
    for row in pq.read_table(DATA / "outcomes.parquet").to_pylist():
        if row["model"] in names and row["score"] is not None:
            tokens = round(row["output_tokens"] or 200)
            answers = found.setdefault(row["prompt_id"], {})
            answers[names[row["model"]]] = (row["score"] >= 1.0, tokens)
    prompts = pq.read_table(DATA / "prompts.parquet").to_pylist()
    recordings = [
        Recording(
            row["prompt"],
            row["answer"],
            {name: right for name, (right, _) in found[row["prompt_id"]].items()},
            {name: tokens for name, (_, tokens) in found[row["prompt_id"]].items()},
        )
        for row in prompts
        if len(found.get(row["prompt_id"], ())) == len(MODELS)
    ]
    Random(seed).shuffle(recordings)  # noqa: S311 - not for cryptography
    return recordings
