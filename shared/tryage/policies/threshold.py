"""Threshold: the strong expert where the predicted gain is high, and the weak one elsewhere."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.choice import NO_EXPERT, first_by_keys
from tryage.core.policy import Policy, PolicyChoice, PolicyStage
from tryage.core.ranking import Ranking
from tryage.core.request import check_prompts
from tryage.core.validation import check_integer, check_number, check_strings
from tryage.errors import InputError
from tryage.learning.evaluation.metrics import apgr, cpt
from tryage.policies.inputs import check_router, check_table, expected_names
from tryage.policies.share import MIN_WINDOW, ShareTracker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tryage.core.arrays import BoolArray, Float64Array, FloatArray, IndexArray
    from tryage.core.decision import Decision
    from tryage.core.library import Library
    from tryage.core.policy import PolicyBatch
    from tryage.core.ranking import RankedExpert
    from tryage.router import Router
    from tryage.scoring.qtable import QTable

_CHUNK = 1024  # prompts that are predicted at a time


class Threshold(Policy):
    """Calls the strong expert for the prompts with the highest predicted gain, as RouteLLM does.

    The gain is the predicted loss of the weak expert less that of the strong one. On our sets it
    orders the prompts better than RouteLLM's win probability, which is the gain divided by its
    standard deviation. Each side is an expert or a tier, a list of experts of which the one with
    the lowest total counts. Where only one side meets the requirements, it answers.

    With a `share`, the threshold follows the traffic: of any `window` calls in a row the strong
    side gets its share within two points, whatever the prompts are, and however often gains are
    equal (`ShareTracker`). Calls count that are acted on, by the expert that is called in the end.
    Each process keeps the share of its own calls, so all of them together keep it, too. A
    pickled copy begins in the same state and goes on by itself.

    Args:
        strong: The name of the expert, or of all experts of the tier.
        weak: The same for the other side.
        share: The share of calls that the strong side gets, in [0, 1].
        threshold: A fixed gain above which the strong side is called, in place of a share.
        window: Calls over which the share is kept. With a longer one, more hard prompts in a row
            can go to the strong side.

    Raises:
        InputError: both or none of `share` and `threshold`, a value out of range, no name, or a
            name on both sides.
    """

    stage = PolicyStage.CHOICE

    def __init__(
        self,
        strong: str | Sequence[str],
        weak: str | Sequence[str],
        *,
        share: float | None = None,
        threshold: float | None = None,
        window: int = 1000,
    ) -> None:
        self.strong, self.weak = _check_tiers(strong, weak)
        if (share is None) == (threshold is None):
            raise InputError(
                f"share is {share} and threshold is {threshold}; expected one of them: share=0.3, "
                "or threshold=0.05."
            )
        check_integer("window", window, MIN_WINDOW)
        self._fixed = check_number("threshold", 0.0 if threshold is None else threshold, -1.0, 1.0)
        self._tracker = None if share is None else ShareTracker(share, window=window)
        self._is_checked = False  # whether a router has all names

    @classmethod
    def calibrate(  # noqa: PLR0913 - the arguments of the class, and what it is calibrated on
        cls,
        router: Router,
        prompts: Sequence[str],
        share: float = 0.3,
        *,
        strong: str | Sequence[str],
        weak: str | Sequence[str],
        window: int = 1000,
    ) -> Threshold:
        """Return a threshold that gives the strong side its share from the first call on.

        It is the quantile of the gains that the router predicts for `prompts`, which are like those
        to come; of more than `window` prompts a sample counts. The share is met without them, too,
        but the first calls are chosen by chance.

        Raises:
            InputError: no prompt has a gain, or as for the class.
        """
        check_prompts(prompts)
        policy = cls(strong, weak, share=share, window=window)
        policy = policy.bind(check_router(router).library, None)
        found = policy.gains(router, prompts)
        known = found[np.isfinite(found)]
        if not known.size:
            raise InputError(
                f"None of the {len(prompts)} prompts has a predicted loss on both sides, "
                f"{_side(policy.strong)} and {_side(policy.weak)}; calibrate on prompts that both "
                "may answer."
            )
        # The tracker forgets the first ones first, so their order must not mean anything.
        sample = np.random.default_rng(0).permutation(known)[:window]
        policy._tracker = ShareTracker(share, sample, window)  # noqa: SLF001 - of its own class
        return policy

    @property
    def share(self) -> float | None:
        """The share of calls to the strong side, None with a fixed threshold."""
        return None if self._tracker is None else self._tracker.share

    @property
    def threshold(self) -> float | None:
        """The predicted gain from which on the strong side is called now, None if at no gain."""
        return self._fixed if self._tracker is None else self._tracker.threshold

    def bind(self, library: Library, traffic: Any) -> Threshold:  # noqa: ANN401, ARG002 - as in the base class
        """Return the threshold with the names of the library; both share one state.

        A router refuses names that it does not know; in its subsets one of each side is enough.

        Raises:
            InputError: the library lacks an expert of one side, or one expert is on both.
        """
        bound = copy.copy(self)
        for side in ("strong", "weak"):
            given = getattr(self, side)
            names = [library[name].name for name in given if name in library]
            unknown = [name for name in given if name not in library]
            if not names or (unknown and not self._is_checked):
                raise InputError(
                    f"The {side} side has {_side(unknown)}, which the router does not know."
                    f"{expected_names(unknown, library)}"
                )
            setattr(bound, side, tuple(names))
        _check_tiers(bound.strong, bound.weak)  # aliases may name one expert twice
        bound._is_checked = True  # noqa: SLF001 - of its own class
        return bound

    def choose(self, batch: PolicyBatch) -> PolicyChoice:
        """Choose the strong side where the gain is above the threshold."""
        strong, weak = (lowest_total(batch, names) for names in (self.strong, self.weak))
        gains = predicted_gains(batch, strong, weak)
        is_decided = batch.choice != NO_EXPERT
        is_strong = np.where(np.isnan(gains), weak == NO_EXPERT, False)
        is_compared = is_decided & ~np.isnan(gains)
        is_strong[is_compared] = self._above(gains[is_compared])
        experts = np.where(is_strong, strong, weak)
        reasons = [
            self._reason(gain, above) if known and expert != NO_EXPERT else None
            for gain, above, known, expert in zip(
                gains.tolist(), is_strong.tolist(), is_decided, experts, strict=True
            )
        ]
        return PolicyChoice(np.where(experts == NO_EXPERT, batch.choice, experts), reasons)

    def _above(self, gains: Float64Array) -> BoolArray:
        """Tell which gains are above the threshold, each after those before it."""
        if self._tracker is None:
            return np.asarray(gains > self._fixed)
        return np.array(self._tracker.preview(gains.tolist()), np.bool_)

    def _reason(self, gain: float, is_strong: bool) -> str:
        if np.isnan(gain):
            return f"only the {'strong' if is_strong else 'weak'} side meets the requirements"
        limit = (
            f"{self._fixed:g}" if self.share is None else f"that keeps a share of {self.share:g}"
        )
        where = "above" if is_strong else "not above"
        return f"the predicted gain of {gain:.3f} is {where} the threshold {limit}"

    def record(self, decision: Decision) -> None:
        """Count a call of either side for the share."""
        if self._tracker is None or decision.default_used:
            return
        name = decision.expert.name
        if name in self.strong or name in self.weak:
            self._tracker.update(self._gain(decision), name in self.strong)

    def gains(self, router: Router, prompts: Sequence[str]) -> Float64Array:
        """Return the gains that a router predicts, `(n_prompts,)`, NaN where a side is rejected.

        Raises:
            InputError, NoExpertError, PerceptionError: as in `Router.route_batch`.
        """
        found = [self._gain(decision) for decision in _decide(router, prompts)]
        return np.array([np.nan if one is None else one for one in found], np.float64)

    def _gain(self, decision: Decision) -> float | None:
        """Return the predicted gain of a decision's prompt, None if a side was rejected."""
        strong, weak = self._entries(decision)
        if strong is None or weak is None:
            return None
        return weak.predicted_loss - strong.predicted_loss

    def _entries(self, decision: Decision) -> tuple[RankedExpert | None, RankedExpert | None]:
        """Return the scores of both sides, None for one that was rejected."""
        ranking = decision.ranking
        if not isinstance(ranking, Ranking):  # the default answers
            return None, None
        return _best_entry(ranking, self.strong), _best_entry(ranking, self.weak)

    def __repr__(self) -> str:
        """Show both sides and the threshold."""
        value = f"threshold={self._fixed:g}" if self.share is None else f"share={self.share:g}"
        return f"Threshold({_side(self.strong)}, {_side(self.weak)}, {value})"

    def report(self, router: Router, table: QTable) -> ThresholdReport:
        """Return how well the threshold routes the prompts of a table of measured losses.

        Prompts count on which both sides have a predicted and a measured loss, in the order of the
        table; of a tier, the expert with the lowest total is measured. The state stays as it is.

        Raises:
            InputError: no prompt counts, or the strong side is not better than the weak one.
        """
        library = check_router(router).library
        bound = self.bind(library, None)
        measured = check_table(table).losses_for(table.prompts, library)
        rows = [
            _measured_row(bound._entries(decision), losses, library)  # noqa: SLF001 - of its own class
            for losses, decision in zip(measured, _decide(router, table.prompts), strict=True)
        ]
        known = np.array(rows, np.float64).reshape(-1, 3)
        gains, strong_losses, weak_losses = known[~np.isnan(known).any(axis=1)].T
        is_strong = bound._above(gains)  # noqa: SLF001 - as above
        return threshold_report(gains, is_strong, strong_losses, weak_losses)


