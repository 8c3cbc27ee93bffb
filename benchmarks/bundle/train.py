"""Train the bundled routers on the sets whose licence allows it, and measure them on the rest.

    python benchmarks/bundle/train.py ENCODER_FOLDER --out shared/tryage/perception/bundled

A fifth of the prompts, by a hash of the text, is held out; the figures are from these prompts.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from anchored import with_anchors
from datasets import PERMISSIVE, load
from names import canonical, library
from prior import with_prior

from tryage import QTable, Router
from tryage.learning.training.estimators import form_ids
from tryage.learning.training.item_response import fit_item_response, fit_table
from tryage.learning.training.trainer import FitConfig, fit
from tryage.learning.training.uncertainty import calibrate_uncertainty
from tryage.models.lookup import look_up
from tryage.perception.encoder import StaticEncoder
from tryage.perception.persistence import load_encoder
from tryage.perception.preferred import MEASURE
from tryage.perception.typical_prompts import TYPICAL_PROMPTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage.core.expert import Expert
    from tryage.core.library import Library
    from tryage.perception.encoder import Encoder
    from tryage.perception.model import LearnedPerception

ADEQUATE = tuple(name for name in PERMISSIVE if name != "zoonk_battles")  # that one: preference
MANY_TASKS = ("routellm_pair", "zoonk_tasks")  # their sources are kinds of tasks
HELD_OUT_ONE_IN = 5  # prompts
FIGURES = "figures.json"
PER_CELL = ("losses", "costs", "latencies", "output_tokens")


def canonical_table(name: str) -> QTable:
    """Read a set with canonical names of experts, and the set's name before each category."""
    table = load(name, permissive=True)
    names = [canonical(name, spelling) for spelling in table.experts]
    experts = tuple(dict.fromkeys(names))
    merged = {
        field: np.stack([_first(matrix, names, expert) for expert in experts], axis=1)
        for field in PER_CELL
        if (matrix := getattr(table, field)) is not None
    }
    labels = table.categories or (None,) * len(table)
    return QTable(
        prompts=table.prompts,
        experts=experts,
        categories=tuple(f"{name}: {label}" for label in labels),
        sources=(name,) * len(table),
        **merged,
    )


def joint_table(names: Sequence[str] = ADEQUATE) -> QTable:
    """Read all sets that the bundled router may learn from as one table, with canonical names.

    Experts that were measured only on what it must not learn from are left out.
    """
    table = QTable.concat([canonical_table(name) for name in names])
    is_measured = zip(table.experts, table.measured.any(axis=0), strict=True)
    return table.select([name for name, known in is_measured if known])


def known_library(measured: Sequence[str]) -> Library:
    """Return the experts that were measured, and those that public tables know."""
    kept = set(measured)
    names = [one.name for one in library() if one.name in kept or look_up(one.name) is not None]
    return library().subset(names)


def with_kinds(table: QTable) -> QTable:
    """Replace the tasks of sets with very many by their kinds: too few prompts tell them apart."""
    kinds: dict[str | None, str] = {}
    for name in MANY_TASKS:
        loaded = load(name, permissive=True)
        pairs = zip(loaded.categories or (), loaded.sources or (), strict=True)
        kinds |= {f"{name}: {task}": f"{name}: {kind}" for task, kind in pairs}
    categories = tuple(kinds.get(task, task) for task in table.categories or ())
    return dataclasses.replace(table, categories=categories)


def _first(matrix: NDArray[np.float32], names: list[str], expert: str) -> NDArray[np.float32]:
    """Return per prompt the first measured serving of an expert, `(n_prompts,)`."""
    column = np.full(len(matrix), np.nan, np.float32)
    for i in (i for i, name in enumerate(names) if name == expert):
        column = np.where(np.isnan(column), matrix[:, i], column)
    return column


def facts(experts: Sequence[str]) -> NDArray[np.float64]:
    """Return what tells how able an expert is, `(n_experts, n_facts)`, NaN where it is unknown.

    The year of its release, the logarithms of its price and size, an index of its published
    results, and whether it reasons at length.
    """
    return np.array([_facts(library()[name]) for name in experts])


def _facts(expert: Expert) -> list[float]:
    released, price, size = expert.released, expert.output_price, expert.parameters
    results = expert.metadata.get("results", {})
    return [
        released.toordinal() / 365.25 if released else np.nan,
        np.log10(price) if price else np.nan,
        np.log10(size) if size else np.nan,
        results.get("index", np.nan),
        0.0 if expert.effort in {None, "none", "minimal"} else 1.0,
    ]


def compared_losses(experts: Sequence[str]) -> NDArray[np.float32]:
    """Return the mean loss of each expert in blind comparisons, `(n_experts,)`.

    Experts that were not compared get what facts about those that were lead to expect.
    """
    battles = canonical_table("zoonk_battles")
    names = [*experts, *(name for name in battles.experts if name not in set(experts))]
    losses = np.full((len(battles), len(names)), np.nan, np.float32)
    losses[:, [names.index(name) for name in battles.experts]] = battles.losses
    one_set = np.zeros(len(battles), np.intp)
    fitted = fit_item_response(losses, one_set, one_set, facts(names))
    return fitted.expected_losses().mean(axis=0)[: len(experts)].astype(np.float32)


