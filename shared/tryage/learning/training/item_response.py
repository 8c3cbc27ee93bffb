"""An item-response model: one scale for losses of sets that share only some of their experts.

    logit P(loss) = difficulty_z - discrimination_t * ability_i - deviation_is - deviation_it

for prompt `z` of task `t` in set `s`, and expert `i`. Difficulties vary around those of their task,
tasks around those of their set, and abilities around what facts about the experts predict. So it
also says what an expert would have lost on prompts on which it was never measured. It is the
two-parameter logistic model (Birnbaum, 1968) with a regression of abilities on facts (De Boeck and
Wilson, 2004), at its most probable parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tryage.core.validation import require_extra
from tryage.errors import QTableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tryage.core.arrays import FloatArray, IndexArray
    from tryage.scoring.qtable import QTable

# Standard deviations of the parameters, in logits.
DIFFICULTY_STD = 1.6  # of a prompt within its task
TASK_STD = 1.0  # of a task within its set
ABILITY_STD = 0.15  # of an expert around what its facts predict
SET_STD, TASK_DEVIATION_STD = 0.5, 0.15  # of an expert on a set and on a task
SET_SLOPE_STD, TASK_SLOPE_STD = 0.1, 0.1  # of logarithms of discriminations
FACT_STD = 1.0  # of the weight of a standardized fact

_ITERATIONS, _MEMORY = 300, 20
_CURVATURE = 0.12  # a typical p * (1 - p): scales the parameters alike
_MIN_RATE = 0.02


@dataclass(frozen=True, slots=True)
class ItemResponse:
    """The parameters, in logits.

    `difficulty` is `(n_prompts,)`, `discrimination` `(n_tasks,)`, `ability` `(n_experts,)`,
    `set_deviation` `(n_experts, n_sets)`, `task_deviation` `(n_experts, n_tasks)`; `tasks` and
    `sets` are the task and the set of each prompt, `(n_prompts,)`.
    """

    difficulty: FloatArray
    discrimination: FloatArray
    ability: FloatArray
    set_deviation: FloatArray
    task_deviation: FloatArray
    tasks: IndexArray
    sets: IndexArray

    def expected_losses(self) -> FloatArray:
        """Return what each expert is expected to lose on each prompt, `(n_prompts, n_experts)`."""
        skill = self.discrimination[:, None] * self.ability + self.task_deviation.T
        skill_of_prompt = skill[self.tasks] + self.set_deviation.T[self.sets]
        return np.asarray(1 / (1 + np.exp(skill_of_prompt - self.difficulty[:, None])))


def expected_losses(table: QTable, facts: NDArray[np.floating] | None = None) -> FloatArray:
    """Return the expected losses of a table, also in its gaps, `(n_prompts, n_experts)`.

    For tables whose sources share few experts, and whose losses are noisy: right or wrong. `facts`
    and errors are those of `fit_table`.
    """
    return fit_table(table, facts).expected_losses()


def fit_table(table: QTable, facts: NDArray[np.floating] | None = None) -> ItemResponse:
    """Fit the model to a table: its sources are the sets, their categories the tasks.

    Args:
        table: Losses in [0, 1].
        facts: Numbers about each expert `(n_experts, n_facts)`; NaN where one is unknown.

    Raises:
        QTableError: a loss is outside [0, 1].
        MissingExtraError: SciPy is not installed.
    """
    if np.nanmin(table.losses) < 0 or np.nanmax(table.losses) > 1:
        raise QTableError(
            f"losses from {np.nanmin(table.losses):g} to {np.nanmax(table.losses):g}; an "
            "item-response model needs losses from 0 to 1: scale them, or leave the model out"
        )
    sources = table.sources or (None,) * len(table)
    pairs = tuple(zip(sources, table.categories or (None,) * len(table), strict=True))
    return fit_item_response(table.losses, _number(pairs), _number(sources), facts)


def _number(labels: Sequence[object]) -> IndexArray:
    """Return a number from zero for each label, `(n,)`: equal labels have the same one."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], np.intp)


