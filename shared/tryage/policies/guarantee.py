"""Guarantee: the cheapest routing that is certain to be nearly as good as one reference expert."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.choice import NO_EXPERT
from tryage.core.exploration import Exploration
from tryage.core.policy import Policy, PolicyChoice, PolicyStage
from tryage.core.validation import check_number, check_strings
from tryage.errors import GuaranteeError, InputError
from tryage.policies.guarantee_calibration import (
    GuaranteeCalibration,
    calibrate_tolerance,
    choose_within,
)
from tryage.policies.guarantee_monitor import GuaranteeMonitor, GuaranteeTerms
from tryage.policies.guarantee_table import Metric, predict_measured
from tryage.scoring.qtable import MIN_COVERAGE

if TYPE_CHECKING:
    from tryage.core.arrays import IndexArray
    from tryage.core.library import Library
    from tryage.core.policy import PolicyBatch
    from tryage.router import Router
    from tryage.scoring.qtable import QTable
    from tryage.traffic.traffic import Traffic

SECONDS_PER_SYNC = 5.0
"""How often a guarantee in use reads what processes have added to the log."""


class Guarantee(Policy):
    """Chooses cheaper experts where all answers together are certain to be nearly as good.

    That is: the mean score of the answers is at least `at_least` times the mean score that the
    reference would have had on the same prompts. With a probability of `confidence` the measured
    answers that `calibrate` gets do not deceive about that, for prompts like these. SMART (Jo and
    Trummer, 2024) guarantees how often the answers agree with the reference's; that is the metric
    "agreement".

    Without a calibration the reference answers everything, and the decisions say so. The experts
    that are not eligible are left out; where the reference is not, the policy changes nothing.

    With a log it is watched: among the answers that are judged, half come from the reference,
    chosen by chance. When they show that the guarantee is broken, the reference answers everything,
    in all processes, until it is calibrated again; the log gets an event. While it holds, this
    happens with a probability of at most `1 - confidence`, ever. A copy or a pickle of the policy
    reads the same log.

    Args:
        reference: The name of the expert that would answer everything.
        at_least: The share of its mean score, between 0 and 1.
        confidence: The probability that the guarantee holds, between 0 and 1.
        calibration: What `calibrate` has found.
        metric: "score", or "agreement" with the answers of the reference, which is not watched.
        judged_share: The share of the answers that are judged, the `judge_share` of chat models.
            Half of it goes to the reference. With 0 the guarantee is not watched.
        feedback_kind: The kind of feedback that measures answers. Whether an answer is judged may
            not depend on which expert gave it.
        name: What the log calls it. Several guarantees that share a log need several names.

    Raises:
        InputError: a value is out of range, or the calibration proves something else.
    """

    stage = PolicyStage.CHOICE

    def __init__(  # noqa: PLR0913 - settings with defaults
        self,
        reference: str,
        *,
        at_least: float = 0.95,
        confidence: float = 0.95,
        calibration: GuaranteeCalibration | None = None,
        metric: Metric = "score",
        judged_share: float = 0.02,
        feedback_kind: str = "judge",
        name: str = "Guarantee",
    ) -> None:
        self.reference, self.at_least, self.confidence = _check(reference, at_least, confidence)
        if metric not in ("score", "agreement"):
            raise InputError(f'metric is {metric!r:.40}; expected "score" or "agreement".')
        if not isinstance(calibration, GuaranteeCalibration | None):
            raise InputError(
                f"calibration is a {type(calibration).__name__}; expected a GuaranteeCalibration, "
                "which Guarantee.calibrate makes."
            )
        self.calibration, self.metric = calibration, metric
        self._check_calibration()
        self.judged_share = check_number("judged_share", judged_share, 0.0, 1.0)
        self.feedback_kind, self._name = check_strings(
            "feedback_kind and name", [feedback_kind, name]
        )
        self._monitor: GuaranteeMonitor | None = None

    def _check_calibration(self) -> None:
        """Refuse a calibration that proves something else."""
        found = self.calibration
        given = (self.at_least, self.confidence, self.metric)
        if found is not None and given != (found.at_least, found.confidence, found.metric):
            raise InputError(
                f"The calibration proves at_least={found.at_least:g}, confidence="
                f"{found.confidence:g} and metric={found.metric!r}, and the guarantee says "
                f"{given[0]:g}, {given[1]:g} and {given[2]!r}; expected the same."
            )

    @classmethod
    def calibrate(
        cls,
        router: Router,
        table: QTable,
        reference: str,
        **settings: Any,  # noqa: ANN401 - the arguments of the class
    ) -> Guarantee:
        """Return the guarantee that measured answers allow, for `router.with_policy`.

        Args:
            router: What decides. It must not have learned from the prompts of the table.
            table: Measured losses (1 - score) of prompts that are like those to come. Prompts count
                on which the reference was measured; rows with the same text are one prompt, with
                their mean score. An expert is used if it was measured on nearly all of them; an
                answer that is missing counts as wrong. For "agreement" the loss is the disagreement
                with the reference's answer: 0 if it is the same, else 1.
            reference: The expert that would answer everything.
            settings: `at_least`, `confidence`, `metric` and the others of the class.

        Raises:
            GuaranteeError: the answers do not allow it; the error says how many prompts may.
                `Guarantee(reference)` lets the reference answer everything.
            InputError: the price of the reference is unknown, a loss is not in [0, 1], or as for
                the class.
        """
        policy = cls(reference, **settings)
        policy.calibration = _calibrated(policy, router, table)
        policy.reference = router.library[reference].name
        return policy

    @property
    def name(self) -> str:
        """What the log and the records call it."""
        return self._name

    def bind(self, library: Library, traffic: Traffic | None) -> Guarantee:
        """Begin to watch the log of a router, and return this policy.

        Without a log it is a copy that is not watched, if this one is.

        Raises:
            LibraryError: the library does not have the reference.
            InputError: the calibration is for another reference.
        """
        reference = library[self.reference].name
        proven = reference if self.calibration is None else self.calibration.reference
        if proven not in library or library[proven].name != reference:
            raise InputError(
                f"The calibration compares with {proven}, and the guarantee says {reference}; "
                "expected the same reference."
            )
        is_watchable = self.metric == "score" and self.judged_share > 0
        if traffic is None:
            return self if self._monitor is None else self._unwatched()
        if self.calibration is None or not is_watchable:
            return self
        if self._monitor is None or self._monitor.traffic is not traffic:
            self._monitor = _start_monitor(traffic, self._terms(reference), self.calibration)
        return self

    def _unwatched(self) -> Guarantee:
        copied = type(self).__new__(type(self))
        vars(copied).update(vars(self) | {"_monitor": None})
        return copied

    def _terms(self, reference: str) -> GuaranteeTerms:
        return GuaranteeTerms(
            policy=self._name,
            reference=reference,
            at_least=self.at_least,
            confidence=self.confidence,
            judged_share=self.judged_share,
            kind=self.feedback_kind,
        )

    def choose(self, batch: PolicyBatch) -> PolicyChoice:
        """Choose cheaper experts within the tolerance, now and then the reference to compare."""
        reference = batch.library.index(self.reference)
        terms = self._terms(batch.library.names[reference])
        is_stopped = self.is_stopped  # read once: another thread may read the log meanwhile
        rule = self._rule_choice(batch, reference, is_stopped=is_stopped)
        experts = batch.choice.copy()
        reasons: list[str | None] = []
        draws: list[dict[str, float] | None] = []
        for i, expert in enumerate(rule.tolist()):
            if batch.choice[i] == NO_EXPERT or not batch.eligible[i, reference]:
                reasons.append(None)
                draws.append(None)
                continue
            is_compared = expert != reference and self._compares(batch, i)
            is_drawn = is_compared and terms.is_sampled(batch.ids[i])
            experts[i] = reference if is_drawn else expert
            reasons.append(
                self._stop_reason(is_stopped=is_stopped)
                or self._rule_reason(is_reference=expert == reference, is_drawn=is_drawn)
            )
            draws.append(terms.propensities(batch.library.names[expert]) if is_compared else None)
        return PolicyChoice(experts, reasons, propensities=draws)

    def _rule_choice(self, batch: PolicyBatch, reference: int, *, is_stopped: bool) -> IndexArray:
        """Return what the rule chooses, `(batch,)`: the reference where nothing is certain."""
        if self.calibration is None or is_stopped:
            return np.full(len(batch.choice), reference)
        names = [name for name in self.calibration.experts if name in batch.library]
        allowed = np.zeros(len(batch.library), np.bool_)
        allowed[[batch.library.index(name) for name in names]] = True
        return choose_within(
            batch.losses,
            batch.counted_costs,
            batch.eligible & allowed,
            reference,
            self.calibration.tolerance,
        )

    def _compares(self, batch: PolicyBatch, i: int) -> bool:
        """Return whether the reference may be drawn.

        A conversation keeps its expert anyway, and requests that are never explored have no draws.
        """
        context = batch.requests[i].context
        may_draw = context is None or (
            context.current is None and Exploration().allows(context.tags)
        )
        return self._monitor is not None and may_draw and bool(batch.ids)

    def _stop_reason(self, *, is_stopped: bool) -> str | None:
        """Return why the reference answers everything, None if it does not."""
        if self.calibration is None:
            return f"it is not calibrated, so {self.reference} answers"
        if is_stopped:
            return f"it is broken, so {self.reference} answers until it is calibrated again"
        return None

    def _rule_reason(self, *, is_reference: bool, is_drawn: bool) -> str:
        if is_drawn:
            return f"{self.reference} was drawn to compare it with a cheaper expert"
        tolerance = 0.0 if self.calibration is None else self.calibration.tolerance
        within = f"within {tolerance:.3f} predicted loss of {self.reference}"
        if is_reference:
            return f"no cheaper expert is {within}"
        return f"it is {within}: {self.at_least:.0%} as good on average"

    @property
    def is_stopped(self) -> bool:
        """Whether judged answers have shown that the guarantee is broken."""
        return self._monitor is not None and self._monitor.state.stopped is not None

    def sync(self) -> None:
        """Read now what is new in the log; it happens every few seconds by itself."""
        if self._monitor is not None:
            self._monitor.sync()

    def status(self) -> GuaranteeStatus:
        """Return what is known of the guarantee now; `print` it."""
        state = None if self._monitor is None else self._monitor.state
        return GuaranteeStatus(
            reference=self.reference,
            at_least=self.at_least,
            confidence=self.confidence,
            calibration=self.calibration,
            is_watched=state is not None,
            judged=0 if state is None else state.test.count,
            difference=None if state is None else state.test.mean,
            evidence=0.0 if state is None else state.test.wealth,
            stopped=None if state is None else state.stopped,
        )

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle with the address of the log in place of what was read."""
        traffic = None if self._monitor is None else self._monitor.traffic
        terms = None if self._monitor is None else self._monitor.terms
        return vars(self) | {"_monitor": None, "_watched": (traffic, terms)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Read the log anew."""
        traffic, terms = state.pop("_watched")
        vars(self).update(state)
        if traffic is not None and self.calibration is not None:
            self._monitor = _start_monitor(traffic, terms, self.calibration)

    def __repr__(self) -> str:
        """Show what is guaranteed, and whether it is calibrated."""
        known = "not calibrated" if self.calibration is None else "calibrated"
        return f"Guarantee({self.reference}, at_least={self.at_least:g}, {known})"


@dataclass(frozen=True, slots=True)
class GuaranteeStatus:
    """What is known of a guarantee.

    Attributes:
        reference: The expert that would answer everything.
        at_least: The share of its mean score that is guaranteed.
        confidence: The probability that it holds.
        calibration: Which rule is in force, None before the calibration.
        is_watched: Whether a log tells if it holds.
        judged: How many judged answers told something.
        difference: The mean score of the answers less `at_least` times that of the reference, on
            the same prompts: an estimate from them, None without any.
        evidence: That it is broken; it stops at `1 / (1 - confidence)`.
        stopped: When that was, in seconds since 1970 (UTC), None while it goes on.
    """

    reference: str
    at_least: float
    confidence: float
    calibration: GuaranteeCalibration | None
    is_watched: bool
    judged: int
    difference: float | None
    evidence: float
    stopped: float | None

    def __str__(self) -> str:
        """Say it in sentences."""
        found = self.calibration
        if found is None:
            return f"Not calibrated: {self.reference} answers everything."
        rule = (
            f"{found.n_prompts} prompts allow to save {found.saving:.0%} of the cost of "
            f"{self.reference}: other experts answer {found.share:.0%}, and all answers together "
            f"are at least {self.at_least:.0%} as good, with {self.confidence:.0%} confidence."
        )
        return f"{rule} {self._watch()}"

    def _watch(self) -> str:
        if not self.is_watched:
            return "It is not watched: that needs a log with judged answers."
        if self.stopped is not None:
            return (
                f"{self.judged} judged answers have shown that this is no longer so: "
                f"{self.reference} answers everything."
            )
        if self.difference is None:
            return "No answer was judged so far."
        limit = 1 / (1 - self.confidence)
        return (
            f"By {self.judged} judged answers the score is {self.difference:+.3f} against the "
            f"least that is guaranteed, and the evidence against it is {self.evidence:.2g} of "
            f"{limit:.3g}."
        )


def _start_monitor(
    traffic: Traffic, terms: GuaranteeTerms, calibration: GuaranteeCalibration
) -> GuaranteeMonitor:
    """Return what reads the log, at once and every few seconds, as long as it is in use."""
    monitor = GuaranteeMonitor(traffic, terms, calibration)
    monitor.sync()
    reference = weakref.ref(monitor)  # the log must not keep it alive

    def sync() -> None:
        live = reference()
        if live is not None:
            live.sync()

    weakref.finalize(monitor, traffic.call_every(SECONDS_PER_SYNC, sync))
    return monitor


def _calibrated(policy: Guarantee, router: Router, table: QTable) -> GuaranteeCalibration:
    """Return which rule a table allows."""
    found = predict_measured(router, table, policy.reference, policy.metric)
    n = len(found.scores)
    usable = (~np.isnan(found.scores)).mean(axis=0) >= MIN_COVERAGE if n else np.zeros(1, np.bool_)
    if usable.sum() < 2:
        raise GuaranteeError(
            f"{found.names[0]} was measured on {n} prompts, and no other expert on nearly all of "
            f"them ({MIN_COVERAGE:.0%}), as is needed to compare them: give `table.take` the "
            "rows that both have answers to, or measure more with `tryage score`."
        )
    calibration = calibrate_tolerance(
        found.losses,
        found.costs,
        found.eligible & usable,
        found.scores,
        0,
        at_least=policy.at_least,
        confidence=policy.confidence,
    )
    experts = tuple(np.array(found.names)[usable].tolist())
    return replace(calibration, reference=experts[0], metric=policy.metric, experts=experts)


def _check(reference: object, at_least: object, confidence: object) -> tuple[str, float, float]:
    """Return the name and the numbers of a guarantee, or raise `InputError`."""
    if not isinstance(reference, str) or not reference:
        raise InputError(
            f"reference is {reference!r:.40}; expected the name of the expert that would answer "
            'everything, such as "gpt-5.6".'
        )
    share = check_number("at_least", at_least, 0.0, 1.0)
    probability = check_number("confidence", confidence, 0.0, 1.0)
    if share in (0, 1) or probability in (0, 1):
        raise InputError(
            f"at_least is {share:g} and confidence {probability:g}; expected numbers between 0 and "
            "1, such as 0.95: no sample proves equality, or anything for sure."
        )
    return reference, share, probability
