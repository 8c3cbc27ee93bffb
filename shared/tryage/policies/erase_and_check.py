"""EraseAndCheck: what is decided for a prompt must also be decided without its outermost words.

Somebody who writes a prompt, or a text that is quoted in it, can search for a few words that lead
to a dearer or a weaker expert. Here the router also decides for copies of the prompt from which
words are erased, and an expert that only the whole prompt leads to does not answer.
"""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.choice import NO_EXPERT, choose_experts
from tryage.core.costs import typical_costs
from tryage.core.policy import Policy, PolicyChoice, PolicyStage
from tryage.core.validation import check_bools, check_integer, did_you_mean, preview
from tryage.errors import InputError
from tryage.perception.tokenizer import excerpt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tryage.core.arrays import FloatArray, IndexArray
    from tryage.core.library import Library
    from tryage.core.policy import PolicyBatch
    from tryage.core.request import RoutingRequest

MIN_WORDS = 4  # words that a copy keeps: fewer say nothing about a task

_MAX_NAMES = 3  # of experts, in a reason

MAX_WINDOWS = 12  # copies without words of the middle: longer prompts have wider windows

# What counts as a word: a mark of ASCII, a Chinese character, or a run of
# anything else. A longer run counts as several: Thai has no spaces. A token is at most a word.
_WORD = re.compile(
    r"[!-/:-@\[-`{-~]|[\u3400-\u9fff]"
    r"|[^\s!-/:-@\[-`{-~\u3400-\u9fff]{1,20}"
)


class EraseAndCheck(Policy):
    """Lets words at an end of a prompt lead to no expert that the rest of it does not lead to.

    The router also decides for copies of the prompt: without its last word, its last two, and so on
    up to `words`, and in the same way without its first ones. Where all decide alike, that expert
    answers. Else the `fallback` answers, unless all of them are cheaper than it, or all dearer:
    then the one that is nearest to it in price. Without a `fallback` the cheapest of them answers.

    What holds against an attacker who knows all this and puts at most `words` words at one end of a
    text: one of the copies is that text. So without a fallback no answer is dearer than the one to
    the text alone. With a fallback its price lies between those of the fallback and of the answer
    to the text: neither a dearer expert than both nor a cheaper one can be reached. A copy keeps at
    least `MIN_WORDS`, so a text of fewer words has no such bound. The price is that of a usual
    request: what is forecast for a prompt depends on its words.

    Erase-and-check is a certified defence of language models (Kumar et al. 2023, "Certifying LLM
    Safety against Adversarial Prompting"); here what is checked is who is chosen. It decides by the
    preferences, so it does not protect what a `Threshold` or another policy behind it chooses.

    Args:
        words: How many words an attacker may add; a punctuation mark counts as a word.
        fallback: The expert that answers where the copies lead to dearer and to cheaper ones: one
            of a middling price.
        middle: Whether words are also erased in the middle, in about `MAX_WINDOWS` windows of twice
            as many words or more, and at both ends of one copy. Then the attacker's words may stand
            anywhere in a row, or half of them at each end.

    Raises:
        InputError: `words` is no whole number of at least 1, or the router does not know the
            fallback.
    """

    stage = PolicyStage.CHOICE

    def __init__(
        self, words: int = 12, *, fallback: str | None = None, middle: bool = False
    ) -> None:
        check_integer("words", words, 1)
        check_bools(middle=middle)
        if fallback is not None and not isinstance(fallback, str):
            raise InputError(
                f"fallback is {preview(fallback)}; expected the name of an expert, or None."
            )
        self.words, self.fallback, self.middle = words, fallback, middle
        self._is_checked = False  # whether a router has the fallback

    def bind(self, library: Library, traffic: Any) -> EraseAndCheck:  # noqa: ANN401, ARG002 - as in the base class
        """Return the policy, which has no state.

        A subset of the router that lacks the fallback does without.

        Raises:
            InputError: the router lacks the fallback.
        """
        bound = copy.copy(self)
        if self.fallback is not None and self.fallback not in library:
            if not self._is_checked:
                raise InputError(
                    f"fallback is {preview(self.fallback)}, and the router has no such expert."
                    f"{did_you_mean(self.fallback, library.names)}"
                )
            bound.fallback = None
        bound._is_checked = True  # noqa: SLF001 - of its own class
        return bound

    def choose(self, batch: PolicyBatch) -> PolicyChoice:
        """Choose by the decisions for all copies of each prompt."""
        copies = [
            erased_copies(request.text, self.words, middle=self.middle) if expert >= 0 else []
            for request, expert in zip(batch.requests, batch.choice.tolist(), strict=True)
        ]
        owners = np.repeat(np.arange(len(copies)), [len(texts) for texts in copies])
        votes = _votes(batch, owners, [text for texts in copies for text in texts])
        experts, prices = batch.choice.copy(), typical_costs(batch.library)
        reasons: list[str | None] = [None] * len(copies)
        for i in np.flatnonzero(experts != NO_EXPERT).tolist():
            own = np.unique([experts[i], *votes[owners == i]])
            own = own[own != NO_EXPERT]
            if len(own) > 1:
                reasons[i] = self._reason(batch, i, own)
                experts[i] = pick_vote(own, prices, self._fallback(batch, i))
        return PolicyChoice(experts, reasons)

    def _fallback(self, batch: PolicyBatch, i: int) -> int | None:
        """Return the position of the fallback, None if there is none that may answer."""
        position = None if self.fallback is None else batch.library.index(self.fallback)
        return position if position is not None and batch.eligible[i, position] else None

    def _reason(self, batch: PolicyBatch, i: int, votes: IndexArray) -> str:
        others = [batch.library.names[vote] for vote in votes.tolist() if vote != batch.choice[i]]
        names = ", ".join(others[:_MAX_NAMES]) + (", ..." if len(others) > _MAX_NAMES else "")
        has_fallback = self._fallback(batch, i) is not None
        rule = f"nearest to {self.fallback} in price" if has_fallback else "cheapest"
        return f"copies without some words lead to {names}: the {rule} answers"

    def __repr__(self) -> str:
        """Show the settings."""
        return f"EraseAndCheck({self.words}, fallback={self.fallback!r}, middle={self.middle})"


