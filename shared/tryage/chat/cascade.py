"""A cascade of experts: the answer of a step is kept, or the next expert is asked."""

# ruff: noqa: BLE001 - clients and checks raise anything.

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from tryage.chat.call_observer import token_counts
from tryage.chat.calls import Call
from tryage.chat.hooks import SAMPLE_KEY
from tryage.chat.streams import PeekedStream, close_stream, read_on
from tryage.core.policy_change import Verdict
from tryage.core.redaction import redacted_error
from tryage.errors import InputError
from tryage.telemetry.observer import IGNORED_CALL, CallObserver

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from tryage.chat.attempts import Attempts
    from tryage.chat.costs import CallCosts
    from tryage.chat.hedging import HedgedCall
    from tryage.chat.hooks import FallbackHooks
    from tryage.chat.plan import RoutingPlan, RoutingRecord
    from tryage.core.policy_change import CallStep
    from tryage.policies.evidence import AnswerEvidence

T = TypeVar("T")

Calls: TypeAlias = "Generator[Call, Any, T]"
"""Yields calls to make, and is sent their results."""

_log = logging.getLogger(__name__)


class Sample(NamedTuple):
    """The call of an expert that is asked beside another one, or what came of it.

    `key` tells the calls of an expert apart.
    """

    expert: str
    key: str
    result: Any


