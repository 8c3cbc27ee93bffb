"""Experts and their router from beginning to end: prompts in, a folder that routes out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.constraints import DEFAULT_CONSTRAINTS, Constraint, RequestBatch
from tryage.core.objective import compute_routing_loss
from tryage.errors import InputError
from tryage.learning.cotraining.loop import CotrainConfig, cotrain
from tryage.learning.cotraining.protocols import PromptPool, embed_pool
from tryage.learning.cotraining.specialization import (
    Specialization,
    measure_losses,
    plot_specialization,
    summarize_specialization,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tryage.core.arrays import FloatArray, IndexArray
    from tryage.core.library import Library
    from tryage.core.preferences import Preferences
    from tryage.learning.cotraining.loop import TrainingHistory
    from tryage.learning.cotraining.protocols import Learner, Mode
    from tryage.learning.cotraining.student import Student
    from tryage.learning.scoring.measurement import Prompt
    from tryage.perception.encoder import Encoder
    from tryage.router import Router

_MIN_PROMPTS = 10  # prompts that a router can be fitted on

_UNNAMED_DOMAIN = "unnamed"  # the domain of prompts that name none


@dataclass(frozen=True)
class PromptSplits:
    """Prompts that the experts learn from, that the router is fitted on, and that judge both."""

    expert_train: tuple[Prompt, ...]
    router_train: tuple[Prompt, ...]
    test: tuple[Prompt, ...]


def split_prompts(prompts: Sequence[Prompt]) -> PromptSplits:
    """Keep a tenth of the prompts to fit the router on, and a tenth to judge, by their text.

    Raises:
        InputError: too few prompts for the tenths to be of use.
    """
    digits = [int(blake2b(p.text.encode(), digest_size=8).hexdigest(), 16) % 10 for p in prompts]
    pairs = list(zip(digits, prompts, strict=True))
    parts = PromptSplits(
        tuple(p for digit, p in pairs if digit > 1),
        tuple(p for digit, p in pairs if digit == 0),
        tuple(p for digit, p in pairs if digit == 1),
    )
    if min(len({p.text for p in part}) for part in (parts.router_train, parts.test)) < _MIN_PROMPTS:
        raise InputError(
            f"{len(prompts)} prompts leave {len(parts.router_train)} to fit the router on and "
            f"{len(parts.test)} to judge; expected at least {_MIN_PROMPTS} each: give some hundreds."
        )
    return parts


@dataclass(frozen=True)
class TrainedSystem:
    """Experts that have learned, their router, and what became of them."""

    students: tuple[Student, ...]
    router: Router
    history: TrainingHistory
    specialization: Specialization

    def save(self, folder: str | Path) -> None:
        """Write the experts, the router, what each round did, and who does what, with a picture."""
        place = Path(folder)
        for student in self.students:
            student.save_pretrained(place / "experts" / student.name)
        self.router.save_pretrained(place / "router")
        rounds = [json.dumps(asdict(entry)) + "\n" for entry in self.history.entries]
        (place / "rounds.jsonl").write_text("".join(rounds), "utf-8")
        figures = json.dumps(self.specialization.to_dict(), indent=1, ensure_ascii=False)
        (place / "specialisation.json").write_text(figures + "\n", "utf-8")
        plot_specialization(self.specialization, place / "specialisation.png")


def train_system(  # noqa: PLR0913 - who, on what, how, read by whom; the rest has defaults
    students: Sequence[Student],
    splits: PromptSplits,
    make_mode: Callable[[int, int], Mode],
    config: CotrainConfig,
    encoder: Encoder,
    *,
    pool: PromptPool | None = None,
    preferences: Preferences | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> TrainedSystem:
    """Train experts with their router, fit the router that is left, and see who does what.

    Args:
        students: The experts; they learn in place.
        parts: The prompts, see `split`.
        mode: Makes the mode from the number of experts and the width of the features, as the
            classes `Decoupled` and `Joint` do.
        settings: How much, and in which portions.
        encoder: Reads the prompts; it stays as it is.
        pool: The prompts to learn from, where they have been read already.
        preferences: Weights that routing heeds, while training and after.
        folder: For checkpoints, see `cotrain`.
        progress: Whether to show progress bars.

    Raises:
        InputError, PersistenceError, KeyboardInterrupt: as in `cotrain` and `weighted`.
    """
    from tryage.core.library import Library

    texts = [prompt.text for prompt in splits.test]
    before = measure_losses(students, texts)
    pool = pool or embed_pool([prompt.text for prompt in splits.expert_train], encoder)
    library = Library([student.expert for student in students])
    penalties = None if preferences is None else constraint_penalties(pool, library, preferences)
    history = cotrain(
        students,
        pool,
        make_mode(len(students), pool.features.shape[1]),
        config,
        penalties=penalties,
        folder=folder,
        progress=progress,
    )
    router = fit_router(
        students,
        [prompt.text for prompt in splits.router_train],
        encoder,
        library=library,
        preferences=preferences,
        seed=config.seed,
        progress=progress,
    )
    domains = [prompt.category or _UNNAMED_DOMAIN for prompt in splits.test]
    names, after = [student.name for student in students], measure_losses(students, texts)
    found = summarize_specialization(
        names, domains, before, after, _chosen_experts(router, texts, after)
    )
    return TrainedSystem(tuple(students), router, history, found)


def _chosen_experts(router: Router, texts: Sequence[str], losses: FloatArray) -> IndexArray:
    """Return whom the router sends each text to, `(n_texts,)`; texts without a loss to nobody."""
    whole = np.flatnonzero(~np.isnan(losses).any(axis=1)).tolist()
    decisions = router.route_batch([texts[row] for row in whole])
    chosen = np.zeros(len(texts), np.intp)
    chosen[whole] = [router.library.index(decision.expert.name) for decision in decisions]
    return chosen


def constraint_penalties(
    pool: PromptPool,
    library: Library,
    preferences: Preferences,
    constraints: Mapping[str, Constraint] = DEFAULT_CONSTRAINTS,
) -> FloatArray:
    """Return the weighted constraints of every prompt and expert, `(n_prompts, n_experts)`.

    Raises:
        InputError: a weight names no constraint, or there are requirements.
    """
    if preferences.requirements:
        raise InputError(
            "Co-training knows weights only: an expert that requirements shut out cannot learn. "
            "Give the experts that meet them."
        )
    nothing = np.zeros((len(pool), len(library)))
    request = RequestBatch(np.asarray(pool.tokens, np.float64))
    return np.asarray(
        compute_routing_loss(nothing, library, preferences.weights, constraints, request).total,
        np.float64,
    )


def fit_router(  # noqa: PLR0913 - experts, prompts and reader; the rest has defaults
    learners: Sequence[Learner],
    texts: Sequence[str],
    encoder: Encoder,
    *,
    categories: Sequence[str | None] | None = None,
    library: Library | None = None,
    preferences: Preferences | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Router:
    """Fit the ability-space perception to what the experts lose now.

    `texts` are prompts that no expert has learned from, so that an expert's own prompts do not make
    it look better than it is. Those that some expert has no loss on are left out.

    Raises:
        QTableError: fewer than ten prompts are left.
    """
    from tryage.learning.qtable import QTable
    from tryage.learning.training.trainer import FitConfig, fit
    from tryage.router import Router

    losses = measure_losses(learners, texts)
    table = QTable(
        tuple(texts),
        tuple(learner.name for learner in learners),
        losses.astype(np.float32),
        categories=None if categories is None else tuple(categories),
    ).take(np.flatnonzero(~np.isnan(losses).any(axis=1)))
    perception = fit(table, encoder, config=FitConfig(seed=seed), progress=progress)
    return Router(perception, library, preferences=preferences)
