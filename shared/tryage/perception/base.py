"""What a perception predicts, in the order of a library."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from tryage.core.objective import Prediction
from tryage.core.request import estimate_tokens
from tryage.errors import PerceptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tryage.core.arrays import Float64Array
    from tryage.core.expert import Expert
    from tryage.core.library import Library

_MAX_COUNTED_CHARS = (
    100_000  # characters; the rest of a longer prompt is taken to be like its beginning
)


@runtime_checkable
class HasPrior(Protocol):
    """A perception that can guess the loss of an expert it has never seen."""

    def prior(self) -> tuple[float, float]:
        """Return the loss and its standard deviation."""
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """A perception that knows how many tokens a prompt has."""

    def count_tokens(self, prompts: Sequence[str]) -> NDArray[np.integer[Any]]:
        """Return the number of tokens of each prompt, `(batch,)`."""
        ...


@runtime_checkable
class PredictsSome(Protocol):
    """A perception that is quicker if few of its experts are asked for."""

    def predict_some(self, prompts: Sequence[str], columns: NDArray[np.intp]) -> Prediction:
        """Predict the experts at some positions, `(batch, n_columns)`, in one encoder pass."""
        ...


@runtime_checkable
class Learner(Protocol):
    """A perception that learns after training; both are updates of a posterior."""

    def onboard(self, expert: Expert, losses: Mapping[str, float]) -> Perception:
        """Return a perception that knows `expert` from its measured loss per prompt."""
        ...

    def observe(self, prompt: str, expert: str, loss: float) -> None:
        """Take in one measured loss, in place, safely beside `predict` in other threads."""
        ...


@runtime_checkable
class Perception(Protocol):
    """The small model that predicts a row of the Q-table from the prompt alone."""

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the experts, in the order of the columns of a prediction."""
        ...

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Predict the loss of every expert on every prompt, in one encoder pass."""
        ...


@runtime_checkable
class Acquaintance(Perception, Protocol):
    """A perception over every expert of one library, which learns about each of them."""

    def observe(self, prompt: str, i: int, loss: float) -> None:
        """Take in one measured loss of expert `i` of the library, in place."""
        ...


@runtime_checkable
class MeetsStrangers(Protocol):
    """A perception that guesses at experts it has never seen from what a library says of them."""

    def acquainted(self, library: Library) -> Acquaintance:
        """Return the perception over a whole library, in its order; one encoder pass per batch."""
        ...


class AlignedPerception:
    """The columns of a perception, found once by name or alias, in the order of a library.

    Experts that the perception has never seen are guessed from what the library says of them, or
    get its one `prior()`, whichever it offers.

    Raises:
        PerceptionError: some experts are unknown to the perception and it offers neither.
    """

    def __init__(self, perception: Perception, library: Library) -> None:
        self.perception = perception
        self._names = library.names
        self._prior = perception if isinstance(perception, HasPrior) else None
        self._token_counter = perception if isinstance(perception, CountsTokens) else None
        self._n_columns = len(perception.experts)
        self._columns = match_columns(perception.experts, library)
        self._unseen = np.flatnonzero(self._columns < 0)
        self._is_identity = np.array_equal(self._columns, np.arange(self._n_columns))
        few = not self._unseen.size and 2 * self._columns.size <= self._n_columns
        self._column_predictor = (
            perception if few and isinstance(perception, PredictsSome) else None
        )
        self._library_perception = None
        if self._unseen.size and isinstance(perception, MeetsStrangers):
            self._library_perception = perception.acquainted(library)
        elif self._unseen.size and self._prior is None:
            some = ", ".join(library.names[i] for i in self._unseen[:5].tolist())
            raise PerceptionError(
                f"The perception has never seen {self._unseen.size} of {len(library)} experts "
                f"({some}) and has no prior(). Onboard them, or leave them out of the library."
            )

    def observe(self, learner: Learner, prompt: str, i: int, loss: float) -> None:
        """Tell `learner`, the perception, one measured loss of expert `i`.

        Raises:
            PerceptionError: it cannot learn about an expert that it has never seen.
        """
        column = int(self._columns[i])
        if column >= 0:
            learner.observe(prompt, self.perception.experts[column], loss)
        elif self._library_perception is not None:
            self._library_perception.observe(prompt, i, loss)
        else:
            raise PerceptionError(
                f"The perception has never seen {self._names[i]!r}; onboard it first."
            )

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Predict in one pass; losses and std are `(batch, n_experts)`, in library order.

        Raises:
            PerceptionError: the prediction has the wrong shape; and whatever the perception raises.
        """
        if self._library_perception is not None:
            return self._library_perception.predict(prompts)
        if self._column_predictor is not None:
            return self._column_predictor.predict_some(prompts, self._columns)
        raw = self.perception.predict(prompts)
        expected = (len(prompts), self._n_columns)
        if np.shape(raw.losses) != expected or np.shape(raw.std) != expected:
            raise PerceptionError(
                f"The perception returned losses of shape {np.shape(raw.losses)} and std of shape "
                f"{np.shape(raw.std)}; expected (batch, experts) = {expected}."
            )
        if self._is_identity:
            return raw
        if not self._unseen.size:
            return raw.select(np.s_[:, self._columns])
        return self._fill_with_prior(raw)

    def count_tokens(self, prompts: Sequence[str]) -> Float64Array:
        """Count the tokens of each prompt, `(batch,)`; a rule of thumb if the perception cannot."""
        if self._token_counter is None:
            return _estimate_token_counts(prompts)
        try:
            counted = self._token_counter.count_tokens(
                [text[:_MAX_COUNTED_CHARS] for text in prompts]
            )
        except (RuntimeError, ArithmeticError, MemoryError):  # a rough price is better than none
            return _estimate_token_counts(prompts)
        longer = np.array([max(1.0, len(text) / _MAX_COUNTED_CHARS) for text in prompts])
        tokens: Float64Array = np.asarray(counted, dtype=np.float64) * longer
        return tokens

    def _fill_with_prior(self, raw: Prediction) -> Prediction:
        """Put the prior in the columns of the experts that the perception has never seen."""
        prior = (math.nan, math.nan) if self._prior is None else self._prior.prior()
        seen = self._columns >= 0
        tables = []
        for table, guess in zip((raw.losses, raw.std), prior, strict=True):
            aligned = np.full((len(table), seen.size), guess, dtype=np.float32)
            aligned[:, seen] = table[:, self._columns[seen]]
            tables.append(aligned)
        tokens = raw.output_tokens
        if tokens is not None:
            aligned = np.full((len(tokens), seen.size), np.nan, dtype=np.float32)
            aligned[:, seen] = tokens[:, self._columns[seen]]
            tables.append(aligned)
        return Prediction(*tables)


