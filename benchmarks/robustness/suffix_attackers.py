"""Three attackers that add a dozen tokens to a prompt: random, greedy, and guided by gradients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from suffix_victim import Victim

    from tryage.core.arrays import Float32Array, FloatArray
    from tryage.perception.model import LearnedPerception

N_TOKENS = 12


def insert(prompt: str, tokens: Sequence[str], place: str) -> str:
    """Return the prompt with tokens at a place: suffix, prefix, middle, or half at both ends."""
    half = len(tokens) // 2
    if place == "both":
        return " ".join([*tokens[:half], prompt, *tokens[half:]])
    words = prompt.split(" ")
    at = {"suffix": len(words), "prefix": 0, "middle": (len(words) + 1) // 2}[place]
    return " ".join([*words[:at], *tokens, *words[at:]])


@dataclass
class Found:
    """How an attack on one prompt ended: after how many queries, and whether the target answers."""

    n_queries: int
    tokens: list[str]
    is_won: bool = False


class Attack(Protocol):
    """Searches for tokens that lead one prompt to the target."""

    def __call__(self, victim: Victim, prompt: str, target: int, place: str, seed: int) -> Found:
        """Return what was found."""
        ...


@dataclass
class RandomSearch:
    """Replaces up to three tokens by random ones, and keeps what brings the target nearer."""

    vocabulary: Sequence[str]
    n_queries: int = 96
    batch: int = 12  # candidates that are tried at once, of which the best one is kept

    def __call__(self, victim: Victim, prompt: str, target: int, place: str, seed: int) -> Found:
        """Return what was found."""
        rng = np.random.default_rng(seed)
        tokens, best = self._draw(rng, N_TOKENS), np.inf
        for start in range(0, self.n_queries, self.batch):
            tries = [self._changed(tokens, rng) for _ in range(self.batch)]
            is_won, distances = victim.attempt(
                [insert(prompt, one, place) for one in tries], target
            )
            if is_won.any():
                first = int(is_won.argmax())
                return Found(start + first + 1, tries[first], is_won=True)
            if distances.min() <= best:
                best, tokens = float(distances.min()), tries[int(distances.argmin())]
        return Found(self.n_queries, tokens)

    def _changed(self, tokens: list[str], rng: np.random.Generator) -> list[str]:
        places = rng.choice(len(tokens), rng.integers(1, 4), replace=False)
        changed = np.array(tokens, object)
        changed[places] = self._draw(rng, len(places))
        return [str(token) for token in changed]

    def _draw(self, rng: np.random.Generator, n: int) -> list[str]:
        return [self.vocabulary[i] for i in rng.integers(len(self.vocabulary), size=n)]


@dataclass
class GreedySearch:
    """Appends, twelve times, the best of some random tokens."""

    vocabulary: Sequence[str]
    width: int = 8

    def __call__(self, victim: Victim, prompt: str, target: int, place: str, seed: int) -> Found:
        """Return what was found."""
        rng = np.random.default_rng(seed)
        tokens: list[str] = []
        for length in range(N_TOKENS):
            drawn = rng.integers(len(self.vocabulary), size=self.width)
            found = best_next(
                victim, prompt, target, place, tokens, [self.vocabulary[i] for i in drawn]
            )
            if found.is_won:
                return Found(length * self.width + found.n_queries, found.tokens, is_won=True)
            tokens = found.tokens
        return Found(N_TOKENS * self.width, tokens)


@dataclass
class GradientSearch:
    """Appends the best of the tokens that a gradient says bring the target nearest.

    First-order, as HotFlip (Ebrahimi et al. 2018): the gradient of the target's distance with
    respect to the embedding and to the TF-IDF projection, by finite differences, times what each
    token of the vocabulary changes of both. It is computed anew after `every` tokens; at each step
    the `width` next best tokens are tried, and the last one again.
    """

    perception: LearnedPerception
    width: int = 8
    every: int = 12

    def __call__(self, victim: Victim, prompt: str, target: int, place: str, seed: int) -> Found:  # noqa: ARG002 - nothing is drawn
        """Return what was found."""
        tokens: list[str] = []
        for length in range(N_TOKENS):
            if length % self.every == 0:
                order = self._promising(victim, insert(prompt, tokens, place), target)
            shift = (length % self.every) * self.width
            candidates = [self._words[i] for i in order[shift : shift + self.width]]
            if length % self.every:  # a good token may be good again
                candidates = [*candidates[1:], tokens[-1]]
            found = best_next(victim, prompt, target, place, tokens, candidates)
            if found.is_won:
                return Found(length * self.width + found.n_queries, found.tokens, is_won=True)
            tokens = found.tokens
        return Found(N_TOKENS * self.width, tokens)

    def _promising(self, victim: Victim, text: str, target: int) -> list[int]:
        """Return the positions of the tokens with the lowest first-order change of the distance."""
        change = self._changes(text, self._gradient(victim, text, target))
        n = self.width * self.every
        best = np.argpartition(change, n)[:n]
        return [int(i) for i in best[np.argsort(change[best])]]

    def _gradient(self, victim: Victim, text: str, target: int, step: float = 0.01) -> FloatArray:
        """Return the gradient with respect to the first features, `(d,)`."""
        features = self.perception.extract_features([text])
        n = self._rows.shape[1] + self._projections.shape[1]
        moved = np.repeat(features, n + 1, axis=0)
        moved[np.arange(n), np.arange(n)] += step
        columns = [self.perception.experts.index(name) for name in victim.names]
        losses = self.perception.predict_from_features(moved, np.array(columns)).losses
        totals, _, costs = victim.score([text])
        totals = totals + losses - losses[-1]  # what is not a loss stays as it is
        distances = victim.margins(totals, np.repeat(costs, n + 1, axis=0), target)
        return np.asarray((distances[:-1] - distances[-1]) / step)

    def _changes(self, text: str, gradient: FloatArray) -> FloatArray:
        """Return by how much each token changes the distance, to first order, `(n_tokens,)`."""
        encoder, width = self.perception.encoder, self._rows.shape[1]
        ids = encoder.token_ids([text])[0][:512]
        total = encoder._table[ids].astype(np.float32).T @ encoder._scales[ids].astype(np.float32)  # type: ignore[attr-defined]  # noqa: SLF001 - an attacker reads the table
        length = float(np.linalg.norm(total)) or 1.0
        unit, by_embedding = total / length, gradient[:width]
        change = (self._rows @ by_embedding - (self._rows @ unit) * (unit @ by_embedding)) / length
        norm = np.sqrt(max(len(set(ids.tolist())), 1)) * float(np.median(self._idf[self._idf > 0]))
        return np.asarray(change + self._projections @ gradient[width:] / norm)

    @cached_property
    def _vocabulary(self) -> list[tuple[int, str]]:
        return whole_words(self.perception)

    @cached_property
    def _ids(self) -> list[int]:
        return [i for i, _ in self._vocabulary]

    @cached_property
    def _words(self) -> list[str]:
        return [word for _, word in self._vocabulary]

    @cached_property
    def _rows(self) -> Float32Array:
        """What each token adds to the embedding before it is scaled, `(n_tokens, dim)`."""
        encoder = self.perception.encoder
        scales = encoder._scales[self._ids].astype(np.float32)  # type: ignore[attr-defined]  # noqa: SLF001 - as above
        return np.asarray(encoder._table[self._ids] * scales[:, None], np.float32)  # type: ignore[attr-defined]  # noqa: SLF001 - as above

    @cached_property
    def _idf(self) -> Float32Array:
        tfidf = self.perception.feature_extractor.tfidf
        idf = dict(zip(tfidf.token_ids.tolist(), tfidf.idf.tolist(), strict=True))
        return np.array([idf.get(i, 0.0) for i in self._ids], np.float32)

    @cached_property
    def _projections(self) -> Float32Array:
        """What each token adds to the TF-IDF projection before it is scaled, `(n_tokens, k)`."""
        tfidf = self.perception.feature_extractor.tfidf
        row_of = {token: row for row, token in enumerate(tfidf.token_ids.tolist())}
        rows = np.array([row_of.get(i, 0) for i in self._ids])
        return np.asarray(self._idf[:, None] * tfidf.projection[rows], np.float32)


def best_next(  # noqa: PLR0913 - an attack's state
    victim: Victim,
    prompt: str,
    target: int,
    place: str,
    tokens: list[str],
    candidates: Sequence[str],
) -> Found:
    """Return the tokens with the best one of some candidates behind them."""
    tries = [[*tokens, candidate] for candidate in candidates]
    is_won, distances = victim.attempt([insert(prompt, one, place) for one in tries], target)
    best = int(is_won.argmax() if is_won.any() else distances.argmin())
    return Found(best + 1, tries[best], is_won=bool(is_won[best]))


def whole_words(perception: LearnedPerception) -> list[tuple[int, str]]:
    """Return ids and texts of the tokens that are whole words and count in the embedding."""
    encoder = perception.encoder
    tokens = encoder._tokenizer.tokenizer.get_vocab()  # type: ignore[attr-defined]  # noqa: SLF001 - as above
    scales = encoder._scales  # type: ignore[attr-defined]  # noqa: SLF001 - as above
    return sorted(
        (i, token)
        for token, i in tokens.items()
        if not token.startswith(("##", "[")) and i < len(scales) and scales[i] > 0
    )