def prompt_weights(table: QTable) -> NDArray[np.float64]:
    """Return how much each prompt counts, `(n_prompts,)`: a task by the root of its size.

    Otherwise twelve thousand questions of MMLU would hide everyday tasks of a dozen prompts.
    """
    counts = Counter(table.categories)
    weights = np.array([counts[category] ** -0.5 for category in table.categories or ()])
    return np.asarray(weights / weights.mean())


def held_out(table: QTable) -> NDArray[np.bool_]:
    """Mark the held-out prompts, `(n_prompts,)`."""
    digests = [blake2b(text.encode(), digest_size=4).digest() for text in table.prompts]
    return np.array([int.from_bytes(digest, "big") % HELD_OUT_ONE_IN == 0 for digest in digests])


def with_known_prompts(perception: LearnedPerception) -> LearnedPerception:
    """Count everyday prompts as a third of the known kinds, and trust all prompts alike.

    The sets have few everyday prompts, and the router is for all. A short one such as "hi" is as
    far from the training prompts as noise is, so that typicality must not widen the std here.
    """
    uncertainty = perception.uncertainty
    if uncertainty is None:
        return perception
    inputs = perception.estimator_inputs(TYPICAL_PROMPTS)
    count = max(1, len(uncertainty.similarities) // len(TYPICAL_PROMPTS) // 2)
    known = np.repeat(inputs.highest_similarities, count)
    similarities = np.sort(np.concatenate([uncertainty.similarities, known]))
    return perception.replace(
        uncertainty=dataclasses.replace(uncertainty, similarities=similarities, unfamiliar_std=0.0)
    )


def figures(router: Router, train: QTable, test: QTable) -> dict[str, dict[str, float]]:
    """Return mean scores per set: routed among the set's experts, and of the baselines."""
    found = {}
    for name in ADEQUATE:
        rows = np.array([source == name for source in test.sources or ()])
        part, seen = test.take(rows), train.take([s == name for s in train.sources or ()])
        names = [e for e, known in zip(seen.experts, seen.measured.any(0), strict=True) if known]
        part, seen = part.select(names), seen.select(names)
        predicted = router.perception.predict(part.prompts).losses
        columns = [router.perception.experts.index(expert) for expert in names]
        chosen = np.where(part.measured, predicted[:, columns], np.inf).argmin(axis=1)
        covered = seen.measured.mean(axis=0) >= 0.95
        if not covered.any():  # zoonk_tasks: no model ran on all tasks, so none is the best single
            continue
        single = int(np.where(covered, np.nanmean(seen.losses, axis=0), np.inf).argmin())
        kept = part.measured[:, single]
        scores = 1 - part.losses[kept]
        routed = scores[np.arange(len(scores)), chosen[kept]]
        found[name] = {
            "prompts": len(scores),
            "experts": len(names),
            "routed": float(routed.mean()),
            "best_single": float(scores[:, single].mean()),
            "random": float(np.nanmean(scores, axis=1).mean()),
            "oracle": float(np.nanmax(scores, axis=1).mean()),
        }
    return found


def train_perception(
    table: QTable, encoder: Encoder, checkpoint: Path | None = None
) -> LearnedPerception:
    """Train on a joint table: experts of all sets on one scale, kinds of tasks, and anchors."""
    if isinstance(encoder, StaticEncoder):  # capitals and punctuation tell nothing of difficulty
        encoder = encoder.without_tokens(form_ids(encoder))
    fitted = fit_table(table, facts(table.experts))
    anchored = with_anchors(with_kinds(table), fitted, prompt_weights(table))
    return fit(
        anchored.table,
        encoder,
        config=FitConfig(rank=32, tfidf_dim=256, form=False),
        expected_losses=lambda _: anchored.expected,
        prompt_weights=anchored.weights,
        checkpoint=checkpoint,
    )


def main() -> None:
    """Train, measure, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    table = joint_table()
    is_test = held_out(table)
    train, test = table.take(~is_test), table.take(is_test)
    perception = train_perception(train, load_encoder(options.encoder), Path("build/bundle"))
    perception = with_known_prompts(calibrate_uncertainty(perception, test))
    perception.forecasts.pop("costs", None)  # the sets have old prices; Expert has the present ones
    kinds = perception.head.category_classifier.names
    perception.forecasts[MEASURE] = np.tile(compared_losses(perception.experts), (len(kinds), 1))
    router = Router(perception, known_library(perception.experts))
    found: dict[str, Any] = figures(router, train, test)
    router.perception.report = {**perception.report, **_flat(found)}
    router.save_pretrained(options.out)
    # from the stored abilities, so that the same prior can be fitted again from the saved router
    with_prior(Router.from_pretrained(options.out)).save_pretrained(options.out)
    (options.out / FIGURES).write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    for name, row in found.items():
        print(name, {key: round(value, 4) for key, value in row.items()})


def _flat(found: dict[str, dict[str, float]]) -> dict[str, float]:
    shown = ("routed", "best_single", "oracle")
    return {f"held_out {name} {key}": row[key] for name, row in found.items() for key in shown}


if __name__ == "__main__":
    main()
