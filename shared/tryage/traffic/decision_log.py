"""DecisionLog: what a router writes into the log of its traffic, and what it learns from it."""

from __future__ import annotations

import time as clock
import weakref
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from tryage.core.cache import cached_property
from tryage.core.objective import ANSWER_VALUE
from tryage.core.ranking import TOLERANCE, Ranking, RankingColumns
from tryage.core.validation import check_number
from tryage.errors import InputError, PerceptionError
from tryage.perception.fingerprint import perception_fingerprint
from tryage.perception.model import LearnedPerception
from tryage.traffic.learner import Learner
from tryage.traffic.records import DecisionRecord, Feedback, Outcome
from tryage.traffic.sync import TrafficSync
from tryage.traffic.traffic import open_traffic
from tryage.traffic.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tryage.core.arrays import FloatArray
    from tryage.core.decision import Decision
    from tryage.core.library import Library
    from tryage.core.perception import Perception
    from tryage.core.ranking import RankedExpert
    from tryage.traffic.learning_report import LearningReport
    from tryage.traffic.traffic import Traffic

SECONDS_PER_SYNC = 5.0
"""How often a router in use reads what other processes have added to the log."""

MAX_CANDIDATES = 32  # experts that the record of a decision names

_MAX_SIGNALS = 1_000  # signals that wait to be written

_MAX_COMMENT = 2_000  # characters


