"""Wrappers of a perception: columns in the order of a library, and experts that share a column."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.library import Library
from tryage.core.perception import Perception, Prediction, wrong_shape
from tryage.core.token_estimate import estimate_tokens
from tryage.errors import PerceptionError
from tryage.perception.tokenizer import excerpt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.core.arrays import Float32Array, Float64Array, FloatArray, IndexArray
    from tryage.core.expert import Expert
    from tryage.core.request import RoutingRequest


class AlignedPerception(Perception):
    """A perception whose columns are in the order of a library, matched once by name or alias.

    The perception's `for_library` predicts experts that the perception has never seen. Without it
    they get the perception's `prior()`.

    Raises:
        PerceptionError: the perception has never seen some experts and has neither of the two.
    """

    def __init__(self, perception: Perception, library: Library) -> None:
        self.experts = library.names
        self._perception, self._library = perception, library
        self._n_columns = len(perception.experts)
        self._columns = match_columns(perception.experts, library)
        self._unseen_indices = np.flatnonzero(self._columns < 0)
        self._is_identity = np.array_equal(self._columns, np.arange(self._n_columns))
        n_unseen = self._unseen_indices.size
        self._is_small_subset = not n_unseen and 2 * self._columns.size <= self._n_columns
        self._library_perception = perception.for_library(library) if n_unseen else None
        if n_unseen and self._library_perception is None and perception.prior() is None:
            examples = ", ".join(library.names[i] for i in self._unseen_indices[:5].tolist())
            raise PerceptionError(
                f"The perception has never seen {n_unseen} of {len(library)} experts "
                f"({examples}) and has no prior(). Onboard them, or leave them out of the library."
            )

    @property
    def unseen_indices(self) -> IndexArray:
        """The positions in the library of the experts that the perception has never seen."""
        return self._unseen_indices

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Predict in one pass; losses and std are `(batch, n_experts)`, in library order.

        Raises:
            PerceptionError: the prediction has the wrong shape. Errors that the perception raises
                are not caught.
        """
        if self._library_perception is not None:
            return self._library_perception.predict(prompts)
        if self._is_small_subset:
            return self._perception.predict_columns(prompts, self._columns)
        return self._in_library_order(self._perception.predict(prompts), len(prompts))

    def predict_for(self, requests: Sequence[RoutingRequest]) -> Prediction:
        """Predict the losses for the quality that each request asks for, in library order."""
        prompts = [one.text for one in requests]
        is_preferred = [one.preferences.quality == "preferred" for one in requests]
        if not any(is_preferred):
            return self.predict(prompts)
        if all(is_preferred):
            return self.predict_preferred(prompts)
        rows = np.flatnonzero(is_preferred)
        preferred = self.predict_preferred([prompts[i] for i in rows.tolist()])
        return self.predict(prompts).with_rows(rows, preferred)

    def predict_preferred(self, prompts: Sequence[str]) -> Prediction:
        """Predict for the quality "preferred", in library order; otherwise like `predict`.

        Raises:
            PerceptionError: as in `predict`.
        """
        if self._library_perception is not None:
            return self._library_perception.predict_preferred(prompts)
        return self._in_library_order(self._perception.predict_preferred(prompts), len(prompts))

    def _in_library_order(self, prediction: Prediction, batch: int) -> Prediction:
        """Check the shape of a prediction, and put its columns in the order of the library."""
        expected_shape = (batch, self._n_columns)
        if not prediction.has_shape(expected_shape):
            raise wrong_shape(prediction, expected_shape)
        if self._is_identity:
            return prediction
        if not self._unseen_indices.size:
            return prediction.select(np.s_[:, self._columns])
        return self._fill_with_prior(prediction)

    def losses_at(self, positions: FloatArray) -> Float32Array | None:
        """Return the losses of prompts at `positions`, in library order, None if it cannot."""
        if self._library_perception is not None:
            return self._library_perception.losses_at(positions)
        prior, _ = self._perception.prior() or (math.nan, math.nan)
        return self._align_known(self._perception.losses_at(positions), prior)

    def ability_std_at(self, positions: FloatArray) -> Float32Array | None:
        """Return the std that feedback would remove, in library order, None if it is unknown."""
        if self._library_perception is not None:
            return self._library_perception.ability_std_at(positions)
        _, prior = self._perception.prior() or (math.nan, math.nan)
        return self._align_known(self._perception.ability_std_at(positions), prior)

    def _align_known(self, table: Float32Array | None, prior: float) -> Float32Array | None:
        """Put a table of the perception's experts in library order, None without one."""
        if table is None or self._is_identity:
            return table
        if not self._unseen_indices.size:
            return table[:, self._columns]
        return self._align(table, prior)

    def count_tokens(self, prompts: Sequence[str]) -> Float64Array:
        """Count the tokens of each prompt, `(batch,)`; estimate them if the perception cannot.

        Of a long prompt it counts an excerpt, which takes a bounded time with any tokenizer, and
        estimates how many times as many tokens the prompt has.
        """
        excerpts = [excerpt(prompt) for prompt in prompts]
        try:
            counts = self._perception.count_tokens(excerpts)
        except (RuntimeError, ArithmeticError, MemoryError):  # a rough count is better than none
            counts = None
        if counts is None:
            return np.array([estimate_tokens(prompt) for prompt in prompts], dtype=np.float64)
        pairs = zip(prompts, excerpts, strict=True)
        scale = [1.0 if part is prompt else _length_ratio(prompt, part) for prompt, part in pairs]
        tokens: Float64Array = np.asarray(counts, dtype=np.float64) * np.array(scale)
        return tokens

    def observe(self, prompt: str, expert: str, loss: float) -> None:
        """Let the perception learn from one measured loss of an expert of the library.

        Raises:
            PerceptionError: it cannot learn, or it has never seen the expert.
        """
        column = int(self._columns[self._library.index(expert)])
        if column >= 0:
            self._perception.observe(prompt, self._perception.experts[column], loss)
        elif self._library_perception is not None:
            self._library_perception.observe(prompt, expert, loss)
        else:
            raise PerceptionError(f"The perception has never seen {expert!r}; onboard it first.")

    def _fill_with_prior(self, prediction: Prediction) -> Prediction:
        """Fill the columns of the experts that the perception has never seen with its prior."""
        loss, std = self._perception.prior() or (math.nan, math.nan)
        tokens, costs = prediction.output_tokens, prediction.costs
        return Prediction(
            self._align(prediction.losses, loss),
            lambda: self._align(prediction.std, std),
            None if tokens is None else self._align(tokens, math.nan),
            None if costs is None else self._align(costs, math.nan),
            prediction.typicality,
            prediction.uncertainty,
            prediction.positions,
            prediction.kinds,
        )

    def _align(self, table: Float32Array, fill_value: float) -> Float32Array:
        """Put columns `(batch, n_columns)` in library order; unseen experts get `fill_value`."""
        is_known = self._columns >= 0
        aligned_table = np.full((len(table), is_known.size), fill_value, dtype=np.float32)
        aligned_table[:, is_known] = table[:, self._columns[is_known]]
        return aligned_table


