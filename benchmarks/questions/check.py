"""Checks the questions that ship more slowly than tests can: all code, mutants, near-duplicates.

    python benchmarks/questions/check.py

Every program passes its tests, and every program with one operator, number or returned value changed
should fail them: those that do not are printed, for a person to tell whether they are equivalent. No
prompt may be nearly one of the visible prompts of the outcome sets: half of its runs of eight words.
"""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

from mutants import mutants

from tryage import Router
from tryage.onboarding.questions import (
    CODE_SCORER,
    LEVELS,
    Question,
    QuestionScorer,
    load_questions,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from typing import TYPE_CHECKING

from datasets import DATA

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN = 8  # words


def main() -> None:
    """Run every check, print what it found, and fail if a right answer is refused."""
    warnings.simplefilter("ignore")  # the code that runs here is ours
    questions = load_questions()
    scorer = QuestionScorer(questions, sandbox=True)
    refused = [q.id for q in questions if scorer(q.prompt, q.answer).score != 1.0]
    print(f"{len(questions)} questions, right answers refused: {refused}")
    code = [question for question in questions if question.scorer == CODE_SCORER]
    print(f"{sum(check_mutants(question, scorer) for question in code)} mutants pass")
    print_expected_losses(questions)
    overlapping = list(find_overlaps(questions))
    print(f"{len(overlapping)} prompts nearly occur in the outcome sets: {overlapping}")
    if refused or overlapping:
        raise SystemExit(1)


def print_expected_losses(questions: tuple[Question, ...]) -> None:
    """Print the mean loss that the bundled router expects of its experts at each level."""
    prediction = Router.from_pretrained().perception.predict([q.prompt.text for q in questions])
    for level in LEVELS:
        chosen = [row for row, question in enumerate(questions) if question.level == level]
        print(
            f"{level}: expected loss {prediction.losses[chosen].mean():.3f}, {len(chosen)} questions"
        )


def check_mutants(question: Question, scorer: QuestionScorer) -> int:
    """Print the wrong programs that pass, and return their number."""
    programs = list(mutants(question.answer))
    passing = [code for code in programs if scorer(question.prompt, code).score == 1.0]
    print(f"{question.id}: {len(passing)} of {len(programs)} mutants pass")
    right = set(question.answer.splitlines())
    for code in passing:
        print("   ", [line.strip() for line in code.splitlines() if line not in right][:2])
    return len(passing)


def find_overlaps(questions: tuple[Question, ...]) -> Iterator[tuple[str, str]]:
    """Yield (question, set) where half of the runs of words of a prompt are in a set."""
    from pyarrow import parquet

    runs = {question.id: word_runs(question.prompt.text) for question in questions}
    every_run = set().union(*runs.values())
    for path in sorted(DATA.glob("*/prompts.parquet")):
        texts = parquet.read_table(path, columns=["prompt"])["prompt"].to_pylist()
        found = {run for text in texts if text for run in word_runs(text) & every_run}
        for name, own in runs.items():
            if own and len(own & found) >= 0.5 * len(own):
                yield name, path.parent.name


def word_runs(text: str) -> set[str]:
    """Return every run of eight words of a text; Chinese characters count as words."""
    words = re.findall(r"[\u4e00-\u9fff]|\w+", text.casefold())
    return {" ".join(words[i : i + RUN]) for i in range(max(len(words) - RUN + 1, 1))}


if __name__ == "__main__":
    main()
