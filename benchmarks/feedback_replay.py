"""Replays recorded outcomes as traffic with feedback: how soon a router learns, and what it costs.

    python benchmarks/feedback_replay.py --out build/feedback_replay [--sets coderouter_id ...]
        [--seeds 10] [--bad-luck]

Only the loss of the chosen expert is seen. A quarter of the prompts trains the router of the KNOWN
experts, a third of the rest is tested, and 2,000 requests are drawn from what remains (with
repetitions where a set is small). UNKNOWN experts have names that tell nothing. Both start from a
router that was trained as the bundled one is, but without these sets; it is kept under `--out`.

Measured are the loss on the tested prompts after 2,000 rewards, beside a router that saw the losses
of ALL experts on the same requests, and the mean loss of the requests themselves. Then the expert
that is chosen most fails always, until it has less than 2% of the last 100 requests, and for 500
more; then it is well. Its own answers are counted until it is left, and until it looks best on nine
tenths of the tested prompts on which it did before. It never does if another one is better.

With `--bad-luck` only this is printed: the best single expert fails ten times by chance. Which
share of 2,000 requests does it get, and what do they lose?
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import load
from feedback_policies import (
    Beliefs,
    EpsilonGreedy,
    LinUCB,
    Observe,
    PacedLinUCB,
    Policy,
    Thompson,
    Tryage,
)
from small_tables import pretrained_without

from tryage.core.exploration import Exploration
from tryage.core.library import Library
from tryage.learning.training.trainer import FitConfig, fit
from tryage.perception.persistence import load_encoder
from tryage.perception.pretrained import BUNDLED_FOLDER
from tryage.router import Router
from tryage.traffic.beliefs import first_belief, update_belief
from tryage.traffic.learner import Learner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tryage.perception.model import LearnedPerception
    from tryage.scoring.qtable import QTable

SETS = ("coderouter_id", "textclass", "zoonk_tasks")

EXPERTS = {
    "textclass": (
        *("gpt-4.1-2025-04-14", "gpt-4.1-mini-2025-04-14", "gpt-4.1-nano-2025-04-14"),
        *("claude-3-7-sonnet-20250219", "gemini-2.0-flash", "mistral-large-2411", "llama3.3"),
        "gemma2_27b",
    ),
    # No model of zoonk ran on all tasks; these four ran on the most.
    "zoonk_tasks": (
        *("openai/gpt-5.4-mini", "anthropic/claude-haiku-4.5"),
        *("google/gemini-3.1-flash-lite", "deepseek/deepseek-v4-flash"),
    ),
}

# The policies that meet the broken expert.
FORGETTING = ("Tryage, no exploration", "Tryage", "observe (before)", "LinUCB", "ParetoBandit")

N_REQUESTS = 2_000
MAX_PROMPTS = 6_000  # of a set
N_COMPONENTS = 25  # of the embeddings, as ParetoBandit has
LOW_SHARE, LAST_REQUESTS, REGAINED_SHARE = 0.02, 100, 0.9
MAX_DRIFT_REQUESTS = 5_000


@dataclass(frozen=True)
class Scene:
    """A set as one kind of router sees it: positions, embeddings, losses and the first beliefs."""

    name: str
    perception: LearnedPerception
    experts: tuple[str, ...]
    positions: NDArray[np.float64]
    components: NDArray[np.float64]
    kinds: list[str]
    losses: NDArray[np.float64]
    costs: NDArray[np.float64] | None
    rows: NDArray[np.intp]


def complete_table(name: str) -> QTable:
    """Return the prompts of a set that all its experts of this benchmark answered."""
    table = load(name)
    table = table.select(EXPERTS.get(name, table.experts))
    rows = np.flatnonzero(table.measured.all(axis=1))
    return table.take(np.random.default_rng(0).permutation(rows)[:MAX_PROMPTS])


def scenes(name: str, out: Path) -> list[Scene]:
    """Return the scenes of the known and of the unknown experts of a set."""
    table = complete_table(name)
    start = pretrained_without(SETS, out / "left_out")
    encoder = load_encoder(BUNDLED_FOLDER / "encoder")
    embeddings = encoder.encode(table.prompts)
    centered = embeddings - embeddings.mean(axis=0)
    scores, _, _ = np.linalg.svd(centered, full_matrices=False)
    whitened = scores[:, :N_COMPONENTS] * np.sqrt(len(table))
    ones = np.ones((len(table), 1))
    components = np.concatenate([whitened, ones], axis=1).astype(np.float64)
    n_fit = len(table) // 4
    folder = out / f"known_{name}"
    if not (folder / "router.json").exists():
        part = table.take(np.arange(n_fit))
        known = fit(part, encoder, config=FitConfig(), pretrained=start, progress=False)
        Router(known).save_pretrained(folder)
    rows = np.arange(n_fit, len(table))
    unknown = tuple(f"model-{chr(97 + i)}" for i in range(len(table.experts)))
    found = []
    for kind, perception, experts in (
        ("known", Router.from_pretrained(folder).perception, tuple(table.experts)),
        ("unknown", start.perception, unknown),
    ):
        inputs = perception.estimator_inputs(table.prompts)
        positions = perception.locate(inputs).positions.astype(np.float64)
        names = perception.head.category_classifier.names
        kinds = [names[i] for i in inputs.category_probabilities.argmax(axis=1)]
        found.append(
            Scene(
                f"{name} {kind}",
                perception,
                experts,
                positions,
                components,
                kinds,
                table.losses.astype(np.float64),
                None if table.costs is None else table.costs.astype(np.float64),
                rows,
            )
        )
    return found


def policies(scene: Scene, seed: int) -> dict[str, Policy]:
    """Return all policies, which have learned nothing yet."""
    n = len(scene.experts)
    ours = (scene.perception, scene.experts, scene.positions, scene.kinds)
    return {
        "Tryage, no exploration": Tryage(*ours, None),
        "Tryage": Tryage(*ours, Exploration()),
        "observe (before)": Observe(*ours[:3]),
        "epsilon-greedy": EpsilonGreedy(scene.components, n),
        "LinUCB": LinUCB(scene.components, n, alpha=0.5),
        "Thompson, no prior": Thompson(scene.positions, n, 0.4, seed),
        "ParetoBandit": LinUCB(scene.components, n, alpha=0.05, gamma=0.997),
    }


def draw(scene: Scene, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of the requests and of the tested prompts."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(scene.rows)
    test, rest = rows[: len(rows) // 3], rows[len(rows) // 3 :]
    repeats = -(-N_REQUESTS // len(rest))
    requests = np.concatenate([rng.permutation(rest) for _ in range(repeats)])
    return requests[:N_REQUESTS], test


def serve(
    policy: Policy, requests: NDArray[np.intp], losses: NDArray[np.float64], seed: int
) -> list[int]:
    """Let a policy answer requests and learn from what its choices lost; return the choices."""
    rng, choices = np.random.default_rng(10_000 + seed), []
    for i in requests.tolist():
        chances = policy.probabilities(i)
        expert = int(rng.choice(len(chances), p=chances))
        policy.update(i, expert, float(losses[i, expert]))
        choices.append(expert)
    return choices


def full_information(scene: Scene, requests: NDArray[np.intp]) -> Beliefs:
    """Return what a learner knows that saw the losses of all experts on the requests."""
    learner = Learner(scene.perception, Library(scene.experts))
    state, link, noise = learner.state, learner.link, scene.perception.abilities.noise
    for name in scene.experts:
        state.beliefs[name] = first_belief(learner.prior_ability(name))
    for i in requests.tolist():
        position = scene.positions[i]
        for j, name in enumerate(scene.experts):
            belief = state.beliefs[name]
            y = np.array([[belief.predict(state.common, position)[0]]])
            variance = float(link.outcome_variance(y, y, noise)[0, 0])
            own, loading, state.common = update_belief(
                belief, state.common, position, float(scene.losses[i, j]), variance
            )
            state.beliefs[name] = replace(belief, given_common=own, loading=loading)
    return Beliefs(learner, scene.experts, scene.positions)


def measure(scene: Scene, seed: int) -> dict[str, Any]:
    """Return what every policy loses and how soon it leaves and regains a broken expert."""
    requests, test = draw(scene, seed)
    tested = scene.losses[test]
    index = np.arange(len(test))
    single = int(scene.losses[requests].mean(axis=0).argmin())
    full = full_information(scene, requests).predict(test)[0].argmin(axis=1)
    found: dict[str, Any] = {
        "best single": float(tested[:, single].mean()),
        "oracle": float(tested.min(axis=1).mean()),
        "random": float(tested.mean()),
        "full information": float(tested[index, full].mean()),
    }
    for name, policy in policies(scene, seed).items():
        before = float(tested[index, policy.greedy(test)].mean())
        choices = serve(policy, requests, scene.losses, seed)
        found[name] = {
            "before": before,
            "after": float(tested[index, policy.greedy(test)].mean()),
            "requests": float(scene.losses[requests, choices].mean()),
            "false alarms": len(getattr(policy, "alarms", ())),
        }
        if name in FORGETTING:
            found[name] |= drift(scene, policy, choices, test[:200], seed)
    if scene.costs is not None and np.isfinite(scene.costs).all():
        found["ParetoBandit, paced"] = paced(scene, requests, test, seed)
    return found


def paced(
    scene: Scene, requests: NDArray[np.intp], test: NDArray[np.intp], seed: int
) -> dict[str, float]:
    """Return what ParetoBandit loses with its pacer at the mean cost of all experts."""
    if scene.costs is None:
        return {}
    target = float(scene.costs[requests].mean())
    policy = PacedLinUCB(scene.components, scene.costs, target)
    choices = serve(policy, requests, scene.losses, seed)
    return {
        "after": float(scene.losses[test, policy.greedy(test)].mean()),
        "requests": float(scene.losses[requests, choices].mean()),
        "cost": float(scene.costs[requests, choices].mean()) / target,
    }


def bad_luck(scene: Scene, seed: int) -> dict[str, tuple[float, float]]:
    """Return the share of the unlucky expert in the requests, and what they lost."""
    requests, _ = draw(scene, seed)
    unlucky = int(scene.losses[requests].mean(axis=0).argmin())
    every, found = policies(scene, seed), {}
    for name in FORGETTING:
        policy = every[name]
        for i in requests[:10].tolist():
            policy.probabilities(i)
            policy.update(i, unlucky, 1.0)
        choices = np.array(serve(policy, requests, scene.losses, seed))
        loss = float(scene.losses[requests, choices].mean())
        found[name] = (float((choices == unlucky).mean()), loss)
    return found


def share(policy: Policy, expert: int, rows: NDArray[np.intp]) -> float:
    """Return the share of prompts on which an expert looks best."""
    return float((policy.greedy(rows) == expert).mean())


def drift(
    scene: Scene, policy: Policy, choices: list[int], test: NDArray[np.intp], seed: int
) -> dict[str, Any]:
    """Return how many own answers it takes to leave a broken expert, and to come back to it."""
    broken = int(np.bincount(choices[-500:], minlength=len(scene.experts)).argmax())
    before, losses = share(policy, broken, test), scene.losses.copy()
    losses[:, broken] = 1.0
    left = until_left(policy, scene, losses, broken, seed)
    serve(policy, stream(scene, 500, seed), losses, seed)
    back = until_back(policy, scene, broken, (test, REGAINED_SHARE * before), seed)
    return {"share": before, "left": left, "regained": back}


def stream(scene: Scene, n: int, seed: int) -> NDArray[np.intp]:
    """Return the rows of further requests."""
    return np.random.default_rng(20_000 + seed).choice(scene.rows, n)


def until_left(
    policy: Policy, scene: Scene, losses: NDArray[np.float64], expert: int, seed: int
) -> int | None:
    """Return the expert's own answers until it has less than its share of the last requests."""
    choices: list[int] = []
    for i in stream(scene, MAX_DRIFT_REQUESTS, seed).tolist():
        choices += serve(policy, np.array([i]), losses, seed + len(choices))
        last = choices[-LAST_REQUESTS:]
        if len(last) == LAST_REQUESTS and last.count(expert) < LOW_SHARE * LAST_REQUESTS:
            return choices.count(expert)
    return None