@dataclass
class Cascade:
    """The steps of one call, while it is answered.

    `earlier` is the last answer that was not kept, with its expert: it is returned if no later step
    answers.
    """

    plan: RoutingPlan
    hooks: FallbackHooks
    attempts: Attempts
    costs: CallCosts
    observer: CallObserver = IGNORED_CALL
    earlier: tuple[str, Any] | None = None
    _unread: list[object] = field(default_factory=list)  # answers whose streams may be open

    def ask(
        self,
        client: object,
        record: RoutingRecord,
        hedge: HedgedCall | None,
    ) -> Calls[tuple[Any, list[Sample]]]:
        """Call an expert and, at the same time, those whose answers are evidence about its own.

        A call with samples is not hedged: they are asked already.
        """
        call = partial(self.hooks.call, client, record)
        beside = yield from self._sample_calls(record["model"], client)
        limit = self.attempts.seconds_left
        if not beside:
            return (yield Call(call, limit, hedge)), []
        calls = tuple(sample.result for sample in beside)
        answer, *results = yield Call(call, limit, beside=calls)
        self._unread += results
        if isinstance(answer, BaseException):
            raise answer
        pairs = zip(beside, results, strict=True)
        return answer, [sample._replace(result=result) for sample, result in pairs]

    def read_enough(self, name: str, answer: object) -> Calls[Any]:
        """Return a stream of which so much is read that one can decide about it.

        Another answer, and the stream of an expert whose answer nothing checks, stay as they are.
        """
        step = self.plan.step(name)
        if step is None or step.verify is None:
            return answer
        is_certain = step.is_certain
        if is_certain is None:
            return (yield from self._read_on(answer, None))
        return (yield from self._read_on(answer, lambda stream: is_certain(self._evidence(stream))))

    def keeps(self, name: str, answer: object, samples: Sequence[Sample]) -> Calls[bool]:
        """Decide about the answer of an expert, and note what that cost."""
        step = self.plan.step(name)
        if step is None or step.verify is None:
            return True
        evidence, spent = yield from self._read_samples(samples)
        self.hooks.answered_by(name)
        whole = replace(self._evidence(answer), samples=tuple(evidence))
        verdict = yield from self._verify(step, whole)
        self.costs.add_step(name, answer, [*spent, verdict.cost], verdict)
        if not verdict.is_kept:
            self._unread += [] if self.earlier is None else [self.earlier[1]]
            self.earlier = name, answer
            self.observer.end_unkept(name, token_counts(self.hooks.read_usage(answer)))
            self.attempts.add_escalation(name, verdict.reason)
        return verdict.is_kept

    def close_unread(self, *, is_over: bool) -> Calls[None]:
        """Close the streams of samples, which nobody reads on.

        If the call `is_over`, without the answer of an earlier step, that one is closed, too.
        """
        unread, self._unread = self._unread, []
        if is_over and self.earlier is not None:
            unread.append(self.earlier[1])
        for answer in unread:
            if not isinstance(answer, PeekedStream):
                continue
            is_async = isinstance(answer.remaining_chunks, AsyncIterator)
            try:
                yield Call(partial(close_stream, answer), blocking=not is_async)
            except Exception as error:
                self._warn("a stream that is not read on cannot be closed", error)

    # Samples -------------------------------------------------------------------------------

    def _sample_calls(self, name: str, own_client: object) -> Calls[list[Sample]]:
        """Return the calls beside that of an expert; one whose client cannot be made has none."""
        step, calls = self.plan.step(name), list[Sample]()
        for i, expert in enumerate(() if step is None or step.verify is None else step.samples, 1):
            client = own_client
            if expert != name:
                try:
                    client = yield Call(partial(self.hooks.get_client, expert))
                except Exception as error:
                    self._warn(f"a sample of {expert} is no evidence", error)
                    continue
            key = f"{expert}, sample {i}"
            reason = f"a sample beside the answer of {name}"
            record = {**self.plan.record(expert), "reason": reason, SAMPLE_KEY: key}
            calls.append(Sample(expert, key, partial(self.hooks.call, client, record)))
        return calls

    def _read_samples(
        self, samples: Sequence[Sample]
    ) -> Calls[tuple[list[AnswerEvidence], list[float | None]]]:
        """Return what samples tell, and what they cost; one that has failed tells nothing."""
        evidence, spent = list[Any](), list[float | None]()
        for sample in samples:
            answer = yield from self._read_sample(sample)
            if isinstance(answer, BaseException):
                self._warn(f"a sample of {sample.expert} is no evidence", answer)
                continue
            self.hooks.answered_by(sample.key)
            spent.append(self.costs.answer_cost(sample.expert, answer))
            usage = token_counts(self.hooks.read_usage(answer))
            self.observer.end_unkept(sample.key, usage, is_sample=True)
            evidence.append(self._evidence(answer))
        return evidence, spent

    def _read_sample(self, sample: Sample) -> Calls[Any]:
        """Return the whole answer of a sample, or the error with which it has failed."""
        try:
            return (yield from self._read_on(sample.result, None))
        except Exception as error:
            return error

    # Reading and checking answers ----------------------------------------------------------

    def _read_on(
        self, answer: object, is_enough: Callable[[PeekedStream], bool] | None
    ) -> Calls[Any]:
        """Return a stream of which enough is read; another answer stays as it is."""
        if not isinstance(answer, PeekedStream):
            return answer
        return (yield Call(partial(read_on, answer, is_enough), self.attempts.seconds_left))

    def _verify(self, step: CallStep, evidence: AnswerEvidence) -> Calls[Verdict]:
        """Decide about an answer; where that fails, the answer is not kept.

        Raises:
            InputError: the policy's check returns no verdict.
        """
        verify = partial(step.verify or _keep, evidence)
        try:
            verdict: Verdict = yield Call(verify, self.attempts.call_seconds_left, blocking=True)
        except Exception as error:
            self._warn(f"the answer of {step.expert} is not kept, as it cannot be checked", error)
            return Verdict(False, f"its check failed with {type(error).__name__}", None)
        if not isinstance(verdict, Verdict):
            raise InputError(
                f"The check of {step.expert}'s answer returned {verdict!r:.80}; expected a Verdict."
            )
        return verdict

    def _evidence(self, answer: object) -> AnswerEvidence:
        conversation = self.plan.conversation
        question = None if conversation is None else conversation.request
        return replace(self.hooks.read_evidence(answer), question=question)

    def _warn(self, what: str, error: BaseException) -> None:
        """Log an error; only the level DEBUG has its message, which may quote the prompt."""
        decision = {"decision_id": self.plan.id}
        name = type(error).__name__
        _log.warning("Decision %s: %s (%s).", self.plan.id, what, name, extra=decision)
        if _log.isEnabledFor(logging.DEBUG):
            shown = redacted_error(error)
            _log.debug("The %s of decision %s", name, self.plan.id, exc_info=shown, extra=decision)


def _keep(_: AnswerEvidence) -> Verdict:
    return Verdict(True, "nothing checks it")