def fit_item_response(
    losses: NDArray[np.floating],
    tasks: IndexArray,
    sets: IndexArray,
    facts: NDArray[np.floating] | None = None,
) -> ItemResponse:
    """Find the most probable parameters.

    Args:
        losses: In [0, 1], `(n_prompts, n_experts)`, with gaps (NaN).
        tasks: The task of each prompt, from zero, `(n_prompts,)`; a task belongs to one set.
        sets: The set of each prompt, from zero, `(n_prompts,)`.
        facts: Numbers about each expert `(n_experts, n_facts)`; NaN where one is unknown.

    Raises:
        MissingExtraError: SciPy is not installed.
    """
    require_extra("scipy", "evaluate")
    from scipy.optimize import minimize

    cells = _Cells.of(losses, tasks, sets)
    inputs = standardize_facts(facts, losses.shape[1])
    layout = _Layout.of(cells, inputs.shape[1])
    scales = 1 / np.sqrt(_curvatures(layout, cells, inputs))

    def objective(scaled: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = _negative_log_posterior(scaled * scales, layout, cells, inputs)
        return value, gradient * scales

    found = minimize(
        objective,
        _initial(layout, cells) / scales,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _ITERATIONS, "maxcor": _MEMORY},
    )
    parameters = layout.split(found.x * scales)
    n_experts = losses.shape[1]
    return ItemResponse(
        parameters.difficulty,
        np.exp(parameters.log_slope),
        parameters.ability,
        parameters.set_deviation.reshape(n_experts, -1),
        parameters.task_deviation.reshape(n_experts, -1),
        tasks,
        sets,
    )


def standardize_facts(facts: NDArray[np.floating] | None, n_experts: int) -> FloatArray:
    """Return facts with mean zero and deviation one, and a column for each that some lack.

    An unknown fact counts as the mean; its column says that it is unknown.
    """
    if facts is None or not facts.size:
        return np.zeros((n_experts, 0))
    is_unknown = np.isnan(facts)
    known = np.where(is_unknown, 0.0, facts)
    means = known.sum(axis=0) / np.maximum((~is_unknown).sum(axis=0), 1)
    columns = np.concatenate([np.where(is_unknown, means, facts), is_unknown], axis=1)
    stds = columns.std(axis=0)
    columns, stds = columns[:, stds > 0], stds[stds > 0]
    return np.asarray((columns - columns.mean(axis=0)) / stds)


class _Parameters(NamedTuple):
    """One array per kind of parameter, in the order of the vector that is optimized."""

    difficulty: FloatArray
    task_difficulty: FloatArray
    set_difficulty: FloatArray
    ability: FloatArray
    fact_weight: FloatArray
    set_deviation: FloatArray
    task_deviation: FloatArray
    log_slope: FloatArray
    set_log_slope: FloatArray


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where each kind of parameter stands in one vector."""

    sizes: tuple[int, ...]

    @staticmethod
    def of(cells: _Cells, n_facts: int) -> _Layout:
        n_tasks, n_sets, n_experts = len(cells.set_of_task), cells.n_sets, cells.n_experts
        return _Layout(
            (
                *(cells.n_prompts, n_tasks, n_sets, n_experts, n_facts),
                *(n_experts * n_sets, n_experts * n_tasks, n_tasks, n_sets),
            )
        )

    def split(self, vector: FloatArray) -> _Parameters:
        return _Parameters(*np.split(vector, np.cumsum(self.sizes)[:-1]))


@dataclass(frozen=True, slots=True)
class _Cells:
    """The measured losses, one row each, and the indices of their parameters."""

    loss: FloatArray
    prompt: IndexArray
    expert: IndexArray
    task: IndexArray
    set: IndexArray
    expert_set: IndexArray
    expert_task: IndexArray
    task_of_prompt: IndexArray
    set_of_task: IndexArray
    n_sets: int
    n_experts: int

    @property
    def n_prompts(self) -> int:
        return len(self.task_of_prompt)

    @staticmethod
    def of(losses: NDArray[np.floating], tasks: IndexArray, sets: IndexArray) -> _Cells:
        prompt, expert = np.nonzero(~np.isnan(losses))
        set_of_task = np.zeros(int(tasks.max()) + 1, np.intp)
        set_of_task[tasks] = sets
        n_sets, task = int(sets.max()) + 1, tasks[prompt]
        return _Cells(
            losses[prompt, expert].astype(np.float64),
            *(prompt, expert, task, sets[prompt]),
            expert * n_sets + sets[prompt],
            expert * len(set_of_task) + task,
            *(tasks, set_of_task, n_sets, losses.shape[1]),
        )


def _initial(layout: _Layout, cells: _Cells) -> FloatArray:
    """Start where every prompt of a set is as difficult as the set's mean loss."""
    counts = np.bincount(cells.set, minlength=cells.n_sets)
    rates = np.bincount(cells.set, cells.loss, cells.n_sets) / np.maximum(counts, 1)
    rates = rates.clip(_MIN_RATE, 1 - _MIN_RATE)
    of_set = np.log(rates / (1 - rates))
    of_task = of_set[cells.set_of_task]
    vector = np.zeros(sum(layout.sizes))
    start = layout.split(vector)
    start.set_difficulty[:], start.task_difficulty[:] = of_set, of_task
    start.difficulty[:] = of_task[cells.task_of_prompt]
    return vector


