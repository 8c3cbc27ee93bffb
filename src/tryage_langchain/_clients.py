"""Chat models by name: how each is made, what is known about it, and views of it for one call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from copy import deepcopy
from difflib import get_close_matches
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableBinding

import tryage.chat.clients
from tryage.chat.candidates import CandidatePool, ClientFacts, candidate_experts
from tryage.chat.clients import base_url_of
from tryage.chat.efforts import (
    EFFORTS,
    add_efforts,
    join_effort,
    known_efforts,
    split_effort,
    unsupported_effort,
)
from tryage.chat.model_names import model_name_of
from tryage.chat.settings import check_settings
from tryage.core.redaction import has_secrets, without_secrets
from tryage.core.validation import require_extra
from tryage.errors import InputError
from tryage_langchain._efforts import effort_values, offered_efforts, own_effort
from tryage_langchain._profiles import PROVIDER_PACKAGES, facts_from_profile, profile_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import BaseModel

    from tryage.chat.clients import HubClientFactory
    from tryage.core.expert import Expert
    from tryage.router import Router

ModelT = TypeVar("ModelT", bound="BaseChatModel")

_log = logging.getLogger(__name__)

ChatClient: TypeAlias = Runnable[Any, Any]

ChatModelSource: TypeAlias = ChatClient | str | Callable[[], ChatClient]

_INIT_SETTINGS = frozenset({"model_provider", "configurable_fields", "config_prefix"})

# LangChain's standard parameters: no class is imported to find out whether it takes them.
_COMMON_SETTINGS = frozenset({"api_key", "base_url", "max_retries", "timeout"})

_MODEL, _VALUES = "_tryage_viewed_model", "_tryage_view_values"

# All that pydantic keeps of an object.
_STATE = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


class ChatModelPool(tryage.chat.clients.ClientPool[ChatClient]):
    """Name -> chat model, or its source: an `init_chat_model` string or a function.

    `settings` go to `init_chat_model`. A pickle leaves out the models that were made from strings,
    and every setting that is a secret: they are made again from the environment.

    Raises:
        InputError: there is no model, one is of another type, or the provider of one is misspelt.
    """

    client_type = Runnable
    source_description = (
        "a chat model, an init_chat_model string such as 'openai:gpt-4o-mini', or a function that "
        "makes one"
    )

    def __init__(self, sources: Mapping[str, ChatModelSource], settings: Mapping[str, Any]) -> None:
        super().__init__(sources)
        self._settings = dict(settings)
        for source in map(self._plain_source, self._sources):
            if isinstance(source, str):
                check_provider(source, settings)

    @classmethod
    def is_valid_source(cls, source: object) -> bool:
        """Tell whether it is a chat model or can make one."""
        return isinstance(source, (str, Runnable)) or callable(source)

    @property
    def non_secret_settings(self) -> dict[str, Any]:
        """The settings that are not secrets."""
        return without_secrets(self._settings)

    def check_settings(self, owner: type[BaseModel]) -> None:
        """Raise unless each setting means something to at least one of the models.

        A model that its user has made takes no settings; those that LangChain's models share, such
        as `max_retries`, are then logged only, and a time limit reaches it with each call. The
        message has the nearest name among the fields of `owner` and of the models' classes.

        Raises:
            InputError: a setting means nothing, or a credential would go to several providers.
        """
        sources = map(self._plain_source, self._sources)
        strings = [source for source in sources if isinstance(source, str)]
        check_credentials(strings, self._settings)
        if names := uncommon_settings(self._settings):
            classes = [model_class(source, self._settings) for source in strings]
            if None not in classes:  # a class whose package is not installed may take anything
                check_settings(names, owner, *filter(None, dict.fromkeys(classes)))
        unused_settings = self._settings.keys() - owner.model_fields  # its own reach every model
        if unused_settings and not strings:
            _log.warning("%s change nothing: no model is a string.", sorted(unused_settings))

    def build(self, source: ChatModelSource) -> ChatClient:
        """Make a chat model.

        Raises:
            MissingExtraError: `langchain`, which makes models from strings, is not installed.
        """
        if isinstance(source, str):
            require_extra("langchain.chat_models", "agents")
            from langchain.chat_models import init_chat_model

            cls = model_class(source, self._settings)
            model: ChatClient = init_chat_model(source, **accepted_settings(cls, self._settings))
            return model
        return source if isinstance(source, Runnable) else source()

    def apply_effort(self, client: ChatClient, effort: str) -> ChatClient:
        """Return a view of a chat model that answers with an effort, also inside its bindings.

        Raises:
            InputError: the chat model has no parameter for it that is known.
        """
        return client_with_effort(client, effort)

    def effort_setting(self, name: str) -> str | None:
        """Return the effort that the settings give to a model that is made from a string."""
        source, effort = self._plain_source(name), self._settings.get("reasoning_effort")
        takes_it = isinstance(source, str) and effort in EFFORTS and bool(known_efforts(source))
        return str(effort) if takes_it else None

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the sources and settings, without secrets."""
        return type(self), (self._sources, self.non_secret_settings)


