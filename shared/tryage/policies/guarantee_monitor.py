"""Watches in the log whether a guarantee holds: judged answers of the rule and of the reference.

Half of the answers that are judged come from the reference, by chance. So both mean scores can be
estimated on the same prompts, and the difference of each prompt has a doubly robust estimate
(Dudik, Langford and Li, 2011): the one predicted, corrected by the answer that was judged. Its mean
is right whatever was predicted. A test that may be read at any time tells when it is below zero.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tryage.errors import TrafficError
from tryage.locks import ForkSafeLock
from tryage.policies.betting import MeanTest
from tryage.traffic.records import Event

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from tryage.core.arrays import Float64Array
    from tryage.policies.guarantee_calibration import GuaranteeCalibration
    from tryage.traffic.records import DecisionRecord, LoggedFeedback
    from tryage.traffic.traffic import Traffic

_LOGGER = logging.getLogger(__name__)

BROKEN = "guarantee broken"  # the kind of the event in the log

SAMPLED_SHARE = 0.5
"""Of the judged answers, those by the reference: the variance of the estimate is lowest near it."""

_ID_RANGE = 16**16  # ids are 16 hexadecimal digits

_PAGE = 500  # rows of one read

_SECONDS_PER_WARNING = 60.0


@dataclass(frozen=True, slots=True)
class GuaranteeTerms:
    """What is guaranteed, and which judged answers tell whether it holds.

    `policy` is the name of the policy in the log, `reference` that of the expert. The answers with
    a place (`id_place`) below `judged_share` count, with their feedback of the kind `kind`.
    """

    policy: str
    reference: str
    at_least: float
    confidence: float
    judged_share: float
    kind: str

    def is_sampled(self, decision_id: str) -> bool:
        """Return whether the reference answers a request in place of the rule's choice."""
        return id_place(decision_id) < self.judged_share * SAMPLED_SHARE

    def propensities(self, expert: str) -> dict[str, float]:
        """Return the probabilities of the rule's choice, another expert, and of the reference."""
        probability = self.judged_share * SAMPLED_SHARE
        return {expert: 1 - probability, self.reference: probability}

    @property
    def highest(self) -> float:
        """The highest value of `difference`."""
        return 1 + self.at_least / SAMPLED_SHARE

    def difference(self, decision: DecisionRecord, expert: str, score: float) -> float | None:
        """Return the score of the rule less `at_least` times that of the reference: an estimate.

        None if the answer tells nothing: it is no decision of the rule, was not due to be judged,
        or another expert than the chosen one has answered.
        """
        after = [one.after for one in decision.changes if one.policy == self.policy]
        if not after or not (after[0] == decision.chosen == expert):
            return None
        if id_place(decision.id) >= self.judged_share:
            return None
        if decision.propensity < 1:
            return self._estimate(decision, score)
        is_reference = expert == self.reference
        return (1 - self.at_least) * score if is_reference else None

    def _estimate(self, decision: DecisionRecord, score: float) -> float:
        """Return the estimate of a decision in which the reference was drawn, or could have been.

        Any prediction is right on average; one that the log lacks counts as 0.
        """
        known = dict(zip(decision.candidates, decision.losses, strict=True))
        drawn = zip(decision.candidates, decision.propensities, strict=True)
        others = [name for name, p in drawn if p > 0 and name != self.reference]
        of_rule, of_reference = (
            min(max(1 - known.get(name, 1.0), 0.0), 1.0)
            for name in (others[0] if others else "", self.reference)
        )
        is_reference = decision.chosen == self.reference
        return float(estimate_difference(of_rule, of_reference, score, is_reference, self.at_least))


def estimate_difference(
    of_rule: ArrayLike,
    of_reference: ArrayLike,
    score: ArrayLike,
    is_reference: ArrayLike,
    at_least: float,
) -> Float64Array:
    """Return what a judged answer tells of the score of the rule less the guaranteed one.

    Args:
        of_rule: The predicted score of what the rule chooses, from 0 to 1.
        of_reference: That of the reference.
        score: The score of the answer.
        is_reference: Whether the reference gave it, which was so with `SAMPLED_SHARE`.
        at_least: The share of the reference's mean score that is guaranteed.
    """
    of_rule, of_reference, score = (np.asarray(one) for one in (of_rule, of_reference, score))
    correction = np.where(
        is_reference,
        -at_least * (score - of_reference) / SAMPLED_SHARE,
        (score - of_rule) / (1 - SAMPLED_SHARE),
    )
    return np.asarray(of_rule - at_least * of_reference + correction)