def _negative_log_posterior(
    vector: FloatArray, layout: _Layout, cells: _Cells, inputs: FloatArray
) -> tuple[float, FloatArray]:
    """Return the value and the gradient of what is minimized."""
    at = layout.split(vector)
    gradient = np.zeros_like(vector)
    slopes = layout.split(gradient)
    value = _add_likelihood(at, slopes, cells)
    tasks, of_set = cells.task_of_prompt, cells.set_of_task
    n_tasks, n_sets = len(of_set), cells.n_sets

    pulls = _pull(at.difficulty - at.task_difficulty[tasks], DIFFICULTY_STD)
    slopes.difficulty[:] += pulls.slope
    slopes.task_difficulty[:] -= np.bincount(tasks, pulls.slope, n_tasks)
    value += pulls.value
    pulls = _pull(at.task_difficulty - at.set_difficulty[of_set], TASK_STD)
    slopes.task_difficulty[:] += pulls.slope
    slopes.set_difficulty[:] -= np.bincount(of_set, pulls.slope, n_sets)
    value += pulls.value
    pulls = _pull(at.ability - inputs @ at.fact_weight, ABILITY_STD)
    slopes.ability[:] += pulls.slope
    slopes.fact_weight[:] -= inputs.T @ pulls.slope
    value += pulls.value
    pulls = _pull(at.log_slope - at.set_log_slope[of_set], TASK_SLOPE_STD)
    slopes.log_slope[:] += pulls.slope
    slopes.set_log_slope[:] -= np.bincount(of_set, pulls.slope, n_sets)
    value += pulls.value
    for name, std in (
        ("fact_weight", FACT_STD),
        ("set_deviation", SET_STD),
        ("task_deviation", TASK_DEVIATION_STD),
        ("set_log_slope", SET_SLOPE_STD),
    ):
        pulls = _pull(getattr(at, name), std)
        getattr(slopes, name)[:] += pulls.slope
        value += pulls.value
    return value, gradient


class _Pull(NamedTuple):
    """The negative logarithm of a normal density, and its slope."""

    value: float
    slope: FloatArray


def _pull(deviation: FloatArray, std: float) -> _Pull:
    return _Pull(float((deviation**2).sum()) / (2 * std**2), deviation / std**2)


def _add_likelihood(at: _Parameters, slopes: _Parameters, cells: _Cells) -> float:
    """Add the slopes of the cross-entropy of the measured losses, and return its sum."""
    discrimination = np.exp(at.log_slope)[cells.task]
    skill = discrimination * at.ability[cells.expert]
    logit = at.difficulty[cells.prompt] - skill
    logit -= at.set_deviation[cells.expert_set] + at.task_deviation[cells.expert_task]
    excess = 1 / (1 + np.exp(-logit)) - cells.loss
    slopes.difficulty[:] += np.bincount(cells.prompt, excess, cells.n_prompts)
    slopes.ability[:] -= np.bincount(cells.expert, excess * discrimination, cells.n_experts)
    slopes.set_deviation[:] -= np.bincount(cells.expert_set, excess, len(at.set_deviation))
    slopes.task_deviation[:] -= np.bincount(cells.expert_task, excess, len(at.task_deviation))
    slopes.log_slope[:] -= np.bincount(cells.task, excess * skill, len(at.log_slope))
    return float((np.logaddexp(0, logit) - cells.loss * logit).sum())


def _curvatures(layout: _Layout, cells: _Cells, inputs: FloatArray) -> FloatArray:
    """Return how strongly each parameter is held, roughly: it scales the steps of the search."""
    vector = np.ones(sum(layout.sizes))
    held = layout.split(vector)

    def count(index: IndexArray, like: FloatArray) -> FloatArray:
        return np.asarray(_CURVATURE * np.bincount(index, minlength=len(like)))

    held.difficulty[:] = count(cells.prompt, held.difficulty) + DIFFICULTY_STD**-2
    in_task = np.bincount(cells.task_of_prompt, minlength=len(cells.set_of_task))
    held.task_difficulty[:] = 0.3 * in_task / DIFFICULTY_STD**2 + TASK_STD**-2
    held.set_difficulty[:] = np.bincount(cells.set_of_task, minlength=cells.n_sets) / TASK_STD**2
    held.ability[:] = 0.3 * count(cells.expert, held.ability) + ABILITY_STD**-2
    held.fact_weight[:] = 0.3 * len(inputs) / ABILITY_STD**2
    held.set_deviation[:] = count(cells.expert_set, held.set_deviation) + SET_STD**-2
    held.task_deviation[:] = count(cells.expert_task, held.task_deviation) + TASK_DEVIATION_STD**-2
    held.log_slope[:] = 0.5 * count(cells.task, held.log_slope) + TASK_SLOPE_STD**-2
    held.set_log_slope[:] = SET_SLOPE_STD**-2
    return vector
