"""Perception: the base class of all that predicts losses, and the Prediction it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from dataclasses import dataclass, field, replace
from threading import get_ident
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from tryage.core.cache import deferred
from tryage.errors import InputError, PerceptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tryage.core.arrays import Float32Array, FloatArray, IndexArray
    from tryage.core.expert import Expert
    from tryage.core.library import Library
    from tryage.core.preferences import Preferences
    from tryage.core.uncertainty import UncertaintyCalibration


@dataclass(frozen=True)
class Prediction:
    """Predicted losses `Q^(z, M_i)` with their standard deviation, both `(batch, n_experts)`.

    A loss is the mean that is expected of many prompts like this one, and `std` how uncertain that
    mean is. It may be given as a function that is called when it is first read, because most
    decisions are made without it. `output_tokens` `(batch, n_experts)` are forecast answer lengths
    (reasoning included) and `costs`, of the same shape, USD of the request as measured; both are
    NaN where unknown. `typicality` `(batch,)` is the p-value of each prompt among the training
    prompts, and `uncertainty` says how far predictions proved right; both are None if that was not
    measured. `positions` `(batch, k)` are where the prompts lie in the ability space: all that
    learning from a later measurement needs of them. None if the perception has no such space.
    `kinds` `(batch,)` are the names of the most probable categories, None if there are none.
    """

    losses: Float32Array
    std: deferred[Float32Array] = deferred()  # noqa: RUF009 - the descriptor of a required field
    output_tokens: Float32Array | None = None
    costs: Float32Array | None = None
    typicality: FloatArray | None = None
    uncertainty: UncertaintyCalibration | None = None
    positions: FloatArray | None = None
    kinds: NDArray[Any] | None = None

    def select(self, index: Any) -> Prediction:  # noqa: ANN401 - any index that numpy takes
        """Return a part: rows are prompts, columns are experts."""
        tokens, costs, typicality = self.output_tokens, self.costs, self.typicality
        positions, kinds = self.positions, self.kinds
        rows = index[0] if isinstance(index, tuple) else index
        return Prediction(
            self.losses[index],
            lambda: self.std[index],
            None if tokens is None else tokens[index],
            None if costs is None else costs[index],
            None if typicality is None else typicality[rows],
            self.uncertainty,
            None if positions is None else positions[rows],
            None if kinds is None else kinds[rows],
        )

    def has_shape(self, expected: tuple[int, int]) -> bool:
        """Return whether losses have a shape, and so has the std unless it is not computed yet."""
        std = vars(self)["std"]
        return np.shape(self.losses) == expected and (callable(std) or np.shape(std) == expected)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made of: the std in place of the function that computes it."""
        return {**vars(self), "std": self.std}

    def with_rows(self, rows: IndexArray, other: Prediction) -> Prediction:
        """Return this prediction with those of `other` for some of its prompts."""
        return Prediction(
            _with_rows(self.losses, rows, other.losses),
            lambda: _with_rows(self.std, rows, other.std),
            _with_optional_rows(self.output_tokens, rows, other.output_tokens),
            _with_optional_rows(self.costs, rows, other.costs),
            self.typicality,
            self.uncertainty,
            self.positions,
            self.kinds,
        )


