"""Judging a share of the answers in the background: the scores are feedback of the kind "judge"."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from tryage.core.validation import check_number
from tryage.errors import InputError
from tryage.onboarding.judge import RatingJudge
from tryage.scoring.measurement import Prompt
from tryage.scoring.scorers import ScoreResult
from tryage.traffic.decision_log import make_feedback
from tryage.traffic.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.chat.plan import RoutingPlan
    from tryage.router import Router
    from tryage.traffic.decision_log import DecisionLog

_LOGGER = logging.getLogger(__name__)

_MAX_WAITING = 256  # answers; while judges are slower, further ones are left out

_ID_RANGE = 16**16  # ids are 16 hexadecimal digits


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """What a judge gets: the user's `question`, the whole `prompt` that was sent, and the `answer`.

    The prompt of a query engine holds what it has retrieved.
    """

    question: str
    prompt: str
    answer: str


Judge: TypeAlias = Callable[[JudgedAnswer], "float | bool | ScoreResult | None"]
"""Returns a score from 0 to 1, 1 best, with its cost in a `ScoreResult`; None if it cannot tell."""


def simple_judge(function: RatingJudge | Callable[[str, str], Any]) -> Judge:
    """Return the judge that calls a function of the question and the answer.

    The function may be a `tryage.onboarding.judge.RatingJudge`: a language model that rates.

    Raises:
        InputError: it is no function.
    """
    # Not functions of this one: the pickle of a model with a judge could not hold them.
    if isinstance(function, RatingJudge):
        return partial(_rate_prompt, function)
    if not callable(function):
        raise InputError(
            f"judge is a {type(function).__name__}; expected a function of the question and the "
            "answer that returns a score from 0 to 1, or an evaluator of the framework."
        )
    return partial(_judge_text, function)


def _rate_prompt(judge: RatingJudge, judged: JudgedAnswer) -> ScoreResult:
    return judge(Prompt(judged.question), judged.answer)


def _judge_text(function: Callable[[str, str], Any], judged: JudgedAnswer) -> Any:  # noqa: ANN401 - what the user's function returns
    return function(judged.question, judged.answer)


def check_judge_has_log(traffic: object, router: Router | None) -> None:
    """Raise unless there is a log that takes the scores of a judge: the router's or one's own.

    Raises:
        InputError: there is none.
    """
    if traffic is None and (router is None or router.traffic is None):
        raise InputError(
            "judge has no log to write its scores into: give one, traffic='sqlite:///tryage.db'."
        )


class AnswerJudge:
    """Rates a share of the answers, in a thread; no call waits for it.

    Args:
        judge: Rates one answer.
        share: Of the answers, chosen at random by their ids.
        budget: USD for all judgments of this process, None without a limit.
        cost: USD of one judgment where the judge does not return it.

    A judge that fails, or whose score is not from 0 to 1, costs a warning in the log of Python, and
    gives no feedback.

    Raises:
        InputError: a number is out of range.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        share: float = 0.02,
        budget: float | None = None,
        cost: float | None = None,
    ) -> None:
        self._judge, self.share = judge, check_number("judge_share", share, 0.0, 1.0)
        self.budget = None if budget is None else check_number("judge_budget", budget)
        self.cost = None if cost is None else check_number("judge_cost", cost)
        self.spent = 0.0
        self._writer = Writer(
            self._rate_all, lambda _: "answers to judge", queue_size=_MAX_WAITING, interval=0.0
        )

    def draws(self, decision_id: str) -> bool:
        """Return whether the answer of a decision is judged, if the budget lasts."""
        if self.budget is not None and self.spent + (self.cost or 0.0) > self.budget:
            return False
        return int(decision_id, 16) < self.share * _ID_RANGE

    def submit(self, log: DecisionLog, plan: RoutingPlan, name: str, answer: str) -> None:
        """Rate an answer of the expert `name` soon."""
        if plan.conversation is None:
            return
        prompt = "\n\n".join(turn.text for turn in plan.conversation.turns if turn.text)
        judged = JudgedAnswer(plan.conversation.request, prompt, answer)
        self._writer.put((log, plan.id, name, judged))

    def flush(self, timeout: float | None = 10.0) -> bool:
        """Wait until all answers so far are rated; return False if that takes longer."""
        return self._writer.flush(timeout)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the settings; what was spent belongs to this process."""
        return _make_judge, (self._judge, self.share, self.budget, self.cost)

    def _rate_all(
        self, batch: Sequence[tuple[DecisionLog, str, str, JudgedAnswer]]
    ) -> Sequence[Any]:
        for log, decision_id, name, judged in batch:
            if self.draws(decision_id):
                self._rate(log, decision_id, name, judged)
        return ()

    def _rate(self, log: DecisionLog, decision_id: str, name: str, judged: JudgedAnswer) -> None:
        try:
            result = self._judge(judged)
        except Exception as error:  # noqa: BLE001 - a judge may raise anything
            _LOGGER.warning("The judge failed: %s.", type(error).__name__)
            self._spend(None)
            return
        score = result.score if isinstance(result, ScoreResult) else result
        self._spend(result.cost if isinstance(result, ScoreResult) else None)
        if score is None or (isinstance(score, float) and math.isnan(score)):
            return
        try:
            feedback = make_feedback(
                decision_id,
                score,
                kind="judge",
                feedback_id=f"{decision_id}:judge:{name}",
                expert=name,
            )
        except InputError:  # its message may hold words of the judge, and so of the answer
            given = f"{score:g}" if isinstance(score, float | int) else f"a {type(score).__name__}"
            _LOGGER.warning("The judge returned %s, expected a score from 0 to 1.", given)
        else:
            log.add_signal(feedback)

    def _spend(self, cost: float | None) -> None:
        """Add the cost of a judgment; if it is unknown, a budget ends the judging."""
        known = self.cost if cost is None else cost
        if known is not None:
            self.spent += known
        elif self.budget is not None:
            _LOGGER.warning(
                "The cost of a judgment is unknown, so the budget of %g USD ends the judging: say "
                "what one costs, judge_cost=0.002.",
                self.budget,
            )
            self.spent = math.inf


def _make_judge(
    judge: Judge, share: float, budget: float | None, cost: float | None
) -> AnswerJudge:
    return AnswerJudge(judge, share=share, budget=budget, cost=cost)