def client_with_effort(client: ChatClient, effort: str) -> ChatClient:
    """Return a view of a chat model that answers with an effort, also inside its bindings.

    Raises:
        InputError: it is another runnable, or has no parameter for it that is known.
    """
    if isinstance(client, BaseChatModel):
        return view_model(client, effort_values(client, effort))
    if isinstance(client, RunnableBinding):
        bound = client_with_effort(client.bound, effort)
        return client.model_copy(update={"bound": bound})
    raise unsupported_effort(client, effort)


# The class that a string makes -----------------------------------------------------------------


def model_class(model: str, settings: Mapping[str, Any]) -> type[BaseChatModel] | None:
    """Return the class that `init_chat_model` makes; None if its package is not installed.

    None, too, if this version of LangChain does not say.
    """
    try:
        base = import_module("langchain.chat_models.base")
        _, provider = base._parse_model(model, settings.get("model_provider"))  # noqa: SLF001 - LangChain has no public name for it
        module, name, _ = base._BUILTIN_PROVIDERS[provider]  # noqa: SLF001 - the same
        return cast("type[BaseChatModel]", getattr(import_module(module), name))
    except (AttributeError, ImportError, KeyError, ValueError):
        return None


def check_provider(model: str, settings: Mapping[str, Any]) -> None:
    """Raise if a string looks as if its provider were misspelt: "opnai:gpt-5".

    Such a model would fail at each call, and the next would answer in its place.

    Raises:
        InputError: `init_chat_model` knows no provider of it, and the message has a similar one.
    """
    provider, _, name = model.partition(":")
    given = provider.casefold().replace("-", "_")
    if not name or provider in PROVIDER_PACKAGES or not given.isidentifier() or given[-1].isdigit():
        return  # "llama3:8b" is a model of Ollama without its provider, and not misspelt
    near = [known for known in PROVIDER_PACKAGES if known.startswith(f"{given}_")]
    near = near or get_close_matches(given, PROVIDER_PACKAGES, n=2, cutoff=0.8)
    if near and not _has_provider(model, settings):
        places = " or ".join(f"{one}:{name}" for one in near)
        raise InputError(
            f"{model!r:.80} has no provider that is known. Did you mean {places:.200}?"
        )


def _has_provider(model: str, settings: Mapping[str, Any]) -> bool:
    """Return whether `init_chat_model` finds the provider of a string, or cannot be asked."""
    try:
        base = import_module("langchain.chat_models.base")
        base._parse_model(model, settings.get("model_provider"))  # noqa: SLF001 - LangChain has no public name for it
    except (AttributeError, ImportError):
        return True
    except ValueError:
        return False
    return True


