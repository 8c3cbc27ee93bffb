"""Scored answers: a model is asked every prompt, and a scorer says how good the answer is."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tryage.core.client_errors import told
from tryage.core.expert import Expert
from tryage.core.validation import number, require
from tryage.errors import InputError, MeasurementError
from tryage.learning.scoring import replies
from tryage.learning.scoring.measurement import Identity, Measurement, Prompt
from tryage.learning.scoring.replies import of_the_prompt, passes, retried
from tryage.learning.scoring.scorers import Scorer, Verdict, needed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tryage.learning.scoring.measurement import Budget

PATIENCE = 10  # prompts in a row that fail before an expert is given up


class Answers:
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
        self.concurrency = int(number("concurrency", concurrency, 1))
        self.retries = int(number("retries", retries))
        self._model = replies.asking(model)

    def identify(self) -> Identity:
        """Say whose scores these are, and the scorer by its name."""
        name = getattr(self.scorer, "__name__", type(self.scorer).__name__)
        return Identity(self.expert, f"answers scored by {name}")

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
            needed(self.scorer, prompt)
        todo, ends = iter(enumerate(prompts)), _Ends(self.expert.name)
        running: dict[Future[Measurement], int] = {}
        with ThreadPoolExecutor(self.concurrency) as pool:
            while True:
                while len(running) < self.concurrency and not ends.reason:
                    allowed = budget.allows(self.expert.name, len(running))
                    if not allowed or (asked := next(todo, None)) is None:
                        break
                    running[pool.submit(self._measured, asked[1], budget)] = asked[0]
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    position = running.pop(future)
                    if (found := ends.result(future)) is not None:
                        yield position, found
                        ends.charge(budget, found)
        if ends.reason:
            raise ends.reason

    def _measured(self, prompt: Prompt, budget: Budget) -> Measurement:
        """Ask, time and score one prompt; an error that is the prompt's alone is told."""
        asked = self.ask(prompt)
        try:
            reply, seconds = retried(lambda: _timed(self._model, asked), self.retries, budget.pause)
        except Exception as error:
            if not (passes(error) or of_the_prompt(error)):
                raise
            return Measurement(error=told(error))
        answer = replies.answer(reply)
        known = Measurement(
            output_tokens=answer.output_tokens,
            latency=seconds,
            cost=replies.cost(answer, self.expert),
            readability=reading_ease(answer.text),
            output=answer.text if self.keep_output else None,
        )
        return self._judged(prompt, answer.text, known)

    def _judged(self, prompt: Prompt, text: str, known: Measurement) -> Measurement:
        """Add the score to what is known of an answer."""
        try:
            verdict = Verdict.of(self.scorer(prompt, text))
        except Exception as error:
            unjudged = isinstance(error, MeasurementError) or passes(error) or of_the_prompt(error)
            if not unjudged:  # a mistake of the scorer, which it would repeat
                raise
            return replace(known, error=f"the scorer failed: {told(error)}")
        loss = 1.0 - verdict.score
        return replace(known, loss=loss, score=verdict.score, scoring_cost=verdict.cost)


class _Ends:
    """Why no further prompt is asked, if there is a reason."""

    def __init__(self, name: str) -> None:
        self.reason: MeasurementError | InputError | None = None
        self._name, self._in_a_row = name, 0

    def result(self, future: Future[Measurement]) -> Measurement | None:
        """Return what was measured, or note why it could not be."""
        try:
            found = future.result()
        except (InputError, MeasurementError) as error:
            self.reason = self.reason or error
            return None
        except Exception as error:  # noqa: BLE001 - clients and scorers raise anything
            self.reason = self.reason or self._refusal(told(error), error)
            return None
        self._in_a_row = self._in_a_row + 1 if found.error else 0
        if found.error and self._in_a_row >= PATIENCE and not self.reason:
            self.reason = self._refusal(f"{PATIENCE} prompts in a row have failed: {found.error}")
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

    def _refusal(self, words: str, cause: BaseException | None = None) -> MeasurementError:
        refusal = MeasurementError(f"{self._name} cannot be measured: {words}")
        refusal.__cause__ = cause
        return refusal


def _timed(call: Callable[[str], replies.Reply], asked: str) -> tuple[replies.Reply, float]:
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
    require("textstat", "score")
    import textstat
    from pyphen import Pyphen

    hyphens: Any = Pyphen(lang="en_US")

    @lru_cache(maxsize=50_000)
    def syllables(word: str) -> int:
        return len(hyphens.positions(word.lower())) + 1

    return textstat.lexicon_count, textstat.sentence_count, syllables
