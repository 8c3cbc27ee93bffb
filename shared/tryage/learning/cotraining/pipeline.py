"""Co-training from beginning to end: split prompts, train experts, fit their router, test both."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.constraints import DEFAULT_CONSTRAINTS, Constraint, RequestBatch
from tryage.core.library import Library
from tryage.core.objective import compute_routing_loss
from tryage.errors import InputError
from tryage.files import write_text
from tryage.learning.cotraining.loop import CotrainConfig, cotrain
from tryage.learning.cotraining.protocols import PromptPool, embed_pool
from tryage.learning.cotraining.specialization import (
    Specialization,
    measure_losses,
    plot_specialization,
    summarize_specialization,
)
from tryage.learning.training.trainer import FitConfig, fit
from tryage.router import Router
from tryage.scoring.qtable import QTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tryage.core.arrays import FloatArray, IndexArray
    from tryage.core.preferences import Preferences
    from tryage.learning.cotraining.loop import TrainingHistory
    from tryage.learning.cotraining.protocols import Learner, Mode
    from tryage.learning.cotraining.student import Student
    from tryage.perception.encoder import Encoder
    from tryage.scoring.measurement import Prompt

_MIN_PROMPTS = 10  # prompts that a router can be fitted on

_UNNAMED_DOMAIN = "unnamed"  # of prompts without a category


@dataclass(frozen=True)
class PromptSplits:
    """Prompts to train the experts on, to fit the router on, and to test both on."""

    expert_train: tuple[Prompt, ...]
    router_train: tuple[Prompt, ...]
    test: tuple[Prompt, ...]


def split_prompts(prompts: Sequence[Prompt]) -> PromptSplits:
    """Reserve a tenth of the prompts to fit the router on, and a tenth as test, by their text.

    Raises:
        InputError: there are too few prompts for the two tenths to be of use.
    """
    digits = [
        int(blake2b(prompt.text.encode(), digest_size=8).hexdigest(), 16) % 10 for prompt in prompts
    ]
    digit_pairs = list(zip(digits, prompts, strict=True))
    splits = PromptSplits(
        tuple(prompt for digit, prompt in digit_pairs if digit > 1),
        tuple(prompt for digit, prompt in digit_pairs if digit == 0),
        tuple(prompt for digit, prompt in digit_pairs if digit == 1),
    )
    small_splits = splits.router_train, splits.test
    if min(len({prompt.text for prompt in split}) for split in small_splits) < _MIN_PROMPTS:
        raise InputError(
            f"{len(prompts)} prompts leave {len(small_splits[0])} to fit the router on and "
            f"{len(small_splits[1])} to judge; expected at least {_MIN_PROMPTS} each: give some "
            "hundreds."
        )
    return splits


@dataclass(frozen=True)
class TrainedSystem:
    """Trained experts, their router, the history of training, and how the experts specialized."""

    students: tuple[Student, ...]
    router: Router
    history: TrainingHistory
    specialization: Specialization

    def save(self, folder: str | Path) -> None:
        """Write the experts, the router, the history, and the specialization with its picture."""
        root = Path(folder)
        for student in self.students:
            student.save_pretrained(root / "experts" / student.name)
        self.router.save_pretrained(root / "router")
        lines = [json.dumps(asdict(entry)) + "\n" for entry in self.history.entries]
        write_text(root / "rounds.jsonl", "".join(lines))
        specialization_text = json.dumps(
            self.specialization.to_dict(), indent=1, ensure_ascii=False
        )
        write_text(root / "specialisation.json", specialization_text + "\n")
        plot_specialization(self.specialization, root / "specialisation.png")


def train_system(  # noqa: PLR0913 - experts, prompts, mode, config and encoder; the rest has defaults
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
    """Train experts with a mode, fit a router to them, and measure how they specialized.

    Args:
        students: The experts; they learn in place.
        splits: The prompts, see `split_prompts`.
        make_mode: Makes the mode from the number of experts and the number of features, as the
            classes `Decoupled` and `Joint` do.
        config: How much the experts learn, and in what steps.
        encoder: Embeds the prompts; it is not trained.
        pool: The prompts to train on, if their features are known already.
        preferences: Weights of constraints, during training and for the router.
        folder: For checkpoints, see `cotrain`.
        progress: Whether to show progress bars.

    Raises:
        InputError, PersistenceError, KeyboardInterrupt: as in `cotrain` and `constraint_penalties`.
    """
    texts = [prompt.text for prompt in splits.test]
    losses_before = measure_losses(students, texts)
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
    names, losses_after = [student.name for student in students], measure_losses(students, texts)
    specialization = summarize_specialization(
        names, domains, losses_before, losses_after, _chosen_experts(router, texts, losses_after)
    )
    return TrainedSystem(tuple(students), router, history, specialization)


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
            "Co-training takes weights only: an expert that fails a requirement could never learn. "
            "Give only experts that meet the requirements."
        )
    zero_losses = np.zeros((len(pool), len(library)))
    request = RequestBatch(np.asarray(pool.tokens, np.float64))
    routing_loss = compute_routing_loss(
        zero_losses,
        library,
        preferences.weights,
        constraints,
        request,
        answer_value=preferences.answer_value,
        latency_value=preferences.latency_value,
    )
    return np.asarray(routing_loss.total, np.float64)


def fit_router(  # noqa: PLR0913 - experts, prompts and encoder; the rest has defaults
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
    """Fit a perception to the experts' current losses, and return its router.

    `texts` are prompts that no expert has learned from: on its own prompts an expert looks better
    than it is. Prompts on which an expert has no loss are left out.

    Raises:
        QTableError: fewer than ten prompts are left.
    """
    losses = measure_losses(learners, texts)
    table = QTable(
        tuple(texts),
        tuple(learner.name for learner in learners),
        losses.astype(np.float32),
        categories=None if categories is None else tuple(categories),
    ).take(np.flatnonzero(~np.isnan(losses).any(axis=1)))
    perception = fit(table, encoder, config=FitConfig(seed=seed), progress=progress)
    return Router(perception, library, preferences=preferences)


def _chosen_experts(router: Router, texts: Sequence[str], losses: FloatArray) -> IndexArray:
    """Return the expert that the router chooses for each text, `(n_texts,)`; 0 without a loss."""
    measured_rows = np.flatnonzero(~np.isnan(losses).any(axis=1)).tolist()
    decisions = router.route_batch([texts[row] for row in measured_rows])
    chosen_experts = np.zeros(len(texts), np.intp)
    chosen_experts[measured_rows] = [
        router.library.index(decision.expert.name) for decision in decisions
    ]
    return chosen_experts
