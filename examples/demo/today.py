"""Models of today behind one chat model, with recorded outcomes in place of API keys.

The names are all that Tryage is told: prices, dates and what the models are good at it knows. The
answers are played back, so the scores and the tokens that are billed are real.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from tryage_langchain import ChatTryage

if TYPE_CHECKING:
    from langchain_core.callbacks import CallbackManagerForLLMRun
    from langchain_core.messages import BaseMessage

    from tryage.chat.savings import Savings

OUTCOMES = Path(__file__).with_name("outcomes.json")

TYPED_PROMPTS = (
    "hi",
    "traduce al inglés: mañana llego tarde, perdona",
    "A title for this note: we moved the release to Friday because the tests were red all week.",
    "Prove that e is transcendental.",
    "My Go service deadlocks under load: two goroutines lock a and b in different orders, but only"
    " after a retry. Find every interleaving that hangs, and change the locks so that none does.",
)


class RecordedModel(BaseChatModel):
    """Plays back what a model answered: its score is the content, its tokens are the usage."""

    name: str
    outcomes: dict[str, dict[str, dict[str, Any]]]

    @property
    def _llm_type(self) -> str:
        return "recorded"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - LangChain's signature
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - the same
        **kwargs: Any,  # noqa: ANN401, ARG002 - the same
    ) -> ChatResult:
        found = self.outcomes[messages[-1].text][self.name]
        sent, received = round(found["input_tokens"]), round(found["output_tokens"])
        usage = {"input_tokens": sent, "output_tokens": received, "total_tokens": sent + received}
        message = AIMessage(str(found["score"]), usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])


@dataclass(frozen=True)
class Choice:
    """Which model a typed prompt is sent to, and what is expected of it; USD, None unknown."""

    prompt: str
    model: str
    loss: float
    cost: float | None


@dataclass(frozen=True)
class Replay:
    """The recorded prompts: mean scores of the models and of the routed answers, and the bill."""

    n_prompts: int
    routed: float
    scores: dict[str, float]
    savings: Savings


def load_chat() -> tuple[ChatTryage, dict[str, dict[str, dict[str, Any]]]]:
    """Return a chat model over the recorded models, and the outcomes by prompt and model."""
    rows = json.loads(OUTCOMES.read_text("utf-8"))["rows"]
    outcomes = {row["prompt"]: row["outcomes"] for row in rows}
    names = list(rows[0]["outcomes"])
    models = {name: RecordedModel(name=name, outcomes=outcomes) for name in names}
    return ChatTryage.from_models(models), outcomes


def choose(chat: ChatTryage) -> list[Choice]:
    """Route the typed prompts; no model is asked."""
    plans = {prompt: chat.route(prompt) for prompt in TYPED_PROMPTS}
    return [
        Choice(
            prompt,
            plan.first,
            plan.decision.ranking[0].predicted_loss,
            plan.expected_cost(plan.first),
        )
        for prompt, plan in plans.items()
    ]


def replay(chat: ChatTryage, outcomes: dict[str, dict[str, dict[str, Any]]]) -> Replay:
    """Send the recorded prompts through the chat model, and add up scores and dollars."""
    answers = chat.batch(list(outcomes))
    names = list(next(iter(outcomes.values())))
    scores = {
        name: sum(found[name]["score"] for found in outcomes.values()) / len(outcomes)
        for name in names
    }
    routed = sum(float(answer.text) for answer in answers) / len(answers)
    return Replay(len(outcomes), routed, scores, chat.savings())
