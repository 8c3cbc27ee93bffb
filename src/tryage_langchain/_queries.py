"""`route_on` says which part of a chain's input decides: the question, not the retrieved text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.messages import convert_to_messages
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from langchain_core.runnables.base import RunnableParallel, coerce_to_runnable

from tryage.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.messages import BaseMessage


class RoutedPromptValue(ChatPromptValue):
    """A prompt with the text on which ChatTryage chooses a model; other models read the prompt."""

    query: str
    """What the user asks."""

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Tell LangChain that the class is not one of its own."""
        return False


def route_on(
    query: str | Callable[[Any], str], prompt: Runnable[Any, Any]
) -> Runnable[Any, RoutedPromptValue]:
    """Return a prompt of a chain that also carries what its model is chosen by.

    Args:
        query: The key of the question in the prompt's input, or a function that returns the
            question.
        prompt: Makes the messages: a prompt template, or any runnable before the model.

    Example:
        `{"context": retriever, "question": RunnablePassthrough()} | route_on("question", prompt) |
        model`

    Raises:
        InputError: in a call, the input has no such key, or the question is not a string.
    """
    stages: RunnableParallel[Any] = RunnableParallel(
        prompt=coerce_to_runnable(prompt), value=RunnablePassthrough()
    )

    def attach_query(values: dict[str, Any]) -> RoutedPromptValue:
        return RoutedPromptValue(
            messages=_to_messages(values["prompt"]), query=_read_query(query, values["value"])
        )

    return stages | RunnableLambda(attach_query, name="route_on")


def query_of(value: object) -> str | None:
    """Return the text to route on that an input carries; None if it carries none."""
    return value.query if isinstance(value, RoutedPromptValue) else None


def _read_query(query: str | Callable[[Any], str], value: Any) -> str:
    if callable(query):
        text = query(value)
    elif isinstance(value, Mapping) and query in value:
        text = value[query]
    else:
        keys = sorted(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
        raise InputError(f"The input has no {query!r} to route on; it is or has {keys}.")
    if not isinstance(text, str):
        raise InputError(f"The question to route on is a {type(text).__name__}; expected a string.")
    return text


def _to_messages(value: Any) -> Sequence[BaseMessage]:
    if isinstance(value, PromptValue):
        return value.to_messages()
    return convert_to_messages([value] if isinstance(value, str) else value)
