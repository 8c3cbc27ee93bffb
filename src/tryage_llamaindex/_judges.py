"""Judges of answers in LlamaIndex's words: its evaluators, and functions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from llama_index.core.evaluation import BaseEvaluator
from llama_index.core.llms import ChatResponse, CompletionResponse

from tryage.chat.judging import simple_judge

if TYPE_CHECKING:
    from tryage.chat.judging import Judge, JudgedAnswer


def read_judge(judge: Any) -> Judge:
    """Return what rates an answer: an evaluator of LlamaIndex, or a function.

    An evaluator, such as `FaithfulnessEvaluator`, gets the question, the answer and, as its only
    context, the whole prompt, in which a query engine puts what it has retrieved. An answer that it
    finds invalid does not count.

    Raises:
        InputError: it is neither.
    """
    if not isinstance(judge, BaseEvaluator):
        return simple_judge(judge)
    return partial(_rate, judge)


def _rate(evaluator: BaseEvaluator, judged: JudgedAnswer) -> float | None:
    result = evaluator.evaluate(
        query=judged.question, response=judged.answer, contexts=[judged.prompt]
    )
    if result.invalid_result:
        return None
    return result.score if result.score is not None else result.passing


def text_of_answer(answer: Any) -> str | None:
    """Return the text of a whole answer, None if it has none."""
    if isinstance(answer, CompletionResponse):
        return answer.text
    return answer.message.content if isinstance(answer, ChatResponse) else None


def text_of_chunk(chunk: Any) -> str | None:
    """Return what a chunk of a stream adds to the text."""
    is_text = isinstance(chunk, ChatResponse | CompletionResponse)
    return chunk.delta if is_text else None
