"""Scored answers: a model is asked every prompt, and a scorer says how good the answer is."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tryage.core.client_errors import describe_error
from tryage.core.expert import Expert
from tryage.core.validation import check_number, require_extra
from tryage.errors import InputError, MeasurementError
from tryage.learning.scoring import replies
from tryage.learning.scoring.measurement import Measurement, MeasurerIdentity, Prompt
from tryage.learning.scoring.replies import call_with_retries, is_prompt_error, is_transient
from tryage.learning.scoring.scorers import Scorer, ScoreResult, check_required_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tryage.learning.scoring.measurement import Budget

MAX_CONSECUTIVE_FAILURES = 10  # prompts in a row that fail before an expert is given up


class GenerationMeasurer:
    """An expert that answers, and what its answers are worth.

    Args:
        expert: Its name, or what is known about it: prices make the cost known.
        model: A LangChain runnable, a LlamaIndex LLM, or a function from text to text (or to an
            `Answer`, which tells tokens and cost). Threads ask it at the same time.
        scorer: From prompt and answer to a score in [0, 1], 1 best.
        ask: What is sent for a prompt; its text by default.
        concurrency: How many requests run at once.
        retries: How often a request is tried again after an error that passes.
        keep_output: Whether the Q-table keeps the answers.

    Raises:
        InputError: the model cannot be asked, or a number is out of range.
    """

    def __init__(  # noqa: PLR0913 - each is one thing about asking
        self,
        expert: Expert | str,
        model: object,
        scorer: Scorer,
        *,
        ask: Callable[[Prompt], str] = lambda prompt: prompt.text,
        concurrency: int = 4,
        retries: int = 3,
        keep_output: bool = True,
    ) -> None:
        self.expert = Expert(expert) if isinstance(expert, str) else expert
        self.scorer, self.ask, self.keep_output = scorer, ask, keep_output
        self.concurrency = int(check_number("concurrency", concurrency, 1))
        self.retries = int(check_number("retries", retries))
        self._call_model = replies.as_callable(model)

    def identify(self) -> MeasurerIdentity:
        """Say whose scores these are, and the scorer by its name."""
        name = getattr(self.scorer, "__name__", type(self.scorer).__name__)
        return MeasurerIdentity(self.expert, f"answers scored by {name}")

    def measure(
        self, prompts: Sequence[Prompt], budget: Budget
    ) -> Iterator[tuple[int, Measurement]]:
        """Yield scores as the answers come in; when something ends it, what runs is waited for.

        Raises:
            InputError: a prompt lacks what the scorer needs; nobody was asked.
            MeasurementError: the client refuses every prompt, the scorer fails, or the cost that a
                budget needs is unknown.
        """
        for prompt in prompts:
            check_required_fields(self.scorer, prompt)
        todo, ends = iter(enumerate(prompts)), _StopCondition(self.expert.name)
        running: dict[Future[Measurement], int] = {}
        with ThreadPoolExecutor(self.concurrency) as pool:
            while True:
                while len(running) < self.concurrency and not ends.reason:
                    allowed = budget.allows(self.expert.name, len(running))
                    if not allowed or (asked := next(todo, None)) is None:
                        break
                    running[pool.submit(self._measure_prompt, asked[1], budget)] = asked[0]
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    position = running.pop(future)
                    if (found := ends.collect(future)) is not None:
                        yield position, found
                        ends.charge(budget, found)
        if ends.reason:
            raise ends.reason

    def _measure_prompt(self, prompt: Prompt, budget: Budget) -> Measurement:
        """Ask, time and score one prompt; an error that is the prompt's alone is told."""
        asked = self.ask(prompt)
        try:
            reply, seconds = call_with_retries(
                lambda: _call_timed(self._call_model, asked), self.retries, budget.sleep
            )
        except Exception as error:
            if not (is_transient(error) or is_prompt_error(error)):
                raise
            return Measurement(error=describe_error(error))
        answer = replies.parse_reply(reply)
        known = Measurement(
            output_tokens=answer.output_tokens,
            latency=seconds,
            cost=replies.reply_cost(answer, self.expert),
            readability=reading_ease(answer.text),
            output=answer.text if self.keep_output else None,
        )
        return self._score_answer(prompt, answer.text, known)

    def _score_answer(self, prompt: Prompt, text: str, measurement: Measurement) -> Measurement:
        """Add the score to what is known of an answer."""
        try:
            result = ScoreResult.from_value(self.scorer(prompt, text))
        except Exception as error:
            unjudged = (
                isinstance(error, MeasurementError) or is_transient(error) or is_prompt_error(error)
            )
            if not unjudged:  # a mistake of the scorer, which it would repeat
                raise
            return replace(measurement, error=f"the scorer failed: {describe_error(error)}")
        loss = 1.0 - result.score
        return replace(measurement, loss=loss, score=result.score, scoring_cost=result.cost)