class Perception(ABC):
    """The model that predicts a row of the Q-table from the prompt alone, `R(z; W)` in the paper.

    Subclass it, set `experts` to the names of the experts in the order of the prediction's columns,
    and implement `predict`. All other methods are optional.
    """

    experts: tuple[str, ...]

    second_stage: SecondStage | None = None  # a router asks it where two experts are close

    # Name of an expert -> the one that is the same model at another provider.
    duplicates: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Predict the loss of every expert on every prompt, `(batch, n_experts)`."""

    def predict_preferred(self, prompts: Sequence[str]) -> Prediction:
        """Predict the loss of every expert in a blind comparison of answers, `(batch, n_experts)`.

        That is what `Preferences(quality="preferred")` asks for; `predict` predicts whether an
        answer is good enough. By default both are the same.
        """
        return self.predict(prompts)

    def predict_columns(self, prompts: Sequence[str], columns: IndexArray) -> Prediction:
        """Predict the losses of the experts at some positions, `(batch, n_columns)`.

        Override it if that takes less time than predicting all experts.

        Raises:
            PerceptionError: the prediction of all experts has the wrong shape.
        """
        prediction, expected = self.predict(prompts), (len(prompts), len(self.experts))
        if not prediction.has_shape(expected):
            raise wrong_shape(prediction, expected)
        return prediction.select(np.s_[:, columns])

    def count_tokens(
        self,
        prompts: Sequence[str],  # noqa: ARG002 - for subclasses that override this
    ) -> NDArray[Any] | None:
        """Return the number of tokens of each prompt, `(batch,)`, None without a tokenizer."""
        return None

    def typical_prompts(self) -> Sequence[str]:
        """Return prompts that stand for all prompts; empty if none are known.

        The expert with the lowest mean loss on them counts as the best single one.
        """
        return ()

    def prior(self) -> tuple[float, float] | None:
        """Return loss and standard deviation for an unseen expert, None if there is no estimate."""
        return None

    def loss_range(self) -> tuple[float, float]:
        """Return the lowest and the highest loss that can be measured; by default 0 and 1.

        `Router.observe` and `Router.onboard` refuse any other. Override it for losses that are not
        those of scored answers.
        """
        return 0.0, 1.0

    def for_library(
        self,
        library: Library,  # noqa: ARG002 - for subclasses that override this
    ) -> Perception | None:
        """Return a perception over every expert of a library, in its order, None if it cannot.

        Experts that this perception has never seen are predicted from their facts in the library.
        """
        return None

    def losses_at(
        self,
        positions: FloatArray,  # noqa: ARG002 - for subclasses that override this
    ) -> Float32Array | None:
        """Return the losses of every expert for prompts at `positions` `(batch, k)`.

        They are those that `predict` returns for prompts with these `Prediction.positions`,
        `(batch, n_experts)`. None if the perception has no such space.
        """
        return None

    def ability_std_at(
        self,
        positions: FloatArray,  # noqa: ARG002 - for subclasses that override this
    ) -> Float32Array | None:
        """Return the part of the `std` at `positions` `(batch, k)` that more feedback would remove.

        It is how uncertain the abilities of the experts are, `(batch, n_experts)`, without what is
        unknown of the prompt. None if the perception has no such space.
        """
        return None

    def innermost(self) -> Perception:
        """Return the perception that learns from feedback: this one, or the one that it wraps."""
        return self

    def around(self, innermost: Perception) -> Perception:
        """Return this perception with another one in the place of `innermost()`."""
        return innermost

    def copy(self) -> Perception:
        """Return a perception that does not change when this one learns; itself if it cannot."""
        return self

    def onboard(
        self,
        expert: Expert,  # noqa: ARG002 - for subclasses that override this
        losses: Mapping[str, float],  # noqa: ARG002 - for subclasses that override this
    ) -> Perception:
        """Return a perception that also knows `expert`, from its measured loss per prompt.

        Raises:
            PerceptionError: it cannot learn.
        """
        raise self._cannot_learn()

    def observe(
        self,
        prompt: str,  # noqa: ARG002 - for subclasses that override this
        expert: str,  # noqa: ARG002 - for subclasses that override this
        loss: float,  # noqa: ARG002 - for subclasses that override this
    ) -> None:
        """Learn from one measured loss, in place; other threads may call `predict` meanwhile.

        Raises:
            PerceptionError: it cannot learn, or it has never seen the expert.
        """
        raise self._cannot_learn()

    def _cannot_learn(self) -> PerceptionError:
        return PerceptionError(
            f"{type(self).__name__} cannot learn: it has no onboard() and observe()."
        )


@dataclass(frozen=True, slots=True, eq=False)
class SecondStage:
    """A slower, more accurate perception of the same experts, and on which prompts it is asked.

    It is asked where the totals of the two best experts differ by less than a threshold. Its time
    has a price, in loss: `thresholds` `(n,)` belong to the increasing `prices` `(n,)` of a prompt.
    A prompt takes `seconds`. A second costs `loss_per_second`, unless the preferences say what a
    right answer and a second of waiting are worth.
    """

    perception: Perception
    seconds: float
    prices: tuple[float, ...]
    thresholds: tuple[float, ...]
    loss_per_second: float = 0.01
    _counts: dict[int, tuple[int, int]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: a number is negative or NaN, or there is no threshold for each price.
        """
        numbers = (self.seconds, self.loss_per_second, *self.prices, *self.thresholds)
        is_sorted = list(self.prices) == sorted(self.prices)
        if (
            len(self.prices) != len(self.thresholds)
            or not is_sorted
            or not all(number >= 0 for number in numbers)
        ):
            raise InputError(
                f"a second stage has the prices {self.prices} with the thresholds "
                f"{self.thresholds}; expected increasing prices with a threshold each, and no "
                "number below 0"
            )

    def threshold(self, preferences: Preferences) -> float:
        """Return below which difference of the two best totals it is asked; 0 is never."""
        value, latency_value = preferences.answer_value, preferences.latency_value
        if value is not None and latency_value is not None:
            price = self.seconds * latency_value / value
        else:
            price = self.seconds * self.loss_per_second
        i = bisect_left(self.prices, price)
        return self.thresholds[i] if i < len(self.thresholds) else 0.0

    def record(self, n_prompts: int, n_asked: int) -> None:
        """Count prompts, and those on which it was asked."""
        thread = get_ident()  # threads that write to entries of their own need no lock
        prompts, asked = self._counts.get(thread, (0, 0))
        self._counts[thread] = prompts + n_prompts, asked + n_asked

    @property
    def n_prompts(self) -> int:
        """The number of prompts routed so far."""
        return sum(prompts for prompts, _ in list(self._counts.values()))

    @property
    def n_asked(self) -> int:
        """The number of prompts on which it was asked."""
        return sum(asked for _, asked in list(self._counts.values()))

    def onboard(self, expert: Expert, losses: Mapping[str, float]) -> SecondStage:
        """Return a second stage that also knows `expert`."""
        return replace(self, perception=self.perception.onboard(expert, losses))


def _with_rows(table: Float32Array, rows: IndexArray, other: Float32Array) -> Float32Array:
    merged = np.array(table)
    merged[rows] = other
    return merged


def _with_optional_rows(
    table: Float32Array | None, rows: IndexArray, other: Float32Array | None
) -> Float32Array | None:
    """Replace rows of a forecast; one that only `other` has is left out, NaN where it has none."""
    if table is None:
        return None
    return _with_rows(table, rows, np.full_like(table[rows], np.nan) if other is None else other)


def wrong_shape(prediction: Prediction, expected: tuple[int, int]) -> PerceptionError:
    """Return the error for a prediction that is not `(batch, n_experts)` as expected."""
    return PerceptionError(
        f"The perception returned losses of shape {np.shape(prediction.losses)} and std of shape "
        f"{np.shape(prediction.std)}; expected (batch, experts) = {expected}."
    )