class DeduplicatedPerception(Perception):
    """A perception in which several experts share a column of another perception.

    They are one model at several providers, so a prediction for one is valid for all.

    Args:
        perception: Predicts each model once.
        library: The experts without the duplicates.
        duplicates: Name of a duplicate expert -> name of the same model in the library.
    """

    def __init__(
        self, perception: Perception, library: Library, duplicates: Mapping[str, str]
    ) -> None:
        self.experts = (*library.names, *duplicates)
        self._perception, self._library = perception, library
        self.duplicates = dict(duplicates)
        self._aligned_perception = AlignedPerception(perception, library)
        positions = [library.index(name) for name in duplicates.values()]
        self._columns = np.array([*range(len(library)), *positions], dtype=np.intp)
        if (stage := perception.second_stage) is not None:
            second = DeduplicatedPerception(stage.perception, library, duplicates)
            self.second_stage = replace(stage, perception=second)

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Predict in one pass of the wrapped perception, `(batch, n_experts)`."""
        return self._aligned_perception.predict(prompts).select(np.s_[:, self._columns])

    def predict_preferred(self, prompts: Sequence[str]) -> Prediction:
        """Predict for the quality "preferred", in one pass of the wrapped perception."""
        preferred = self._aligned_perception.predict_preferred(prompts)
        return preferred.select(np.s_[:, self._columns])

    def losses_at(self, positions: FloatArray) -> Float32Array | None:
        """Return the losses of prompts at `positions`, None if the wrapped perception cannot."""
        losses = self._aligned_perception.losses_at(positions)
        return None if losses is None else losses[:, self._columns]

    def ability_std_at(self, positions: FloatArray) -> Float32Array | None:
        """Return the std that feedback would remove, None if the wrapped perception cannot."""
        std = self._aligned_perception.ability_std_at(positions)
        return None if std is None else std[:, self._columns]

    def innermost(self) -> Perception:
        """Return the perception inside that learns."""
        return self._perception.innermost()

    def around(self, innermost: Perception) -> Perception:
        """Return the same experts over another innermost perception."""
        perception = self._perception.around(innermost)
        return DeduplicatedPerception(perception, self._library, self.duplicates)

    def count_tokens(self, prompts: Sequence[str]) -> Float64Array:
        """Count the tokens of each prompt as the wrapped perception does, `(batch,)`."""
        return self._aligned_perception.count_tokens(prompts)

    def typical_prompts(self) -> Sequence[str]:
        """Return the typical prompts of the wrapped perception."""
        return self._perception.typical_prompts()

    def prior(self) -> tuple[float, float] | None:
        """Return the prior of the wrapped perception."""
        return self._perception.prior()

    def loss_range(self) -> tuple[float, float]:
        """Return the range of losses of the wrapped perception."""
        return self._perception.loss_range()

    def for_library(self, library: Library) -> Perception:
        """Return a perception over a library; the wrapped perception predicts its new experts.

        Raises:
            PerceptionError: the wrapped perception cannot predict them.
        """
        unseen_indices = np.flatnonzero(match_columns(self.experts, library) < 0)
        new_experts = [library[i] for i in unseen_indices.tolist()]
        extended_library = Library([*self._library, *new_experts])
        perception = DeduplicatedPerception(self._perception, extended_library, self.duplicates)
        return AlignedPerception(perception, library)

    def onboard(self, expert: Expert, losses: Mapping[str, float]) -> Perception:
        """Return a perception that also knows `expert` and all experts that are the same model."""
        model = replace(expert, name=self.duplicates.get(expert.name, expert.name))
        perception = self._perception.onboard(model, losses)
        library = self._library if model.name in self._library else self._library.with_expert(model)
        return DeduplicatedPerception(perception, library, self.duplicates)

    def observe(self, prompt: str, expert: str, loss: float) -> None:
        """Let the wrapped perception learn from one measured loss of the expert's model."""
        name = self.duplicates.get(expert, expert)
        self._aligned_perception.observe(prompt, name, loss)


def _length_ratio(prompt: str, part: str) -> float:
    """Return how many times the tokens of a part the prompt has."""
    return estimate_tokens(prompt) / max(1.0, estimate_tokens(part))


def match_columns(names: Sequence[str], library: Library) -> IndexArray:
    """Return the column of each expert of the library in the perception, `(n,)`, -1 without one."""
    columns = np.full(len(library), -1, dtype=np.intp)
    for column, name in enumerate(names):
        if name in library:
            i = library.index(name)
            # Two columns may mean one expert: its own name takes precedence over an alias.
            if columns[i] < 0 or library.names[i] == name:
                columns[i] = column
    return columns
