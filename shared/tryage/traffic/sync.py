"""Keeps a live perception at what the log of traffic teaches, in every process that shares it."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from typing import TYPE_CHECKING

from tryage.errors import InputError, PersistenceError, TrafficError
from tryage.locks import ForkSafeLock
from tryage.telemetry.observer import TELEMETRY
from tryage.traffic.learner import UNDO, Alarm, Learner
from tryage.traffic.learner_state import LearnerState
from tryage.traffic.learning_report import LearningReport, compare

if TYPE_CHECKING:
    from tryage.perception.model import LearnedPerception
    from tryage.traffic.traffic import Traffic

_LOGGER = logging.getLogger(__name__)

_PAGE = 500  # rows of one read

ROWS_PER_SNAPSHOT = 1_000

_FIRST_SNAPSHOT = 100  # rows that a new process had to read: the next one need not

_SECONDS_PER_WARNING = 60.0


class TrafficSync:
    """Reads the log of `traffic` with a `learner`, and puts what it learns into a `perception`.

    Threads may share it. A forked child goes on by itself.
    """

    def __init__(self, traffic: Traffic, learner: Learner, perception: LearnedPerception) -> None:
        self._traffic, self._learner, self._perception = traffic, learner, perception
        self._empty = learner.copy_empty()
        self._key: str | None = None
        self._lock = ForkSafeLock()
        self._last_warning = float("-inf")
        self._next_snapshot = _FIRST_SNAPSHOT
        self._process: int | None = None

    @property
    def learner(self) -> Learner:
        """What the log has taught so far."""
        return self._learner

    def sync(self) -> list[Alarm]:
        """Read what is new in the log, and put it into the perception; return what is alarming.

        It never raises for a failing store: it warns once a minute, and reads on at the next time.
        """
        try:
            with self._lock:
                return self._sync()
        except TrafficError as error:
            self._warn(f"Feedback could not be read, nothing new is learned now: {error}")
            return []

    def _sync(self) -> list[Alarm]:
        if self._process != os.getpid():
            self._start()
        learner, first = self._learner, self._learner.sequence
        alarms: list[Alarm] = []
        try:
            while rows := self._traffic.log_after(learner.sequence, _PAGE):
                alarms += learner.update(rows, self.state_at)
        finally:
            if learner.sequence > first:
                learner.apply(self._perception)
            for alarm in alarms:
                self._report(alarm)
        self._save_snapshot()
        return alarms

    def _start(self) -> None:
        """Continue from the last snapshot, so that a new process reads little of the log.

        The child of a fork starts anew, too: another thread may have been in the middle of a row.
        """
        snapshot = self._snapshot_state(None)
        self._learner.restore(snapshot or self._empty.copy_empty().state)
        if snapshot is not None:
            self._learner.apply(self._perception)
        self._next_snapshot = self._learner.sequence + _FIRST_SNAPSHOT
        self._process = os.getpid()

    def _snapshot_state(self, at_or_before: int | None) -> LearnerState | None:
        """Return the last saved state; a damaged one is left out, because the log has it all."""
        snapshot = self._traffic.latest_snapshot(self._snapshot_key(), at_or_before)
        if snapshot is None:
            return None
        try:
            state = LearnerState.from_bytes(snapshot.data)
            self._empty.check_state(state)
        except PersistenceError as error:
            self._warn(f"{error}; the log is read from its beginning instead.")
            return None
        return state

    def state_at(self, sequence: int) -> LearnerState:
        """Return what was known after an earlier row.

        Raises:
            TrafficError: the store fails.
        """
        learner = self._empty.copy_empty()
        snapshot = self._snapshot_state(sequence)
        if snapshot is not None:
            learner.restore(snapshot)
        while rows := self._traffic.log_after(learner.sequence, _PAGE):
            learner.update([row for row in rows if row.sequence <= sequence], self.state_at)
            if rows[-1].sequence >= sequence:
                break
        return learner.state

    def _save_snapshot(self) -> None:
        state = self._learner.state
        if state.sequence >= self._next_snapshot:
            self._traffic.save_snapshot(self._snapshot_key(), state.sequence, state.to_bytes())
            self._next_snapshot = state.sequence + ROWS_PER_SNAPSHOT

    def _snapshot_key(self) -> str:
        """Return what a state depends on beside the log: the router, its experts and settings."""
        if self._key is None:
            self._key = f"{self._learner.router or ''}/{self._learner.settings_hash()}"
        return self._key

    def _report(self, alarm: Alarm) -> None:
        """Tell the user, and write it to the log once for all processes."""
        _LOGGER.warning("%s", alarm.message)
        if TELEMETRY.observer is not None:
            TELEMETRY.observer.alarm(alarm.kind, alarm.expert, alarm.direction)
        event_id = f"{alarm.kind}-{alarm.sequence}-{alarm.expert}-{self._snapshot_key()}"
        event_hash = hashlib.sha256(event_id.encode()).hexdigest()[:32]
        try:
            self._traffic.add_event(alarm.kind, alarm.values(), alarm.expert, event_id=event_hash)
        except TrafficError as error:  # it was told, and another process may write it
            self._warn(f"An alarm could not be written to the log: {error}")

    def learned_since(self, since: float) -> LearningReport:
        """Return what changed in the beliefs since a time, in seconds since 1970 (UTC).

        Raises:
            TrafficError: the store fails.
        """
        with self._lock:
            self._sync()
            before = self._empty.copy_empty()
            before.restore(self.state_at(self._traffic.sequence_at(since)))
            return compare(before, self._learner)

    def undo(self, to: float) -> None:
        """Forget, in all processes, what was learned after a time, in seconds since 1970 (UTC).

        It is an event in the log, so an undo can be undone: go back to a time before it.

        Raises:
            InputError: the time is in the future.
            TrafficError: the store fails.
        """
        if to > time.time():
            raise InputError(f"undo goes back to a time in the past, got {to} seconds since 1970.")
        sequence = self._traffic.sequence_at(to)
        self._traffic.add_event(UNDO, {"sequence": sequence})
        with self._lock:
            self._sync()

    def probes(self, frozen_choice: str | None, choice: str) -> dict[str, float]:
        """Return which experts should get which share of decisions although they look worse."""
        return self._learner.probes(frozen_choice, choice)

    @property
    def has_learned(self) -> bool:
        """Whether any belief differs from the frozen router's."""
        return self._learner.has_learned

    def _warn(self, message: str) -> None:
        now = time.monotonic()
        if now - self._last_warning >= _SECONDS_PER_WARNING:
            self._last_warning = now
            _LOGGER.warning("%s", message)
