"""Judges of answers in LangChain's words: evaluators of strings and of runs, and functions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult

from tryage.chat.judging import simple_judge

if TYPE_CHECKING:
    from tryage.chat.judging import Judge, JudgedAnswer


def read_judge(judge: Any) -> Judge:
    """Return what rates an answer: an evaluator of LangChain, or a function.

    A string evaluator, such as that of `load_evaluator("criteria", ...)`, gets the question and the
    answer. Its score counts if it is from 0 to 1.

    Raises:
        InputError: it is neither.
    """
    if not hasattr(judge, "evaluate_strings"):  # the package of evaluators is optional
        return simple_judge(judge)
    return partial(_rate, judge)


def _rate(evaluator: Any, judged: JudgedAnswer) -> float | None:
    result = evaluator.evaluate_strings(prediction=judged.answer, input=judged.question)
    score = result.get("score")
    return None if score is None else float(score)


def text_of_answer(answer: Any) -> str | None:
    """Return the text of an answer, None if it has no message."""
    if isinstance(answer, ChatResult):
        answer = answer.generations[0].message if answer.generations else None
    if isinstance(answer, dict):
        answer = answer.get("raw")
    return str(answer.text) if isinstance(answer, BaseMessage) else None