def pick_vote(votes: IndexArray, prices: FloatArray, fallback: int | None = None) -> int:
    """Return who answers, of different `votes` `(n_votes,)` or the fallback, by position.

    It is the fallback if votes are cheaper and others dearer, else the vote that is nearest to it
    in price; without a fallback the cheapest vote. `prices` are `(n_experts,)`.
    """
    ordered = votes[np.argsort(prices[votes], kind="stable")]
    cheapest, dearest = int(ordered[0]), int(ordered[-1])
    if fallback is None or prices[fallback] <= prices[cheapest]:
        return cheapest
    return fallback if prices[fallback] < prices[dearest] else dearest


def _votes(batch: PolicyBatch, owners: IndexArray, texts: Sequence[str]) -> IndexArray:
    """Return who is chosen for texts `(n,)` in the place of the prompts of their `owners` `(n,)`.

    Raises:
        InputError: the batch comes from no router, so it cannot predict.
    """
    if not len(texts):
        return np.empty(0, np.intp)
    if batch.rescore is None:
        raise InputError("The batch cannot score other texts; let a Router apply EraseAndCheck.")
    requests: list[RoutingRequest] = [
        replace(batch.requests[owner], text=text)
        for owner, text in zip(owners.tolist(), texts, strict=True)
    ]
    scored = batch.rescore(requests)
    # What the whole prompt may not be sent to, such as an expert that is too dear, has no vote.
    eligible = batch.eligible[owners] & scored.eligibility.eligible
    loss, request, tolerance = scored.routing_loss, scored.request, scored.tolerance
    return choose_experts(batch.library, loss, eligible, request, tolerance)


def erased_copies(prompt: str, words: int, *, middle: bool = False) -> list[str]:
    """Return the prompt without its last words and without its first ones, none if it is short.

    With `middle` also without each window of more words, and without words at both ends: `words` in
    a row that stand anywhere are missing from one of the copies. Of a long prompt only the two ends
    count that the perception reads. A copy keeps `MIN_WORDS`; a shorter prompt has none.
    """
    text = excerpt(prompt)
    spans = [match.span() for match in _WORD.finditer(text)]
    erased = min(words, len(spans) - MIN_WORDS)
    if erased <= 0:
        return []
    lengths = range(1, erased + 1)  # an attacker may add fewer words than all
    windows = [(len(spans) - length, len(spans)) for length in lengths]
    windows += [(0, length) for length in lengths]
    if middle:
        windows += _inner_windows(len(spans), erased)
    copies = [_without(text, spans, first, last) for first, last in windows]
    return copies + _inner_parts(text, spans, erased) if middle else copies


def _inner_windows(n_words: int, words: int) -> list[tuple[int, int]]:
    """Return windows `[first, last)` of which one holds any `words` in a row beside the ends.

    What is left of the prompt without a window is at least `MIN_WORDS`.
    """
    spare = min(max(words, -(-n_words // MAX_WINDOWS)), n_words - words - MIN_WORDS)
    starts = range(1, n_words - words, spare + 1)  # a window holds `spare + 1` places of `words`
    return [(first, min(first + words + spare, n_words)) for first in starts]


def _inner_parts(text: str, spans: Sequence[tuple[int, int]], erased: int) -> list[str]:
    """Return the text without words at both ends, at most half of what it has to spare at each."""
    most = min(erased, (len(spans) - MIN_WORDS) // 2)
    return [text[spans[cut][0] : spans[-cut - 1][1]] for cut in range(1, most + 1)]


def _without(text: str, spans: Sequence[tuple[int, int]], first: int, last: int) -> str:
    """Return a text without its words `[first, last)`, and without the spaces around them."""
    head = text[: spans[first - 1][1]] if first else ""
    tail = text[spans[last][0] :] if last < len(spans) else ""
    return f"{head} {tail}" if head and tail else head + tail
