"""The pure part of ChatTryage: what a call asks, who is to answer, what each child is handed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel

from tryage.chat import Conversation
from tryage.chat.desk import Call as AnyCall
from tryage.chat.desk import Desk
from tryage_langchain._chat.binding import BOUND, Bound
from tryage_langchain._conversation import schemas, turns_of
from tryage_langchain._inputs import cleaned
from tryage_langchain._router.routing import MODEL, wishes, without_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig

    from tryage.chat import Plan
    from tryage_langchain._chat.children import Child

_LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


@dataclass(frozen=True)
class Call(AnyCall):
    """One call of ChatTryage, with what is passed on to whoever is chosen."""

    messages: list[BaseMessage]
    bound: Bound
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class ChatDesk(Desk["Child"]):
    """A desk of chat models.

    `outer` are the settings that ChatTryage was given and every child without its own takes over.
    """

    outer: Mapping[str, Any]

    def child(self, name: str) -> Child:
        """Return the chat model of an expert, with the settings of ChatTryage it has none of."""
        child = self.children.get_model(name)
        if not isinstance(child, BaseChatModel):
            return child
        update = {key: value for key, value in self.outer.items() if _lacks(child, key)}
        # A copy shares the client; with_config() would lose it all at the next bind_tools().
        return child.model_copy(update=update) if update else child


def call_of(
    messages: list[BaseMessage],
    config: RunnableConfig,
    kwargs: dict[str, Any],
    always: str | None = None,
) -> Call:
    """Return what a call asks; `always` is the model to ask unless the call names another.

    Raises:
        InputError: `tryage_preferences` are none.
    """
    passed = dict(kwargs)
    bound: Bound = passed.pop(BOUND, Bound())
    preferences, model = wishes(config)
    model = passed.pop("model", None) or model or always
    lengths = [passed[key] for key in _LENGTHS if isinstance(passed.get(key), int)]
    conversation = Conversation(
        turns_of(messages),
        tools=bound.tools or schemas(passed.get("tools") or ()),
        structured_output=bound.structured_output or bool(passed.get("response_format")),
        answer_tokens=lengths[0] if lengths else None,
        thread=_thread(config),
    )
    return Call(conversation, preferences, model, messages, bound, passed)


def forwarded(call: Call, plan: Plan) -> list[BaseMessage]:
    """Return the messages as a child gets them: without the flags that the decision has read."""
    messages: list[BaseMessage] = cleaned(plan.decision, call.messages)
    return messages


def child_config(config: RunnableConfig, record: Mapping[str, Any]) -> RunnableConfig:
    """Return the config of a child's run, by which observers see who was chosen and why.

    Of a config with every key, as LangChain hands it to a run, merging it would be slower.
    """
    name = record["model"]
    told = {MODEL: name, "tryage_reason": record["reason"], "model_route": name}
    own: RunnableConfig = {
        **config,
        "tags": sorted({*config["tags"], f"tryage:{name}"}),
        "metadata": {**config["metadata"], **told},
        "configurable": without_model(config),
    }
    if "failed" in record:  # the id that the caller gave is the first one's alone
        own.pop("run_id", None)
    return own


def _thread(config: RunnableConfig) -> str | None:
    thread = config.get("configurable", {}).get("thread_id")
    return None if thread is None else str(thread)


def _lacks(child: BaseChatModel, setting: str) -> bool:
    """Tell whether a child knows the setting and nobody has set it there."""
    return setting in type(child).model_fields and setting not in child.model_fields_set