def id_place(decision_id: str) -> float:
    """Return the place of a decision between 0 and 1, at random; the judge draws by it, too.

    1 where the id is of another kind.
    """
    try:
        return int(decision_id, 16) / _ID_RANGE
    except ValueError:
        return 1.0


@dataclass(frozen=True, slots=True)
class MonitorState:
    """What the log says up to the number `sequence`; `stopped` is the time of the break, if any."""

    sequence: int
    test: MeanTest
    stopped: float | None = None


class GuaranteeMonitor:
    """Reads the log for one calibration, in every process that shares the log.

    All read the same rows in the same order, so all stop at the same answer. The event in the log
    is written once. Safe between threads.
    """

    def __init__(
        self, traffic: Traffic, terms: GuaranteeTerms, calibration: GuaranteeCalibration
    ) -> None:
        self.traffic = traffic
        self.terms, self._calibration = terms, calibration
        self._state: MonitorState | None = None
        self._start = min(calibration.time, time.time())  # a clock may have been ahead
        self._is_written = True  # the event, once it is due
        self._lock = ForkSafeLock()
        self._last_warning = float("-inf")

    @property
    def state(self) -> MonitorState:
        """What is known so far."""
        return self._state or MonitorState(0, MeanTest())

    def sync(self) -> MonitorState:
        """Read what is new in the log; a store that fails is a warning once a minute."""
        try:
            with self._lock:
                self._read()
        except TrafficError as error:
            self._warn(f"The log fails, so the guarantee is not watched now: {error}")
        return self.state

    def _read(self) -> None:
        state = self._state or MonitorState(self.traffic.sequence_at(self._start), MeanTest())
        while state.stopped is None and (rows := self.traffic.log_after(state.sequence, _PAGE)):
            for row in rows:
                state = self._after(state, row)
                if state.stopped is not None:
                    _LOGGER.warning("%s", self._message(state))
                    self._is_written = False
                    break
            self._state = state
        self._state = state
        if not self._is_written:  # last: the rule ends here although the disk of the log is full
            self._write_event(state)

    def _after(self, state: MonitorState, row: LoggedFeedback | Event) -> MonitorState:
        """Return the state after one row of the log."""
        if isinstance(row, Event):
            is_own = row.kind == BROKEN and row.values.get("calibration") == self._calibration.id
            return MonitorState(row.sequence, state.test, row.time if is_own else None)
        value = self._value(row)
        if value is None:
            return MonitorState(row.sequence, state.test)
        test = state.test.update(value, self.terms.highest)
        is_broken = test.wealth >= 1 / (1 - self.terms.confidence)
        return MonitorState(row.sequence, test, row.feedback.time if is_broken else None)

    def _value(self, row: LoggedFeedback) -> float | None:
        """Return what feedback tells about the guarantee, None if nothing."""
        decision, feedback = row.decision, row.feedback
        if decision is None or feedback.kind != self.terms.kind:
            return None
        if decision.time < self._start:
            return None
        return self.terms.difference(decision, row.expert, feedback.score)

    def _message(self, state: MonitorState) -> str:
        """Return what the user is told."""
        terms = self.terms
        return (
            f"{terms.policy}: the answers are no longer {terms.at_least:.0%} as good as those of "
            f"{terms.reference}, by {state.test.count} judged ones. Now {terms.reference} answers "
            "everything; calibrate again to go on."
        )

    def _write_event(self, state: MonitorState) -> None:
        """Write to the log, once for all processes, that the guarantee is broken.

        Raises:
            TrafficError: the store fails; the next `sync` tries it again.
        """
        values = {
            "calibration": self._calibration.id,
            "judged": state.test.count,
            "difference": state.test.mean,
            "message": self._message(state),
        }
        event_id = f"guarantee-{self._calibration.id}"
        self.traffic.add_event(BROKEN, values, self.terms.reference, event_id=event_id)
        self._is_written = True

    def _warn(self, message: str) -> None:
        now = time.monotonic()
        if now - self._last_warning >= _SECONDS_PER_WARNING:
            self._last_warning = now
            _LOGGER.warning("%s", message)
