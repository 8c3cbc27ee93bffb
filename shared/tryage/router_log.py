"""What a router does with its log: it writes decisions, takes feedback, shows what it learned."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tryage.core.ranking import Ranking
from tryage.errors import InputError
from tryage.traffic.decision_log import DecisionLog, make_feedback, timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from tryage.core.arrays import FloatArray
    from tryage.core.decision import Decision
    from tryage.core.library import Library
    from tryage.core.policy import Policy
    from tryage.traffic.learning_report import LearningReport
    from tryage.traffic.traffic import Traffic


class RouterLog:
    """The base of `Router`: everything that reads or writes its log."""

    library: Library
    log: DecisionLog | None
    policy: Policy | None

    @property
    def traffic(self) -> Traffic | None:
        """The log of decisions and feedback, None without one."""
        return None if self.log is None else self.log.traffic

    @property
    def records(self) -> bool:
        """Whether `record` does anything: there is a log, or a policy."""
        return self.log is not None or self.policy is not None

    def policies(self) -> tuple[Policy, ...]:
        """Return the single policies that change what this router decides, in their order."""
        return () if self.policy is None else self.policy.policies()

    def record(  # noqa: PLR0913 - what is written beside the decision
        self,
        decision: Decision,
        *,
        decision_id: str | None = None,
        chosen: str | None = None,
        prompt_tokens: float | None = None,
        time: float | None = None,
        key: str | None = None,
    ) -> None:
        """Write a decision of `decide_batch` into the log, as `DecisionLog.record` says.

        The policy takes note of it, too, also without a log: of the expert that is asked first.
        """
        self.tell_policy(decision, decision_id=decision_id, chosen=chosen)
        self.write(
            decision,
            decision_id=decision_id,
            chosen=chosen,
            prompt_tokens=prompt_tokens,
            time=time,
            key=key,
        )

    def tell_policy(
        self, decision: Decision, *, decision_id: str | None = None, chosen: str | None = None
    ) -> None:
        """Do the part of `record` that is for the policy."""
        if self.policy is not None:
            self.policy.record(self._acted_on(decision, decision_id, chosen))

    def write(self, decision: Decision, **details: Any) -> None:  # noqa: ANN401 - those of `record`
        """Do the part of `record` that is for the log."""
        if self.log is not None:
            self.log.record(decision, **details)

    def _acted_on(
        self, decision: Decision, decision_id: str | None, chosen: str | None
    ) -> Decision:
        """Return a decision under the id of its call, for the expert that is asked first."""
        if decision_id is not None:
            decision = replace(decision, id=decision_id)
        if chosen in (None, decision.expert.name) or chosen not in self.library:
            return decision
        ranking = decision.ranking
        if isinstance(ranking, Ranking) and ranking.find(chosen) is not None:
            ranking = ranking.with_first(self.library.index(chosen))
        return replace(
            decision,
            expert=self.library[chosen],
            ranking=ranking,
            calls=None,  # they are of another expert
            propensity=1.0,
            propensities={},
            explored=False,
        )

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
        """Write an answer that needed no decision, as `DecisionLog.record_kept` says.

        The policy takes note of it, too, also without a log.
        """
        if self.policy is not None:
            self.policy.record_kept(decision_id, chosen, keys or {})
        if self.log is not None:
            self.log.record_kept(
                decision_id,
                chosen,
                position=position,
                kind=kind,
                prompt_tokens=prompt_tokens,
                keys=keys,
                key=key,
                tags=tags,
                arm=arm,
            )

    def settle(
        self,
        decision_id: str,
        expert: str | None,
        *,
        cost: float | None = None,
        latency: float | None = None,
    ) -> None:
        """Report what an answer cost, to the policy; chat models do it by themselves.

        Args:
            decision_id: The id of the decision.
            expert: The expert that answered, None if none did.
            cost: USD as billed for all that was called, None where unknown.
            latency: Seconds until the answer was complete.
        """
        if self.policy is not None:
            self.policy.settle(decision_id, expert, cost=cost, latency=latency)

    def feedback(  # noqa: PLR0913 - the fields of feedback
        self,
        id: str,  # noqa: A002 - what the record of an answer calls it
        score: float,
        *,
        kind: str = "thumb",
        comment: str | None = None,
        feedback_id: str | None = None,
        expert: str | None = None,
    ) -> bool:
        """Report how good an answer was, in any process, minutes or days later.

        The router learns from it at once, and every other router with the same log within seconds.

        Args:
            id: The id of the decision: `Decision.id`, or that in the record of an answer.
            score: From 0 to 1, 1 is best; True and False are a thumb up and down.
            kind: What measured it: "thumb", "judge", "test", "retry", "error", "parse" or your own.
            comment: Your own words; they are stored.
            feedback_id: Feedback with an id that the log has already changes nothing.
            expert: The expert that answered; by default the one that the log says.

        Returns:
            Whether it is new: False if the log has feedback with this `feedback_id` already. An id
            that the log does not know is no error, because another process may not have written its
            decision yet: the feedback waits for that, and teaches nothing until then.

        Raises:
            InputError: the router has no log, or a value is out of range.
            LibraryError: no such expert.
            TrafficError: the store fails; nothing is written.
        """
        name = None if expert is None else self.library[self.library.index(expert)].name
        feedback = make_feedback(
            id, score, kind=kind, comment=comment, feedback_id=feedback_id, expert=name
        )
        return self._required_log().add_feedback(feedback)

    def learned_since(self, since: float | datetime) -> LearningReport:
        """Return what the router has learned from feedback since a time, by expert.

        `since` is a `datetime` with a time zone, or seconds since 1970 (UTC). `print` it.

        Raises:
            InputError: the router has no log, or the time has no zone.
            PerceptionError: the perception does not learn from a log.
            TrafficError: the store fails.
        """
        return self._required_log().learned_since(timestamp("since", since))

    def undo(self, to: float | datetime) -> None:
        """Forget, in all processes, what was learned after a time, given as in `learned_since`.

        It is an entry of the log, so an undo can be undone: go back to a time before it.

        Raises:
            InputError: the router has no log, or the time has no zone or is in the future.
            PerceptionError: the perception does not learn from a log.
            TrafficError: the store fails.
        """
        self._required_log().undo(timestamp("to", to))

    def _required_log(self) -> DecisionLog:
        if self.log is None:
            raise InputError(
                "This router has no log. Give it one: Router(..., traffic='sqlite:///tryage.db')."
            )
        return self.log