def until_back(
    policy: Policy, scene: Scene, expert: int, goal: tuple[NDArray[np.intp], float], seed: int
) -> tuple[int, int] | None:
    """Return the expert's own answers, and all requests, until it has its share again."""
    choices: list[int] = []
    for i in stream(scene, MAX_DRIFT_REQUESTS, seed + 1).tolist():
        choices += serve(policy, np.array([i]), scene.losses, seed + len(choices))
        if choices[-1] == expert and share(policy, expert, goal[0]) >= goal[1]:
            return choices.count(expert), len(choices)
    return None


def print_table(path: Path) -> None:
    """Print means over the seeds, with 95% intervals; of answers the median and the most."""
    cells = [json.loads(line) for line in path.read_text().splitlines()]
    for scene in dict.fromkeys(cell["scene"] for cell in cells):
        found = [cell["found"] for cell in cells if cell["scene"] == scene]
        print(f"\n{scene}, {len(found)} seeds")
        for name, first in found[0].items():
            if isinstance(first, dict):
                print(f"  {name:24} {describe(found, name)}")
            else:
                print(f"  {name:24} {np.mean([one[name] for one in found]):.4f}")


def describe(found: list[dict[str, Any]], name: str) -> str:
    """Return the figures of one policy: tested prompts, distance, requests, and the change."""
    full = np.array([one["full information"] for one in found])
    rows = [one[name] for one in found]
    after = np.array([row["after"] for row in rows])
    gap = 100 * (after - full)
    error = 1.96 * gap.std(ddof=1) / len(gap) ** 0.5 if len(gap) > 1 else np.nan
    requests = np.mean([row["requests"] for row in rows])
    text = (
        f"{np.mean([row.get('before', np.nan) for row in rows]):.4f} -> {after.mean():.4f}, "
        f"{gap.mean():+.2f} +- {error:.2f} points from full information; requests {requests:.4f}"
    )
    if "left" not in rows[0]:
        return text
    back = [row["regained"] for row in rows]
    return (
        f"{text}; left {_spread([row['left'] for row in rows])}, "
        f"regained {_spread([one and one[0] for one in back])} own answers, "
        f"{_spread([one and one[1] for one in back])} requests; "
        f"{sum(row['false alarms'] for row in rows)} false alarms"
    )


def _spread(numbers: list[int | None]) -> str:
    """Return the median and the highest number; None is never."""
    known = [np.inf if number is None else number for number in numbers]
    median, worst = float(np.median(known)), max(known)
    return " / ".join("never" if np.isinf(x) else f"{x:.0f}" for x in (median, worst))


def main() -> None:
    """Measure all cells that are not there yet, one JSON line each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--bad-luck", action="store_true")
    arguments = parser.parse_args()
    if arguments.bad_luck:
        for scene in (scene for name in arguments.sets for scene in scenes(name, arguments.out)):
            for seed in range(arguments.seeds):
                print(scene.name, seed, bad_luck(scene, seed))
        return
    path = arguments.out / "cells.jsonl"
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    keys = {(cell["scene"], cell["seed"]) for cell in done}
    all_scenes = [scene for name in arguments.sets for scene in scenes(name, arguments.out)]
    for seed, scene in itertools.product(range(arguments.seeds), all_scenes):
        if (scene.name, seed) in keys:
            continue
        cell = {"scene": scene.name, "seed": seed, "found": measure(scene, seed)}
        with path.open("a") as file:
            file.write(json.dumps(cell) + "\n")
    print_table(path)


if __name__ == "__main__":
    main()
