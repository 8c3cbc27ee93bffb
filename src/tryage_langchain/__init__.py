"""Tryage in LangChain: every prompt of a pipeline or an agent goes to the right model."""

from importlib import import_module
from typing import TYPE_CHECKING

from tryage.core.validation import require_extra

require_extra("langchain_core", "langchain")

from tryage_langchain._call_settings import TryageContext, route_on
from tryage_langchain._profiles import model_string
from tryage_langchain.chat import ChatTryage
from tryage_langchain.router import TryageRouter, to_destination, to_router_input

if TYPE_CHECKING:
    from tryage_langchain.decision_model import TryageDecisionModel as TryageDecisionModel
    from tryage_langchain.middleware import TryageMiddleware as TryageMiddleware
    from tryage_langchain.tool_selector import (
        TryageToolSelectorMiddleware as TryageToolSelectorMiddleware,
    )

# What needs more than langchain-core is not in the list: a star import would import it.
__all__ = [
    "ChatTryage",
    "TryageContext",
    "TryageRouter",
    "model_string",
    "route_on",
    "to_destination",
    "to_router_input",
]

_LAZY_IMPORTS = {
    "TryageDecisionModel": "decision_model",
    "TryageMiddleware": "middleware",
    "TryageToolSelectorMiddleware": "tool_selector",
}


def __getattr__(name: str) -> object:
    """Import what agents need when it is used, so that a router works without their packages.

    Raises:
        MissingExtraError: a package that it needs is not installed or too old.
    """
    if name not in _LAZY_IMPORTS:
        raise AttributeError(
            f"tryage_langchain has no {name!r}; it has {[*__all__, *_LAZY_IMPORTS]}."
        )
    if name.endswith("Middleware"):
        require_extra("langchain", "agents")
    return getattr(import_module(f"tryage_langchain.{_LAZY_IMPORTS[name]}"), name)