def _estimate_token_counts(prompts: Sequence[str]) -> Float64Array:
    return np.array([estimate_tokens(text) for text in prompts], dtype=np.float64)


def match_columns(names: Sequence[str], library: Library) -> NDArray[np.intp]:
    """Return, per expert of the library, its column in the perception, -1 if it has none."""
    columns = np.full(len(library), -1, dtype=np.intp)
    for column, name in enumerate(names):
        if name in library:
            i = library.index(name)
            # Two columns may mean one expert: its own name counts before an alias.
            if columns[i] < 0 or library.names[i] == name:
                columns[i] = column
    return columns


class DeduplicatedPerception:
    """A perception in which several experts stand for the same column of another.

    Args:
        perception: Predicts, of each model once.
        library: The experts without their twins.
        twins: Name of a further expert -> the name in the library that it equals.
    """

    def __init__(
        self, perception: Perception, library: Library, duplicates: Mapping[str, str]
    ) -> None:
        self.experts = (*library.names, *duplicates)
        self._aligned_perception = AlignedPerception(perception, library)
        positions = [library.index(name) for name in duplicates.values()]
        self._columns = np.array([*range(len(library)), *positions], dtype=np.intp)

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Predict in one pass of the other perception, `(batch, n_experts)`."""
        return self._aligned_perception.predict(prompts).select(np.s_[:, self._columns])

    def count_tokens(self, prompts: Sequence[str]) -> NDArray[np.floating[Any]]:
        """Count the tokens of each prompt as the other perception does, `(batch,)`."""
        return self._aligned_perception.count_tokens(prompts)