class DecisionLog:
    """Writes the decisions of a router and what came of them, and learns from feedback.

    Args:
        traffic: The store.
        perception: What learns, in place, as the log grows.
        library: The experts of the router.
        duplicates: Name of an expert -> the one that is the same model at another provider.

    `frozen` is the perception as it was, before any feedback, and `fingerprint` stands for it in
    the log: a position means nothing to another perception. Routers that share their perception
    share their log. Safe between threads. A pickle holds the address of the store.
    """

    def __init__(
        self,
        traffic: Traffic,
        perception: Perception,
        library: Library,
        duplicates: Mapping[str, str] | None = None,
    ) -> None:
        self.traffic, self.library, self.duplicates = traffic, library, dict(duplicates or {})
        self.perception, self.frozen = perception, perception.copy()
        self._signals = Writer(
            self._write_signals, lambda _: "feedback", queue_size=_MAX_SIGNALS, interval=0.2
        )
        self._sync = self._make_sync()
        self.sync()
        if self._sync is not None:
            end = traffic.call_every(SECONDS_PER_SYNC, _weak_call(self._sync))
            weakref.finalize(self, end)

    def _make_sync(self) -> TrafficSync | None:
        """Return what learns from the log, None if the perception cannot."""
        live, frozen = self.perception, self.frozen
        if not (isinstance(live, LearnedPerception) and isinstance(frozen, LearnedPerception)):
            return None
        if live.loss_range() != (0.0, 1.0):  # no score tells its loss
            return None
        learner = Learner(frozen, self.library, router=self.fingerprint, aliases=self.duplicates)
        return TrafficSync(self.traffic, learner, live)

    @cached_property
    def fingerprint(self) -> str:
        """What stands for the router in the log, as it was before any feedback."""
        return perception_fingerprint(self.frozen)

    @property
    def has_learned(self) -> bool:
        """Whether the perception has learned from feedback, so that it may decide otherwise."""
        live, frozen = self.perception, self.frozen
        if not (isinstance(live, LearnedPerception) and isinstance(frozen, LearnedPerception)):
            return False
        now, before = live.beliefs, frozen.beliefs
        return (
            now.abilities is not before.abilities
            or now.observed_experts is not before.observed_experts
        )

    @property
    def learns(self) -> bool:
        """Whether the perception learns from the log."""
        return self._sync is not None

    def for_parts(self, perception: Perception, library: Library) -> DecisionLog:
        """Return the log of a router with other parts that writes into the same store.

        It is this one if the router shares the perception and knows no other experts.
        """
        innermost = perception.innermost()
        if innermost is not self.perception:
            return DecisionLog(self.traffic, innermost, library, perception.duplicates)
        if all(name in self.library for name in library.names):
            return self
        return DecisionLog(self.traffic, self.frozen.copy(), library, perception.duplicates)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the store's address and the perception; what was learned is read from the log."""
        return DecisionLog, (self.traffic, self.frozen, self.library, self.duplicates)

    # Writing

    def record(  # noqa: PLR0913 - what is written beside the decision
        self,
        decision: Decision,
        *,
        decision_id: str | None = None,
        chosen: str | None = None,
        prompt_tokens: float | None = None,
        time: float | None = None,
        key: str | None = None,
    ) -> DecisionRecord:
        """Write a decision, and return its record; it costs some microseconds and never fails.

        Args:
            decision: What the router decided.
            decision_id: Its id in the log; by default its own.
            chosen: The expert that is asked first if it is another than the decision's, such as
                the one that a conversation stays with.
            prompt_tokens: The length of what is sent.
            time: When it was decided, in seconds since 1970 (UTC); by default now.
            key: What stands for its thread; by default its `thread_id` or `session_id`.
        """
        record = decision_record(
            decision,
            self.fingerprint,
            decision_id=decision_id or decision.id,
            chosen=chosen,
            prompt_tokens=prompt_tokens,
            time=time,
            key=key,
        )
        self.traffic.record_decision(record)
        return record

    def record_kept(  # noqa: PLR0913 - what is known of an answer without a decision
        self,
        decision_id: str,
        chosen: str,
        *,
        position: FloatArray | None = None,
        kind: str | None = None,
        prompt_tokens: float | None = None,
        keys: Mapping[str, str] | None = None,
        key: str | None = None,
        tags: tuple[str, ...] = (),
        arm: str | None = None,
    ) -> None:
        """Write an answer that needed no decision of its own: the turn stays with its expert.

        `keys` are those of the request; `key` stands for its thread, as in `record`.
        """
        self.traffic.record_decision(
            DecisionRecord(
                id=decision_id,
                time=clock.time(),
                router=self.fingerprint,
                chosen=chosen,
                position=position,
                kind=kind,
                prompt_tokens=prompt_tokens,
                frozen_choice=chosen,
                key=thread_of(keys or {}) if key is None else key,
                user_id=user_of(keys or {}),
                tags=tags,
                arm=arm,
            )
        )

    def record_outcome(self, outcome: Outcome) -> None:
        """Write what came of a decision; it never fails."""
        self.traffic.record_outcome(outcome)

    def add_feedback(self, feedback: Feedback) -> bool:
        """Write feedback and learn from it at once; return False if the log has it already.

        Raises:
            TrafficError: the store fails; nothing is written.
        """
        is_new = self.traffic.add_feedback(feedback)
        self.sync()
        return is_new

    def add_signal(self, feedback: Feedback) -> None:
        """Write feedback soon, from another thread; this neither waits nor raises."""
        self._signals.put(feedback)

    def flush(self, timeout: float | None = 10.0) -> bool:
        """Wait until everything is stored and learned; return False if the store is slow."""
        return self._signals.flush(timeout) and self.traffic.flush(timeout)

    def _write_signals(self, batch: Sequence[Feedback]) -> Sequence[Feedback]:
        for feedback in batch:  # a second attempt changes nothing: each has its own id
            self.traffic.add_feedback(feedback)
        self.sync()
        return ()

    # Learning

    def probes(self, decision: Decision) -> dict[str, float]:
        """Return which experts get a share of decisions although they look worse."""
        if self._sync is None or decision.default_used:
            return {}
        return self._sync.probes(decision.frozen_choice, decision.expert.name)

    def sync(self) -> None:
        """Learn from what any process has added to the log; a store that fails is no error."""
        if self._sync is not None:
            self._sync.sync()

    def learned_since(self, since: float) -> LearningReport:
        """Return what changed since a time, in seconds since 1970 (UTC).

        Raises:
            PerceptionError: the perception does not learn from a log.
            TrafficError: the store fails.
        """
        return self._required_sync().learned_since(since)

    def undo(self, to: float) -> None:
        """Forget, in all processes, what was learned after a time, in seconds since 1970 (UTC).

        Raises:
            InputError: the time is in the future.
            PerceptionError: the perception does not learn from a log.
            TrafficError: the store fails.
        """
        self._required_sync().undo(to)

    def _required_sync(self) -> TrafficSync:
        if self._sync is None:
            raise PerceptionError(
                f"{type(self.perception).__name__} does not learn from a log: it has no abilities, "
                "or its losses are not those of scores from 0 to 1."
            )
        return self._sync


def open_log(
    traffic: Traffic | str | None, perception: Perception, library: Library
) -> DecisionLog | None:
    """Return the log of a router, None without one; `traffic` is the store or its URL.

    Raises:
        InputError: it is neither.
        TrafficError: the store cannot be opened.
        MissingExtraError: SQLAlchemy is not installed.
    """
    store = open_traffic(traffic)
    if store is None:
        return None
    return DecisionLog(store, perception.innermost(), library, perception.duplicates)


