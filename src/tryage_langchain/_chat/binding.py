"""What is declared on the chat model, tools or a format, and replayed on whoever is chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.language_models import BaseChatModel

from tryage.errors import InputError
from tryage_langchain._conversation import schemas

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage_langchain._chat.children import Child

BOUND = "tryage_bound"


@dataclass(frozen=True)
class Bound:
    """One declaration. Every child has its own tool format, so it is the child that binds.

    `tools` are the schemas as text: how long they are counts for the context.
    """

    method: Literal["bind_tools", "with_structured_output"] | None = None
    argument: Any = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    tools: str = ""

    @property
    def structured_output(self) -> bool:
        """Whether the answer has a declared format."""
        return self.method == "with_structured_output"

    def replay(self, child: Child) -> Child:
        """Return the child with the declaration.

        Raises:
            NotImplementedError: the child has no such thing.
            InputError: the child is not a chat model.
        """
        if self.method is None:
            return child
        bind = getattr(child, self.method, None)
        if bind is None:
            raise NotImplementedError(f"A {type(child).__name__} has no {self.method}.")
        bound: Child = bind(self.argument, **self.kwargs)
        return bound


def bound_tools(tools: Sequence[Any], kwargs: Mapping[str, Any]) -> Bound:
    """Return the declaration of tools."""
    return Bound("bind_tools", tools, kwargs, schemas(tools))


def plain(child: Child) -> tuple[BaseChatModel, dict[str, Any]]:
    """Return the chat model within a child, and what is bound to it.

    Raises:
        InputError: there is none: it is a chain.
    """
    kwargs: dict[str, Any] = {}
    while not isinstance(child, BaseChatModel):
        inner = getattr(child, "bound", None)
        if inner is None:
            raise InputError(
                f"generate() needs chat models, and a {type(child).__name__} is none. Use invoke()."
            )
        kwargs = {**getattr(child, "kwargs", {}), **kwargs}
        child = inner
    return child, kwargs
