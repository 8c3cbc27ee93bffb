"""Draw the pictures of docs/plots.md: each plot on real outcomes, or on a replay of them.

    python benchmarks/plot_pictures.py [--out docs/pictures] [--only front shares ...]

A router is trained on half of the prompts of `coderouter_id` (eight models on code, costs partly
estimated); front, calibration and latent map are of the other half. Difficulty is of the bundled
router and five of its models, on the 200 prompts of benchmarks/difficulty. Shares are of a replay:
the other half comes in a week, and from the fourth day on a model counts as changed and answers no
more. Onboarding tests three made-up models, which know so many of the package's answers.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from datasets import load

from tryage import Router
from tryage.core.preferences import Preferences
from tryage.learning.charts.pictures import save_chart
from tryage.learning.evaluation.latent_space import latent_map, plot_latent
from tryage.learning.evaluation.splits import folds
from tryage.learning.plots.calibration import calibration_plot
from tryage.learning.plots.difficulty import difficulty_plot
from tryage.learning.plots.front import front_of_table
from tryage.learning.plots.onboarding import onboarding_of_journal
from tryage.learning.plots.shares import make_shares
from tryage.learning.training.trainer import fit
from tryage.onboarding.config import OnboardingConfig
from tryage.onboarding.questions import load_questions
from tryage.traffic.records import DecisionRecord, Event, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tryage import QTable
    from tryage.core.decision import Decision
    from tryage.learning.charts.chart import Chart
    from tryage.learning.traffic_report.table import TrafficRow

SET, SEED = "coderouter_id", 0
TITLE = "Eight models on code"
DIFFICULTY_PROMPTS = Path(__file__).parent / "difficulty" / "prompts.jsonl"
POOL = ("gpt-5-mini", "claude-opus-4-5", "gpt-5-nano", "gemini-2.5-pro", "claude-haiku-4-5")
MADE_UP = {"knows-95": 0.95, "knows-65": 0.65, "knows-35": 0.35}  # shares of the right answers
START, DAY, DAYS = 1_793_577_600.0, 86_400.0, 7  # 2026-11-02 00:00 UTC
CHANGED, CHANGED_DAY = "claude-opus-4-6", 3.4
ANSWER_VALUE = 0.05  # USD
COLORS = 96  # of a PNG, which makes it small


def main() -> None:
    """Draw all pictures, or some of them."""
    pictures: dict[str, Callable[[], Chart]] = {
        "front": lambda: front_of_table(trained()[0], trained()[1], name=TITLE).chart(),
        "calibration": lambda: calibration_plot(*trained()).chart(),
        "difficulty": difficulty,
        "shares": shares,
        "onboarding": onboarding,
        "latent": latent,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--only", nargs="*", choices=pictures, default=list(pictures))
    arguments = parser.parse_args()
    for name in arguments.only:
        path = arguments.out / f"plot-{name}.png"
        chart = pictures[name]()
        save_chart(chart, path)
        shrink(path)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB, {chart.title}")


def shrink(path: Path) -> None:
    """Write a PNG with few colors, which a chart has anyway."""
    from PIL import Image

    with Image.open(path) as image:
        small = image.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


_TRAINED: list[tuple[Router, QTable]] = []


def trained() -> tuple[Router, QTable]:
    """Return a router of half of the prompts, and the outcomes of the other half."""
    if not _TRAINED:
        table = load(SET)
        (learned, judged), _ = folds(table.groups, 2, SEED)
        bundled = Router.from_pretrained()
        facts = bundled.library.subset([one for one in table.experts if one in bundled.library])
        perception = fit(table.take(learned), bundled.perception.encoder, progress=False)
        _TRAINED.append((Router(perception, facts), table.take(judged)))
    return _TRAINED[0]


def difficulty() -> Chart:
    """Draw the difficulty of the 200 prompts of twenty kinds."""
    rows = [json.loads(line) for line in DIFFICULTY_PROMPTS.read_text("utf-8").splitlines()]
    router = Router.from_pretrained().subset(POOL)
    prompts = [row["prompt"] for row in rows]
    return difficulty_plot(router, prompts, [row["kind"] for row in rows]).chart()


def shares() -> Chart:
    """Draw a week of requests in which a model drops out."""
    event = Event(1, "e", START + CHANGED_DAY * DAY, "drift", {}, CHANGED)
    return make_shares(replay(), [event], seconds=DAY / 4).chart()


def replay() -> Iterator[TrafficRow]:
    """Yield the decisions about the other half of the prompts, with their recorded costs."""
    router, table = trained()
    rng = np.random.default_rng(SEED)
    table = table.take(rng.permutation(len(table)))
    times = np.sort(rng.uniform(0, DAYS, len(table)))
    router = router.with_preferences(Preferences(answer_value=ANSWER_VALUE))
    left = router.subset([name for name in router.library.names if name != CHANGED])
    before = int(np.searchsorted(times, CHANGED_DAY))
    prompts = table.prompts
    decisions = [*router.route_batch(prompts[:before]), *left.route_batch(prompts[before:])]
    columns = {router.library.index(name): i for i, name in enumerate(table.experts)}
    costs = np.full(table.shape, np.nan) if table.costs is None else table.costs
    for row, (decision, time) in enumerate(zip(decisions, times.tolist(), strict=True)):
        name = decision.expert.name
        yield _logged(
            decision, START + time * DAY, float(costs[row, columns[router.library.index(name)]])
        )


def _logged(decision: Decision, time: float, cost: float) -> TrafficRow:
    name = decision.expert.name
    record = DecisionRecord(decision.id, time, "replay", name)
    return record, Outcome(decision.id, time, name, cost=cost), []


def onboarding() -> Chart:
    """Test three made-up models, and draw what the test believed after each answer."""
    questions = load_questions(languages=["en"], runs_code=False)
    questions = [one for one in questions if one.scorer in ("exact_match", "numeric")]
    answers = {one.prompt.text: one.answer for one in questions}
    router, journal = Router.from_pretrained(), Path("/tmp/plot_pictures.answers.jsonl")  # noqa: S108 - removed below
    config = OnboardingConfig(questions=questions, rivals=False, tolerance=0.002, concurrency=1)
    rng = np.random.default_rng(SEED)
    knows = {
        name: {text: bool(rng.random() < share) for text in answers}
        for name, share in MADE_UP.items()
    }
    journal.unlink(missing_ok=True)
    try:
        router.onboard_models(
            {name: partial(answer, answers, known) for name, known in knows.items()},
            journal=journal, config=config, progress=False,
        )  # fmt: skip
        return onboarding_of_journal(router, journal, config=config).chart()
    finally:
        journal.unlink(missing_ok=True)


def answer(answers: dict[str, str], known: dict[str, bool], text: str) -> str:
    """Return the right answer to a question that is known, else none."""
    return str(answers[text]) if known[text] else "I do not know."


def latent() -> Chart:
    """Draw the map of the other half of the prompts."""
    router, table = trained()
    perception = router.perception
    spaces = {
        "perception": perception.latent_positions(table.prompts)[:, 1:],
        "encoder": perception.encoder.encode(table.prompts),
    }
    categories = [one or "without a category" for one in table.categories or ()]
    return plot_latent(latent_map(spaces, categories, seed=SEED))


if __name__ == "__main__":
    main()
