"""Fakes for tests: perceptions that predict given losses, a policy, and a small library."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import numpy as np

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.perception import Perception, Prediction
from tryage.core.policy import Policy, PolicyBatch, PolicyChoice
from tryage.errors import PerceptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from tryage.core.decision import Decision
    from tryage.core.policy_change import CallPlan


class FixedPerception(Perception):
    """A perception that predicts given losses.

    `losses` is per expert; `prompts` has other losses for some prompts, by their exact text. Every
    prediction has the same `std`. `calls` lists the batches of prompts that it has predicted.
    """

    def __init__(
        self,
        losses: Mapping[str, float],
        prompts: Mapping[str, Mapping[str, float]] | None = None,
        *,
        std: float = 0.1,
    ) -> None:
        self.experts = tuple(losses)
        self.std = std
        self.calls: list[tuple[str, ...]] = []
        self._default_losses = np.array([losses[name] for name in self.experts], dtype=np.float32)
        self._prompt_losses = {
            text: np.array(
                [{**losses, **prompt_losses}[name] for name in self.experts], dtype=np.float32
            )
            for text, prompt_losses in (prompts or {}).items()
        }

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Return the given losses, `(batch, n_experts)`."""
        self.calls.append(tuple(prompts))
        rows = [self._prompt_losses.get(text, self._default_losses) for text in prompts]
        losses = np.array(rows, dtype=np.float32).reshape(len(prompts), len(self.experts))
        return Prediction(losses, np.full_like(losses, self.std))


class FunctionPerception(Perception):
    """A perception that calls a function, which maps a prompt to one loss per expert."""

    def __init__(
        self, experts: Sequence[str], function: Callable[[str], Sequence[float]], std: float = 0.1
    ) -> None:
        self.experts = tuple(experts)
        self.std = std
        self._function = function

    def predict(self, prompts: Sequence[str]) -> Prediction:
        """Call the function on every prompt; losses are `(batch, n_experts)`."""
        losses = np.array([self._function(text) for text in prompts], dtype=np.float32)
        return Prediction(losses, np.full_like(losses, self.std))


class FailingPerception(Perception):
    """A perception that always fails, by default with a `PerceptionError`."""

    def __init__(self, experts: Sequence[str], error: Exception | None = None) -> None:
        self.experts = tuple(experts)
        self._error = error or PerceptionError("the encoder is gone")

    def predict(self, prompts: Sequence[str]) -> Prediction:  # noqa: ARG002 - the signature of the base class
        """Raise the error."""
        raise self._error


class LearningPerception(FixedPerception):
    """A fixed perception that also learns: a new expert gets the mean of its measured losses.

    It predicts `(loss, std)` = (0.5, 0.5) for experts that it has never seen, and counts the words
    of a prompt as its tokens.
    """

    def prior(self) -> tuple[float, float]:
        """Return a loss in the middle of the range with a large standard deviation."""
        return 0.5, 0.5

    def count_tokens(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Count words, `(batch,)`."""
        return np.array([len(text.split()) for text in prompts], dtype=np.int64)

    def onboard(self, expert: Expert, losses: Mapping[str, float]) -> LearningPerception:
        """Return a perception that predicts the mean of `losses` for the expert."""
        losses_by_expert = dict(zip(self.experts, self._default_losses.tolist(), strict=True))
        losses_by_expert[expert.name] = float(np.mean(list(losses.values())))
        return LearningPerception(losses_by_expert, std=self.std)

    def observe(self, prompt: str, expert: str, loss: float) -> None:
        """Move the prediction for this prompt half the way to the loss."""
        row = self._prompt_losses.get(prompt, self._default_losses).copy()
        column = self.experts.index(expert)
        row[column] = (row[column] + loss) / 2
        self._prompt_losses[prompt] = row


class FixedPolicy(Policy):
    """A policy that chooses one expert for every prompt, and says how it is called.

    `recorded` lists the ids of the decisions that it is told of, `kept` the id, expert and keys of
    the calls that needed none, and `settled` the id, expert and USD of the answers.
    """

    def __init__(self, expert: str, calls: CallPlan | None = None) -> None:
        self.expert, self.calls = expert, calls
        self.recorded: list[str] = []
        self.kept: list[tuple[str, str, dict[str, str]]] = []
        self.settled: list[tuple[str, str | None, float | None]] = []

    def choose(self, batch: PolicyBatch) -> PolicyChoice:
        """Choose the expert."""
        experts = np.full(len(batch.choice), batch.library.index(self.expert))
        reasons, calls = [f"{self.expert} is on offer"], [self.calls]
        return PolicyChoice(experts, reasons * len(experts), calls * len(experts))

    def record(self, decision: Decision) -> None:
        """Note the id of a decision."""
        self.recorded.append(decision.id)

    def record_kept(self, decision_id: str, expert: str, keys: Mapping[str, str]) -> None:
        """Note a call that needed no decision."""
        self.kept.append((decision_id, expert, dict(keys)))

    def settle(
        self,
        decision_id: str,
        expert: str | None,
        *,
        cost: float | None = None,
        latency: float | None = None,  # noqa: ARG002 - the signature of the base class
    ) -> None:
        """Note an answer and what it cost."""
        self.settled.append((decision_id, expert, cost))


def demo_library() -> Library:
    """Return five made-up experts that differ in every fact; the last one has hardly any facts."""
    return Library(
        [
            Expert(
                "tiny-1b",
                aliases=("demo/tiny-1b",),
                parameters=1e9,
                released=datetime.date(2024, 3, 1),
                license="apache-2.0",
                security=1.0,
                input_price=0.05,
                output_price=0.10,
                latency=0.4,
                output_tokens=120,
                readability=75,
                downloads=2_000_000,
                context_length=8_192,
                capabilities=frozenset({"tools"}),
            ),
            Expert(
                "code-7b",
                aliases=("demo/code-7b",),
                parameters=7e9,
                released=datetime.date(2024, 9, 1),
                license="mit",
                security=0.9,
                input_price=0.20,
                output_price=0.40,
                latency=1.1,
                output_tokens=300,
                readability=50,
                downloads=500_000,
                context_length=32_768,
                capabilities=frozenset({"tools", "structured_output"}),
            ),
            Expert(
                "chat-70b",
                aliases=("demo/chat-70b",),
                parameters=70e9,
                released=datetime.date(2025, 2, 1),
                license="llama3",
                security=0.8,
                input_price=0.90,
                output_price=0.90,
                latency=3.0,
                output_tokens=450,
                readability=65,
                downloads=900_000,
                context_length=131_072,
                capabilities=frozenset({"tools", "structured_output"}),
            ),
            Expert(
                "frontier",
                aliases=("demo/frontier",),
                released=datetime.date(2025, 6, 1),
                license="proprietary",
                input_price=5.0,
                output_price=15.0,
                latency=4.0,
                output_tokens=600,
                readability=60,
                context_length=200_000,
                capabilities=frozenset({"tools", "structured_output", "vision"}),
            ),
            Expert("newcomer", aliases=("demo/newcomer",)),
        ]
    )


def demo_perception() -> FixedPerception:
    """Return predictions for `demo_library`: a higher price has a lower loss, except on code."""
    losses = {
        "tiny-1b": 0.45,
        "code-7b": 0.35,
        "chat-70b": 0.22,
        "frontier": 0.15,
        "newcomer": 0.40,
    }
    return FixedPerception(losses, {"def f(x):": {"code-7b": 0.10}}, std=0.08)