def uncommon_settings(settings: Mapping[str, Any]) -> list[str]:
    """Return the settings that not every class takes."""
    return [name for name in settings if name not in _INIT_SETTINGS | _COMMON_SETTINGS]


def check_credentials(models: Iterable[str], settings: Mapping[str, Any]) -> None:
    """Raise if a credential among the settings would be sent to the servers of several providers.

    With a `base_url`, all are sent to that one server.

    Raises:
        InputError: it would.
    """
    names = [name for name, value in settings.items() if has_secrets({name: value})]
    if not names or settings.get("base_url"):
        return
    classes = {model.partition(":")[0]: model_class(model, settings) for model in models}
    for name in names:
        takers = {
            provider if cls is None else cls.__name__
            for provider, cls in classes.items()
            if name in accepted_settings(cls, settings)
        }
        if len(takers) > 1:
            raise InputError(
                f"{name} would be sent to several providers ({', '.join(sorted(takers))}). Leave "
                "it out, so that each client reads its own variable of the environment; or give "
                "the models as objects, each with its own; or a base_url that serves all of them."
            )


def accepted_settings(
    cls: type[BaseChatModel] | None, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings that a class takes, with the time limit in its own words.

    Without a class all are returned.
    """
    if cls is None:
        return dict(settings)
    aliases = {field.alias for field in cls.model_fields.values()}
    names = {*cls.model_fields, *aliases, *_INIT_SETTINGS, *_COMMON_SETTINGS}
    accepted = {name: value for name, value in settings.items() if name in names}
    if "timeout" in accepted and "client_kwargs" in cls.model_fields:  # Ollama
        limit = {"timeout": accepted.pop("timeout")}
        accepted["client_kwargs"] = {**limit, **(accepted.get("client_kwargs") or {})}
    return accepted


# Facts about chat models -----------------------------------------------------------------------


def candidate_pool(
    models: ChatModelPool, router: Router | None, user_experts: Sequence[Expert]
) -> CandidatePool:
    """Return one expert for each chat model; `user_experts` hold the user's facts.

    Raises:
        LibraryError: two names clash.
    """
    clients = {
        name: ClientFacts(
            chat_model_name(model),
            facts_from_profile(profile_of(model)),
            base_url=base_url_of(model),
            effort=models.effort(name) or own_effort(model) or models.effort_setting(name),
        )
        for name, model in models.items()
    }
    library = None if router is None else router.library
    return CandidatePool.from_experts(candidate_experts(clients, library, user_experts), library)


def chat_model_name(model: object) -> str | None:
    """Return the name of the model that a chat model calls, None if it does not say."""
    if isinstance(model, str):
        return model
    return model_name_of(model, getattr(model, "bound", None), getattr(model, "llm", None))


def candidate_name(model: object) -> str | None:
    """Return the name of a model in a list: one with an effort of its own has it in its name."""
    name = chat_model_name(model)
    return None if name is None else join_effort(name, own_effort(model) or split_effort(name)[1])


def with_efforts(
    models: Mapping[str, ChatModelSource], efforts: Sequence[str] = ()
) -> dict[str, Any]:
    """Return models by name, those with several efforts once for each of them.

    Raises:
        InputError: a name and its model have different efforts, or two models get one name.
    """
    return add_efforts(models, efforts, offered_efforts)


# Models of the Hub -----------------------------------------------------------------------------


def hub_models(
    names: Iterable[str], *, local: bool, **settings: Any
) -> dict[str, HubClientFactory[BaseChatModel]]:
    """Return what makes a `ChatHuggingFace` for each model id, when it is first chosen.

    Args:
        names: Ids such as "Qwen/Qwen2.5-7B-Instruct".
        local: Run the weights here, with transformers, instead of asking an inference provider.
        settings: For `HuggingFaceEndpoint`, or for `HuggingFacePipeline.from_model_id`.

    Raises:
        MissingExtraError: `langchain-huggingface` is not installed.
    """
    require_extra("langchain_huggingface", "huggingface")
    build = _pipeline_model if local else _endpoint_model
    return tryage.chat.clients.hub_models(names, build, settings)


def _endpoint_model(name: str, **settings: Any) -> BaseChatModel:
    from langchain_huggingface import ChatHuggingFace, HuggingFaceEndpoint  # type: ignore[import-not-found, unused-ignore]  # an optional package

    endpoint = HuggingFaceEndpoint(**{"repo_id": name, "provider": "auto", **settings})
    model: BaseChatModel = ChatHuggingFace(llm=endpoint)
    return model


def _pipeline_model(name: str, **settings: Any) -> BaseChatModel:
    from langchain_huggingface import ChatHuggingFace, HuggingFacePipeline  # type: ignore[import-not-found, unused-ignore]  # an optional package

    # Otherwise the answer begins with the question.
    pipeline_kwargs = {"return_full_text": False, **(settings.get("pipeline_kwargs") or {})}
    arguments = {
        "model_id": name,
        "task": "text-generation",
        **settings,
        "pipeline_kwargs": pipeline_kwargs,
    }
    model: BaseChatModel = ChatHuggingFace(llm=HuggingFacePipeline.from_model_id(**arguments))
    return model


# Views with other values of some fields --------------------------------------------------------


def view_model(model: ModelT, values: Mapping[str, Any]) -> ModelT:
    """Return a view of a model in which the fields in `values` have these values.

    Routing gives a model tags, callbacks or a cache for one call. A copy would count tokens, or
    keep a connection, beside the model. A view shares the whole state: what a call changes is
    changed in the model itself. A view of a view is a view of the model. A copy of a view is a
    model of its own.
    """
    if isinstance(model, ModelView):
        values = {**object.__getattribute__(model, _VALUES), **values}
        model = object.__getattribute__(model, _MODEL)
    cls = _view_class(type(model))
    view: ModelT = object.__new__(cls)
    for name in _STATE:
        object.__setattr__(view, name, getattr(model, name))
    object.__setattr__(view, _MODEL, model)
    object.__setattr__(view, _VALUES, dict(values))
    return view


class ModelView:
    """The part of a view's class that reads the other values first."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> Any:
        """Return the other value of a field, else what the model itself has."""
        values = object.__getattribute__(self, _VALUES)
        return values[name] if name in values else super().__getattribute__(name)

    def _get_llm_string(self, *args: Any, **kwargs: Any) -> str:
        """Return the key of LangChain's cache, which tells other values of the model apart."""
        model, values = (object.__getattribute__(self, name) for name in (_MODEL, _VALUES))
        key = str(super()._get_llm_string(*args, **kwargs))  # type: ignore[misc]  # a mixin
        hidden = {name for name, field in type(model).model_fields.items() if field.exclude}
        visible = {name: values[name] for name in sorted(values) if name not in hidden}
        return f"{key}---{visible}" if visible else key

    def __copy__(self) -> Any:
        """Return a copy of the model with the other values."""
        model, values = (object.__getattribute__(self, name) for name in (_MODEL, _VALUES))
        return model.model_copy(update=values)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Any:
        """Return a deep copy of the model with the other values."""
        return deepcopy(self.__copy__(), memo)

    def __reduce_ex__(self, _: Any) -> Any:
        """Pickle a copy: the class of a view is not importable."""
        return _unpickle, (self.__copy__(),)


def _unpickle(model: ModelT) -> ModelT:
    return model


@lru_cache(maxsize=256)
def _view_class(cls: type[Any]) -> type[Any]:
    """Return the class of the views of a class: a subclass under the same name.

    LangChain reads the name of a class to tell the provider.
    """
    namespace = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        "__slots__": (_MODEL, _VALUES),
    }
    view_class: type[Any] = type(cls)(cls.__name__, (ModelView, cls), namespace)  # type: ignore[misc]  # a metaclass
    return view_class
