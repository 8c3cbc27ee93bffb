"""Measuring an expert by its answers: a scorer rates each one; and their readability."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tryage.core.expert import Expert
from tryage.core.redaction import describe_error
from tryage.core.validation import check_number, require_extra
from tryage.errors import InputError, MeasurementError
from tryage.scoring.measurement import Measurement, MeasurerIdentity, Prompt
from tryage.scoring.replies import (
    as_callable,
    call_with_retries,
    is_prompt_error,
    is_transient,
    parse_reply,
    reply_cost,
)
from tryage.scoring.scorers import Scorer, ScoreResult, check_required_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tryage.scoring.measurement import Budget
    from tryage.scoring.replies import Reply

MAX_CONSECUTIVE_FAILURES = 10  # prompts in a row that fail before an expert is given up


class GenerationMeasurer:
    """An expert that answers, with a scorer that rates its answers.

    Args:
        expert: Its name, or what is known about it: prices make the cost known.
        model: A LangChain runnable, a LlamaIndex LLM, or a function from text to text (or to an
            `Answer`, which holds tokens and cost). Several threads call it at the same time.
        scorer: From prompt and answer to a score in [0, 1], 1 best.
        ask: From a prompt to the text that is sent; the prompt's own text by default.
        concurrency: How many requests run at once.
        retries: How often a request is tried again after a transient error.
        keep_output: Whether the Q-table keeps the answers.
        measures_readability: Whether to measure it, which needs the extra `score`.

    Raises:
        InputError: the model cannot be called, or a number is out of range.
    """

    def __init__(  # noqa: PLR0913 - each is one independent option of asking
        self,
        expert: Expert | str,
        model: object,
        scorer: Scorer,
        *,
        ask: Callable[[Prompt], str] = lambda prompt: prompt.text,
        concurrency: int = 4,
        retries: int = 3,
        keep_output: bool = True,
        measures_readability: bool = True,
    ) -> None:
        self.expert = Expert(expert) if isinstance(expert, str) else expert
        self.scorer, self.ask, self.keep_output = scorer, ask, keep_output
        self.concurrency = int(check_number("concurrency", concurrency, 1))
        self.retries = int(check_number("retries", retries))
        self.measures_readability = measures_readability
        self._call_model = as_callable(model)

    def identify(self) -> MeasurerIdentity:
        """Return the expert, and the name of the scorer as the method."""
        name = getattr(self.scorer, "__name__", type(self.scorer).__name__)
        return MeasurerIdentity(self.expert, f"answers scored by {name}")

    def measure(
        self, prompts: Sequence[Prompt], budget: Budget
    ) -> Iterator[tuple[int, Measurement]]:
        """Yield scores as the answers come in; after an error it waits for the running requests.

        Raises:
            InputError: a prompt lacks what the scorer needs; then no request was sent.
            MeasurementError: the client refuses every prompt, the scorer fails, or the cost that a
                budget needs is unknown.
        """
        for prompt in prompts:
            check_required_fields(self.scorer, prompt)
        remaining_prompts = iter(enumerate(prompts))
        stop_condition = _StopCondition(self.expert.name)
        running_requests: dict[Future[Measurement], int] = {}
        with ThreadPoolExecutor(self.concurrency) as pool:
            while True:
                while len(running_requests) < self.concurrency and not stop_condition.reason:
                    is_allowed = budget.allows(self.expert.name, len(running_requests))
                    if not is_allowed or (item := next(remaining_prompts, None)) is None:
                        break
                    running_requests[pool.submit(self._measure_prompt, item[1], budget)] = item[0]
                if not running_requests:
                    break
                for future in wait(running_requests, return_when=FIRST_COMPLETED).done:
                    position = running_requests.pop(future)
                    if (measurement := stop_condition.collect(future)) is not None:
                        yield position, measurement
                        stop_condition.charge(budget, measurement)
        if stop_condition.reason:
            raise stop_condition.reason

    def _measure_prompt(self, prompt: Prompt, budget: Budget) -> Measurement:
        """Ask, time and score one prompt; an error of this prompt alone is in the measurement."""
        text = self.ask(prompt)
        try:
            reply, seconds = call_with_retries(
                lambda: _call_timed(self._call_model, text), self.retries, budget.sleep
            )
        except Exception as error:
            if not (is_transient(error) or is_prompt_error(error)):
                raise
            return Measurement(error=describe_error(error))
        answer = parse_reply(reply)
        measurement = Measurement(
            output_tokens=answer.output_tokens,
            latency=seconds,
            cost=reply_cost(answer, self.expert),
            readability=reading_ease(answer.text) if self.measures_readability else None,
            output=answer.text if self.keep_output else None,
        )
        return self._score_answer(prompt, answer.text, measurement)

    def _score_answer(self, prompt: Prompt, text: str, measurement: Measurement) -> Measurement:
        """Add the score to the measurement of an answer."""
        try:
            result = ScoreResult.from_value(self.scorer(prompt, text))
        except Exception as error:
            concerns_answer = (
                isinstance(error, MeasurementError) or is_transient(error) or is_prompt_error(error)
            )
            if not concerns_answer:  # a mistake in the scorer, which fails for every answer
                raise
            return replace(measurement, error=f"the scorer failed: {describe_error(error)}")
        loss = 1.0 - result.score
        return replace(measurement, loss=loss, score=result.score, scoring_cost=result.cost)


def reading_ease(text: str) -> float | None:
    """Return the Flesch reading ease of an English text, higher is easier; None without words.

    206.835 - 1.015 words per sentence - 84.6 syllables per word (Flesch, 1948). textstat counts the
    words and sentences. Syllables are counted by hyphenation, as textstat does for words that are
    in no dictionary: textstat would download its dictionary for English without asking the user,
    and the same text would get another result on a machine that has the dictionary.

    Raises:
        MissingExtraError: textstat is not installed.
    """
    words = [word for word in text.split() if any(char.isalpha() for char in word)]
    if not words:
        return None
    count_words, count_sentences, count_syllables = _text_counters()
    n_words, n_sentences = count_words(text), max(1, count_sentences(text))
    n_syllables = sum(count_syllables("".join(filter(str.isalpha, word))) for word in words)
    return 206.835 - 1.015 * n_words / n_sentences - 84.6 * n_syllables / len(words)


class _StopCondition:
    """Holds the reason why no further prompt is sent, if there is one."""

    def __init__(self, name: str) -> None:
        self.reason: MeasurementError | InputError | None = None
        self._name, self._consecutive_failures = name, 0

    def collect(self, future: Future[Measurement]) -> Measurement | None:
        """Return the measurement, or record why there is no measurement."""
        try:
            measurement = future.result()
        except (InputError, MeasurementError) as error:
            self.reason = self.reason or error
            return None
        except Exception as error:  # noqa: BLE001 - clients and scorers raise anything
            self.reason = self.reason or self._measurement_error(describe_error(error), error)
            return None
        self._consecutive_failures = self._consecutive_failures + 1 if measurement.error else 0
        if self._consecutive_failures >= MAX_CONSECUTIVE_FAILURES:
            self.reason = self.reason or self._measurement_error(
                f"{MAX_CONSECUTIVE_FAILURES} prompts in a row have failed: {measurement.error}"
            )
        return measurement

    def charge(self, budget: Budget, measurement: Measurement) -> None:
        """Charge the budget for an answer and its score."""
        if measurement.error and measurement.cost is None:
            return  # there was no answer
        costs = [measurement.cost, 0.0 if measurement.error else measurement.scoring_cost]
        known_costs = [usd for usd in costs if usd is not None]
        try:
            budget.charge(self._name, sum(known_costs) if len(known_costs) == len(costs) else None)
        except MeasurementError as error:
            self.reason = self.reason or error

    def _measurement_error(
        self, message: str, cause: BaseException | None = None
    ) -> MeasurementError:
        error = MeasurementError(f"{self._name} cannot be measured: {message}")
        error.__cause__ = cause
        return error


def _call_timed(call: Callable[[str], Reply], text: str) -> tuple[Reply, float]:
    """Return a reply and the seconds that it took."""
    start = time.perf_counter()
    reply = call(text)
    return reply, time.perf_counter() - start


@lru_cache(maxsize=1)
def _text_counters() -> tuple[Callable[[str], int], Callable[[str], int], Callable[[str], int]]:
    """Return the functions that count words, sentences, and the syllables of one word."""
    require_extra("textstat", "score")
    import textstat
    from pyphen import Pyphen

    hyphenator: Any = Pyphen(lang="en_US")

    @lru_cache(maxsize=50_000)
    def count_syllables(word: str) -> int:
        return len(hyphenator.positions(word.lower())) + 1

    return textstat.lexicon_count, textstat.sentence_count, count_syllables