@dataclass(frozen=True, slots=True)
class ThresholdReport:
    """How well a threshold on the predicted gain routes, as the paper of RouteLLM reports it.

    Scores are 1 - measured loss. `recovered` is the performance gap recovered, the share of the gap
    between the two sides that this policy closes with its `share` of strong calls; `apgr` is its
    average over all thresholds, and `cpt50` and `cpt80` are the fewest strong calls that close half
    and four fifths of the gap.
    """

    n_prompts: int
    strong_score: float
    weak_score: float
    share: float
    score: float
    recovered: float
    apgr: float
    cpt50: float
    cpt80: float


def threshold_report(
    gains: Float64Array, is_strong: BoolArray, strong: Float64Array, weak: Float64Array
) -> ThresholdReport:
    """Return the report of calls on prompts with known losses; all arrays are `(n_prompts,)`.

    Args:
        gains: The predicted gains.
        is_strong: Which calls go to the strong side.
        strong: The measured losses of the strong side.
        weak: The same of the weak side.

    Raises:
        InputError: no prompt, or the strong side is not better than the weak one on average.
    """
    if not gains.size:
        raise InputError("No prompt has a predicted and a measured loss on both sides.")
    if strong.mean() >= weak.mean():
        raise InputError(
            f"The strong side scores {1 - strong.mean():.3f} on {gains.size} prompts and the weak "
            f"one {1 - weak.mean():.3f}: there is no gap to recover. Exchange the sides."
        )
    real_gains = weak - strong
    return ThresholdReport(
        n_prompts=gains.size,
        strong_score=float(1 - strong.mean()),
        weak_score=float(1 - weak.mean()),
        share=float(is_strong.mean()),
        score=float(1 - np.where(is_strong, strong, weak).mean()),
        recovered=float(real_gains[is_strong].sum() / real_gains.sum()),
        apgr=apgr(gains, real_gains),
        cpt50=cpt(gains, real_gains, 0.5),
        cpt80=cpt(gains, real_gains, 0.8),
    )


