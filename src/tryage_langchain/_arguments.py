"""The arguments of a call as each chat model takes them: tools, a schema, parameters.

Tools and schemas are bound by the chosen model itself. The parameters are temperature, length,
stops and time limit. LangChain names them once, but the classes of its partner packages take them
under names of their own, and some inside another argument. A parameter that a model refuses is left
out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.language_models import BaseChatModel

from tryage_langchain._answers import check_structured_output
from tryage_langchain._messages import tool_schemas_text
from tryage_langchain._profiles import profile_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from tryage_langchain._clients import ChatClient

    Arguments: TypeAlias = dict[str, Any]

PARAMETERS = ("temperature", "max_tokens", "stop", "timeout")
"""What ChatTryage passes on in each model's own words."""

_LENGTH_FIELDS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens")

# Clients of these classes take a time limit with each request, not only when they are made.
_TIMEOUT_FIELDS = ("request_timeout", "default_request_timeout")


# Tools and schemas -----------------------------------------------------------------------------


@dataclass(frozen=True)
class BoundArguments:
    """Tools or a schema, bound once. Each model binds them itself, in its own format.

    `tools` are the schemas as text, because their length counts for the context.
    """

    method: Literal["bind_tools", "with_structured_output"] | None = None
    argument: Any = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    tools: str = ""

    @property
    def structured_output(self) -> bool:
        """Whether the answer follows a schema."""
        return self.method == "with_structured_output"

    def apply_to(self, child: ChatClient) -> ChatClient:
        """Return the model with the arguments bound.

        Raises:
            NotImplementedError: the model has no such method.
        """
        if self.method is None:
            return child
        bind = getattr(child, self.method, None)
        if bind is None:
            raise NotImplementedError(f"A {type(child).__name__} has no {self.method}.")
        bound_child: ChatClient = bind(self.argument, **self.kwargs)
        if self.structured_output:
            return check_structured_output(bound_child, self.argument)
        return bound_child


NOTHING_BOUND = BoundArguments()


def bound_tools(tools: Sequence[Any], kwargs: Mapping[str, Any]) -> BoundArguments:
    """Return tools as arguments to bind."""
    return BoundArguments("bind_tools", tools, kwargs, tool_schemas_text(tools))


# Parameters ------------------------------------------------------------------------------------


def translate_parameters(model: object, arguments: Mapping[str, Any]) -> Arguments:
    """Return the arguments of a call with the parameters in the model's own words.

    Arguments that are not parameters stay as they are, and so does everything for what is not a
    chat model.
    """
    if not isinstance(model, BaseChatModel) or not any(key in arguments for key in PARAMETERS):
        return dict(arguments)
    refused = _refused_parameters(model)
    parameters = {
        key: value
        for key in PARAMETERS
        if (value := arguments.get(key)) is not None and key not in refused
    }
    others = {key: value for key, value in arguments.items() if key not in PARAMETERS}
    translate = _TRANSLATIONS.get(model._llm_type, _to_field_names)  # noqa: SLF001 - LangChain's name of a class of models
    return translate(model, parameters, others)


def _refused_parameters(model: BaseChatModel) -> frozenset[str]:
    """Return the parameters that a model is known to refuse, by its profile or while it thinks."""
    is_refused = profile_of(model).get("temperature") is False or _thinking_tokens(model) > 0
    return frozenset({"temperature"} if is_refused else ())


def _thinking_tokens(model: BaseChatModel) -> int:
    """Return the budget for hidden reasoning that Claude has, within the length of its answer."""
    thinking = getattr(model, "thinking", None)
    if not isinstance(thinking, dict) or thinking.get("type") != "enabled":
        return 0
    return int(thinking.get("budget_tokens") or 0)


def _to_field_names(model: BaseChatModel, parameters: Arguments, others: Arguments) -> Arguments:
    """Return the arguments for a class whose calls take the names of its fields."""
    fields = type(model).model_fields
    if "max_tokens" in parameters:
        name = next((name for name in _LENGTH_FIELDS if name in fields), "max_tokens")
        parameters[name] = parameters.pop("max_tokens") + _thinking_tokens(model)
    if not any(name in fields for name in _TIMEOUT_FIELDS):
        parameters.pop("timeout", None)
    return {**parameters, **others}


def _to_gemini(_: BaseChatModel, parameters: Arguments, others: Arguments) -> Arguments:
    """Return the arguments for Gemini, which takes them as a configuration of the answer."""
    names = {"temperature": "temperature", "max_tokens": "max_output_tokens"}
    config = {names[key]: parameters.pop(key) for key in names if key in parameters}
    config |= others.pop("generation_config", None) or {}
    generation_config = {"generation_config": config} if config else {}
    return {**parameters, **generation_config, **others}


def _to_ollama(model: BaseChatModel, parameters: Arguments, others: Arguments) -> Arguments:
    """Return the arguments for Ollama, whose options replace those of the model as a whole."""
    names = {"temperature": "temperature", "max_tokens": "num_predict", "stop": "stop"}
    options = {names[key]: parameters[key] for key in names if key in parameters}
    if not options:
        return others
    model_options = others.pop("options", None) or _ollama_options(model)
    return {"options": {**model_options, **options}, **others}


def _ollama_options(model: BaseChatModel) -> Arguments:
    """Return the options that a model of Ollama has itself."""
    names = import_module("ollama").Options.model_fields
    values = {name: getattr(model, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}


_TRANSLATIONS: Mapping[str, Callable[[Any, Arguments, Arguments], Arguments]] = {
    "chat-ollama": _to_ollama,
    "chat-google-generative-ai": _to_gemini,
}
