"""Who answers: the children, how each is asked, and whose callbacks are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llama_index.core.callbacks import CallbackManager

from tryage.chat.desk import Desk as AnyDesk
from tryage_llamaindex._messages import unflagged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llama_index.core.callbacks.base_handler import BaseCallbackHandler
    from llama_index.core.llms import LLM

    from tryage.chat import Plan
    from tryage_llamaindex._calls import Call


@dataclass(frozen=True)
class Desk(AnyDesk["LLM"]):
    """A desk of LLMs.

    `handlers` are the callbacks of TryageLLM, which count every answer once; `handed_down` are its
    settings for children that report themselves; `copies` keeps what was made of them.
    """

    handlers: Sequence[BaseCallbackHandler]
    handed_down: dict[str, Any]
    copies: dict[tuple[str, bool], tuple[object, LLM]]

    def asker(self, call: Call, plan: Plan, name: str) -> Callable[[], Any]:
        """Return what asks one child.

        Raises:
            Exception: the child cannot be made, or cannot be asked this.
        """
        child = self.children.get_model(name)
        call.check(child)
        child = self._telling(name, child, loud=call.loud)
        return lambda: call.ask(child, unflagged(plan, call.conversation))

    def _telling(self, name: str, child: LLM, *, loud: bool) -> LLM:
        """Return the child so that every callback is told of an answer once.

        A quiet child tells those that TryageLLM does not tell; a loud one tells all.
        """
        own = list(child.callback_manager.handlers)
        told = [id(handler) for handler in (own if loud else self.handlers)]
        if loud:
            handlers = own + [one for one in self.handlers if id(one) not in told]
        else:
            handlers = [one for one in own if id(one) not in told]
        update = self.handed_down if loud else {}
        if len(handlers) == len(own) and not update:
            return child
        key = (id(child), tuple(map(id, handlers)), repr(update))
        held = self.copies.get((name, loud))
        if held is None or held[0] != key:
            # A copy shares the client. It is kept: clients that are made when first used stay.
            manager = CallbackManager([])
            manager.handlers = handlers  # given to it, none would mean those of Settings
            copy = child.model_copy(update={"callback_manager": manager, **update})
            held = self.copies[name, loud] = key, copy
        return held[1]
