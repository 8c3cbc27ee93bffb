"""The chat models that answer, by name: each is made when it is first chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from langchain_core.runnables import Runnable

import tryage.chat.children
from tryage.chat.secrets import without_secrets
from tryage.extras import require

Child: TypeAlias = Runnable[Any, Any]
Source: TypeAlias = Child | str | Callable[[], Child]


class Children(tryage.chat.children.Children[Child]):
    """Name -> chat model, or what makes one: an `init_chat_model` string or a function.

    `settings` go to `init_chat_model`. A pickle leaves out those that were made from strings, and
    every setting that is a secret: they are made again from the environment.

    Raises:
        InputError: no model, or one of another type.
    """

    client = Runnable
    expected = (
        "a chat model, an init_chat_model string such as 'openai:gpt-4o-mini', or a function that "
        "makes one"
    )

    def __init__(self, sources: Mapping[str, Source], settings: Mapping[str, Any]) -> None:
        super().__init__(sources)
        self._settings = dict(settings)

    @classmethod
    def accepts(cls, source: object) -> bool:
        """Tell whether it is a chat model or can make one."""
        return isinstance(source, (str, Runnable)) or callable(source)

    @property
    def plain_settings(self) -> dict[str, Any]:
        """The settings that are no secrets."""
        return without_secrets(self._settings)

    def make(self, source: Source) -> Child:
        """Make a chat model.

        Raises:
            MissingExtraError: `langchain`, which makes models from strings, is not installed.
        """
        if isinstance(source, str):
            require("langchain.chat_models", "agents")
            from langchain.chat_models import init_chat_model

            model: Child = init_chat_model(source, **self._settings)
            return model
        return source if isinstance(source, Runnable) else source()

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep what can be made again, without secrets."""
        return type(self), (self._sources, self.plain_settings)