def lowest_total(batch: PolicyBatch, names: Sequence[str]) -> IndexArray:
    """Return the eligible expert with the lowest total, `(batch,)`, `NO_EXPERT` without one."""
    positions = np.array([batch.library.index(name) for name in names], np.intp)
    keys = [batch.totals[:, positions], batch.losses[:, positions]]
    first = first_by_keys(batch.eligible[:, positions], keys)
    return np.where(first == NO_EXPERT, NO_EXPERT, positions[first])


def predicted_gains(batch: PolicyBatch, strong: IndexArray, weak: IndexArray) -> Float64Array:
    """Return the loss of the weak expert less that of the strong one, NaN where one is missing."""
    rows = np.arange(len(strong))
    gains = batch.losses[rows, weak].astype(np.float64) - batch.losses[rows, strong]
    return np.where((strong == NO_EXPERT) | (weak == NO_EXPERT), np.nan, gains)


def _measured_row(
    sides: tuple[RankedExpert | None, RankedExpert | None], losses: FloatArray, library: Library
) -> tuple[float, float, float]:
    """Return the predicted gain and the measured losses of both sides, NaN if one was rejected.

    `losses` `(n_experts,)` are those of the prompt.
    """
    strong, weak = sides
    if strong is None or weak is None:
        return np.nan, np.nan, np.nan
    measured = losses[[library.index(strong.name), library.index(weak.name)]].tolist()
    return weak.predicted_loss - strong.predicted_loss, measured[0], measured[1]


def _decide(router: Router, prompts: Sequence[str]) -> Iterator[Decision]:
    """Yield the decisions of a router without its policy, which has no part in the gains."""
    plain = router.with_policy(None)
    for start in range(0, len(prompts), _CHUNK):
        yield from plain.decide_batch(prompts[start : start + _CHUNK])


def _best_entry(ranking: Ranking, names: Sequence[str]) -> RankedExpert | None:
    """Return the scores of the expert with the lowest total, None if all were rejected."""
    found = [ranking.find(name) for name in names]
    entries = [one for one in found if one is not None]
    return min(entries, key=lambda one: (one.total, one.predicted_loss), default=None)


def _check_tiers(
    strong: str | Sequence[str], weak: str | Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of both sides, or raise `InputError`."""
    sides = [
        check_strings(side, [names] if isinstance(names, str) else names)
        for side, names in (("strong", strong), ("weak", weak))
    ]
    both = set(sides[0]) & set(sides[1])
    if both or not all(sides):
        problem = f"{sorted(both)} is on both sides" if both else "one side has no name"
        raise InputError(f"strong={strong!r} and weak={weak!r}: {problem}; expected two sides.")
    return sides[0], sides[1]


def _side(names: Sequence[str]) -> str:
    return " or ".join(names)
