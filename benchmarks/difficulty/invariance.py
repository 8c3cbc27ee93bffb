"""Measures how many decisions stay when a prompt is only written in another form.

    python benchmarks/difficulty/invariance.py [ROUTER_FOLDER]

The prompts are the 200 of easy and hard kinds, and 500 of outcome sets (`../shared/data`). A pair
decides as strictly as possible: its dear model gets the half of the prompts with the higher gain,
so that as many prompts as possible are near the threshold. Five models decide by each preset.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import predicted_gains
from perturbations import PERTURBATIONS
from pools import FIVE, PAIRS, router_over
from prompts import read_prompts

from tryage import Preferences, Router

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SETS = ("zoonk_tasks", "paretobandit_chat738", "livecodebench", "mmlu_pro", "textclass")
N_OF_SET = 100
PRESETS = ("balanced", "thrifty")


def read_set_prompts() -> list[str]:
    """Return a sample of prompts of each of `SETS`.

    Raises:
        SystemExit: the outcome sets are not here.
    """
    import pyarrow.parquet as pq

    if not DATA.is_dir():
        raise SystemExit(f"{DATA} is missing: put the outcome sets there (CONTRIBUTING.md)")
    generator, found = random.Random(0), []  # noqa: S311 - not for security
    for name in SETS:
        table = pq.read_table(DATA / name / "prompts.parquet", columns=["prompt"])
        prompts = sorted(set(table["prompt"].to_pylist()))
        found += generator.sample(prompts, min(N_OF_SET, len(prompts)))
    return found


def pair_shares(router: Router, groups: Sequence[Sequence[str]]) -> Mapping[str, float]:
    """Return by perturbation the mean share of decisions of pairs that stay.

    The threshold is the median gain of each group of prompts.
    """
    kept: dict[str, list[float]] = {name: [] for name in PERTURBATIONS}
    for pair in PAIRS:
        for prompts in groups:
            gains = predicted_gains(router, *pair, prompts)
            threshold = np.median(gains)
            for name, change in PERTURBATIONS.items():
                others = predicted_gains(router, *pair, [change(prompt) for prompt in prompts])
                kept[name].append(float(((others > threshold) == (gains > threshold)).mean()))
    return {name: float(np.mean(shares)) for name, shares in kept.items()}


def pool_shares(router: Router, prompts: Sequence[str], preset: str) -> Mapping[str, float]:
    """Return by perturbation the share of decisions among `FIVE` that stay."""
    pool = router_over(FIVE, router)
    before = _choices(pool, prompts, preset)
    return {
        name: float(
            (_choices(pool, [change(prompt) for prompt in prompts], preset) == before).mean()
        )
        for name, change in PERTURBATIONS.items()
    }


def _choices(router: Router, prompts: Sequence[str], preset: str) -> NDArray[np.str_]:
    decisions = router.route_batch(list(prompts), Preferences.preset(preset))
    return np.array([decision.expert.name for decision in decisions])


def main() -> None:
    """Print the share of decisions that stay, by perturbation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("router", nargs="?", type=Path, help="a folder; the bundled one without it")
    router = Router.from_pretrained(parser.parse_args().router)
    own, of_sets = [prompt.prompt for prompt in read_prompts()], read_set_prompts()
    columns = [pair_shares(router, [own, of_sets])]
    columns += [pool_shares(router, [*own, *of_sets], preset) for preset in PRESETS]
    print(
        f"| changed | ten pairs, half to the dear | {' | '.join(f'five, {p}' for p in PRESETS)} |"
    )
    print("|---|" + "---:|" * len(columns))
    for name in PERTURBATIONS:
        print(f"| {name} | " + " | ".join(f"{column[name]:.1%}" for column in columns) + " |")
    means = (f"{np.mean(list(column.values())):.1%}" for column in columns)
    print(f"| mean | {' | '.join(means)} |")


if __name__ == "__main__":
    main()
