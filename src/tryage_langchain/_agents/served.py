"""Who really answered: the chosen model, or one that another middleware put in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.messages import AIMessage

from tryage_langchain._chat.facts import name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage


class Witness(BaseCallbackHandler):
    """Sees whether one model has answered; a reply alone often does not say who wrote it."""

    run_inline = True  # async runs must not go on before it has seen the answer

    def __init__(self) -> None:
        self.answered = False

    def on_llm_end(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - LangChain's signature
        """Note the answer."""
        self.answered = True

    def watch(self, model: BaseChatModel) -> BaseChatModel:
        """Return a copy of the model that is watched."""
        held = model.callbacks
        if isinstance(held, BaseCallbackManager):
            watched = held.copy()
            watched.add_handler(self, inherit=False)
            return model.model_copy(update={"callbacks": watched})
        return model.model_copy(update={"callbacks": [*(held or []), self]})


def replied_by(result: Iterable[BaseMessage], models: Mapping[str, object]) -> str | None:
    """Return who wrote a reply: one of `models` by its name, else the name that the reply gives."""
    for message in result:
        if isinstance(message, AIMessage):
            told = message.response_metadata
            name = told.get("model_name") or told.get("model")
            ours = (key for key, model in models.items() if name and _model_name(model) == name)
            return next(ours, name)
    return None


def _model_name(model: object) -> str | None:
    name = name_of(model)
    return name.partition(":")[2] or name if name and isinstance(model, str) else name