def decision_record(  # noqa: PLR0913 - what is written beside the decision
    decision: Decision,
    router: str,
    *,
    decision_id: str,
    chosen: str | None = None,
    prompt_tokens: float | None = None,
    time: float | None = None,
    key: str | None = None,
) -> DecisionRecord:
    """Return what the log keeps of a decision; `router` is the fingerprint of the router.

    The arguments are those of `DecisionLog.record`.
    """
    columns = _columns(decision.ranking)
    is_kept = chosen is not None and chosen != decision.expert.name
    chosen = decision.expert.name if chosen is None else chosen
    propensities = {} if is_kept else decision.propensities
    return DecisionRecord(
        id=decision_id,
        time=clock.time() if time is None else time,
        router=router,
        chosen=chosen,
        propensity=1.0 if is_kept else decision.propensity,
        candidates=columns.names,
        losses=columns.losses,
        stds=columns.stds,
        totals=columns.totals,
        costs=columns.costs,
        propensities=_propensities(columns.names, propensities, chosen),
        position=decision.position,
        kind=decision.kind,
        typicality=decision.typicality,
        prompt_tokens=prompt_tokens,
        is_default=decision.default_used,
        frozen_choice=chosen if is_kept else decision.frozen_choice or decision.expert.name,
        shadow_choices=decision.shadow_choices,
        arm=decision.arm,
        key=thread_of(decision.keys) if key is None else key,
        user_id=user_of(decision.keys),
        tags=decision.tags,
        changes=decision.changes,
        prompt=decision.prompt,  # which the store keeps only if its user wants that
        cost_terms=columns.cost_terms,
        tolerance=decision.preferences.tolerance,
    )


def _propensities(
    names: Sequence[str], given: Mapping[str, float], chosen: str
) -> tuple[float, ...]:
    """Return the probability of each candidate; without any given, the choice was certain."""
    if given:
        return tuple([given.get(name, 0.0) for name in names])
    return tuple([float(name == chosen) for name in names])


def _columns(ranking: Sequence[RankedExpert]) -> RankingColumns:
    """Return the scores of the best experts."""
    if isinstance(ranking, Ranking):
        return ranking.columns(MAX_CANDIDATES)
    ranked = ranking[:MAX_CANDIDATES]
    return RankingColumns(
        tuple(one.name for one in ranked),
        tuple(one.predicted_loss for one in ranked),
        tuple(one.std for one in ranked),
        tuple(one.total - one.terms.get(TOLERANCE, 0.0) for one in ranked),
        tuple(one.cost for one in ranked),
        tuple(one.terms.get(ANSWER_VALUE, 0.0) + one.terms.get("cost", 0.0) for one in ranked),
    )


def thread_of(keys: Mapping[str, str]) -> str | None:
    """Return the thread that the keys of a request name, None if none."""
    return keys.get("thread_id") or keys.get("session_id")


def user_of(keys: Mapping[str, str]) -> str | None:
    """Return the user that the keys of a request name, None if none."""
    return keys.get("user_id") or keys.get("user")


def make_feedback(  # noqa: PLR0913 - the fields of feedback
    decision_id: str,
    score: float,
    *,
    kind: str = "thumb",
    comment: str | None = None,
    feedback_id: str | None = None,
    expert: str | None = None,
) -> Feedback:
    """Return checked feedback of now; without a `feedback_id` it gets a random one.

    Raises:
        InputError: the score is not between 0 and 1, or another value is not a text.
    """
    texts = {"id": decision_id, "kind": kind, "comment": comment, "feedback_id": feedback_id}
    for name, value in texts.items():
        is_missing = value is None and name in ("comment", "feedback_id")
        if not is_missing and not (isinstance(value, str) and (value or name == "comment")):
            given = repr(value) if value is None or value == "" else f"a {type(value).__name__}"
            hint = ", such as decision.id" if name == "id" else ""
            raise InputError(f"{name} is {given}; expected a text that is not empty{hint}.")
    if isinstance(score, bool | np.bool_):  # a thumb, up or down
        score = float(score)
    return Feedback(
        id=feedback_id or uuid4().hex,
        decision_id=decision_id,
        time=clock.time(),
        score=check_number("score", score, 0.0, 1.0),
        kind=kind,
        comment=None if comment is None else comment[:_MAX_COMMENT],
        expert=expert,
    )


def _weak_call(sync: TrafficSync) -> Callable[[], object]:
    """Return what syncs as long as the router is in use; the store must not keep it alive."""
    reference = weakref.ref(sync)

    def call() -> None:
        live = reference()
        if live is not None:
            live.sync()

    return call


def timestamp(name: str, value: float | datetime) -> float:
    """Return a time in seconds since 1970 (UTC).

    Raises:
        InputError: it is neither a number nor a `datetime` with a time zone.
    """
    if not isinstance(value, datetime):
        return check_number(name, value)
    if value.tzinfo is None:
        raise InputError(
            f"{name} is {value}, without a time zone; write datetime.now().astimezone(), or use "
            "datetime.now(timezone.utc)."
        )
    return value.timestamp()