class _StopCondition:
    """Why no further prompt is asked, if there is a reason."""

    def __init__(self, name: str) -> None:
        self.reason: MeasurementError | InputError | None = None
        self._name, self._consecutive_failures = name, 0

    def collect(self, future: Future[Measurement]) -> Measurement | None:
        """Return what was measured, or note why it could not be."""
        try:
            found = future.result()
        except (InputError, MeasurementError) as error:
            self.reason = self.reason or error
            return None
        except Exception as error:  # noqa: BLE001 - clients and scorers raise anything
            self.reason = self.reason or self._measurement_error(describe_error(error), error)
            return None
        self._consecutive_failures = self._consecutive_failures + 1 if found.error else 0
        if (
            found.error
            and self._consecutive_failures >= MAX_CONSECUTIVE_FAILURES
            and not self.reason
        ):
            self.reason = self._measurement_error(
                f"{MAX_CONSECUTIVE_FAILURES} prompts in a row have failed: {found.error}"
            )
        return found

    def charge(self, budget: Budget, found: Measurement) -> None:
        """Tell the budget what an answer and its judgement have cost."""
        if found.error and found.cost is None:
            return  # nobody answered
        paid = [found.cost, 0.0 if found.error else found.scoring_cost]
        known = [usd for usd in paid if usd is not None]
        try:
            budget.charge(self._name, sum(known) if len(known) == len(paid) else None)
        except MeasurementError as error:
            self.reason = self.reason or error

    def _measurement_error(
        self, message: str, cause: BaseException | None = None
    ) -> MeasurementError:
        refusal = MeasurementError(f"{self._name} cannot be measured: {message}")
        refusal.__cause__ = cause
        return refusal


def _call_timed(call: Callable[[str], replies.Reply], asked: str) -> tuple[replies.Reply, float]:
    """Return a reply and the seconds it took."""
    start = time.perf_counter()
    reply = call(asked)
    return reply, time.perf_counter() - start


def reading_ease(text: str) -> float | None:
    """Return the Flesch reading ease of an English text, higher is easier; None without words.

    206.835 - 1.015 words per sentence - 84.6 syllables per word (Flesch, 1948). Words and sentences
    are counted by textstat. Syllables are counted by hyphenation, as textstat does for words that
    are in no dictionary: its dictionary for English would be downloaded behind the user's back, and
    texts would have another ease where it is.

    Raises:
        MissingExtraError: textstat is not installed.
    """
    words = [word for word in text.split() if any(sign.isalpha() for sign in word)]
    if not words:
        return None
    count_words, count_sentences, syllables = _counters()
    counted, sentences = count_words(text), max(1, count_sentences(text))
    spoken = sum(syllables("".join(filter(str.isalpha, word))) for word in words)
    return 206.835 - 1.015 * counted / sentences - 84.6 * spoken / len(words)


@lru_cache(maxsize=1)
def _counters() -> tuple[Callable[[str], int], Callable[[str], int], Callable[[str], int]]:
    require_extra("textstat", "score")
    import textstat
    from pyphen import Pyphen

    hyphens: Any = Pyphen(lang="en_US")

    @lru_cache(maxsize=50_000)
    def syllables(word: str) -> int:
        return len(hyphens.positions(word.lower())) + 1

    return textstat.lexicon_count, textstat.sentence_count, syllables
