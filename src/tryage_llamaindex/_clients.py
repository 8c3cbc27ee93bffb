"""The LLMs that answer, by name, and how they are pickled: made again, without their secrets."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW
from llama_index.core.llms import LLM, LLMMetadata
from llama_index.llms.huggingface_api import HuggingFaceInferenceAPI  # type: ignore[import-not-found, import-untyped, unused-ignore]  # an optional package

import tryage.chat.clients
from tryage.chat.candidates import CandidatePool, ClientFacts, candidate_experts
from tryage.chat.model_names import model_name_of
from tryage.core.client_errors import is_secret, without_secrets
from tryage.core.preferences import Preferences
from tryage.errors import InputError, MissingExtraError
from tryage_llamaindex._call import supports_tools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TypeAlias

    from llama_index.core.llms import ChatMessage, ChatResponseAsyncGen

    from tryage.core.expert import Expert
    from tryage.core.library import Library
    from tryage.router import Router

    LLMSource: TypeAlias = LLM | Callable[[], LLM]

_PROCESS_FIELDS = ("callback_manager", "rate_limiter")  # belong to the process

_API_MODULE, _LOCAL_MODULE = "llama_index.llms.huggingface_api", "llama_index.llms.huggingface"

MODEL_NAME = "tryage"

_DEFAULT_MODEL_NAME = LLMMetadata().model_name

# An LLM tells whether it calls tools and leaves the rest open: what is left open is possible.
_UNREPORTED_CAPABILITIES = frozenset({"structured_output", "vision", "audio", "reasoning"})


class LLMPool(tryage.chat.clients.ClientPool[LLM]):
    """Name -> LLM, or a function that makes one.

    A pickle holds how each is made again, without secrets: those come from the environment.

    Raises:
        InputError: no LLM, or one of another type.
    """

    client_type = LLM
    expected = "an LLM of LlamaIndex, or a function that makes one"

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep what can be made again, without secrets."""
        return type(self), (make_picklable(self._sources),)


@dataclass(frozen=True)
class LLMFactory:
    """Makes an LLM again from its fields, when it is first chosen."""

    llm_class: Callable[..., LLM]
    settings: dict[str, Any] = field(repr=False)

    def __call__(self) -> LLM:
        """Return the LLM."""
        return self.llm_class(**self.settings)


def make_picklable(sources: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes LLMs in a form that can be pickled and holds no secrets."""
    return {name: _picklable_source(source) for name, source in sources.items()}


def _picklable_source(source: Any) -> Any:
    if isinstance(source, LLM):
        fields = {name: vars(source)[name] for name in type(source).model_fields}
        kept = {
            name: value
            for name, value in fields.items()
            if name not in _PROCESS_FIELDS and getattr(value, "__self__", None) is not source
        }  # its own methods would bring it along, clients and secrets too
        return LLMFactory(type(source), _picklable_settings(without_secrets(kept)))
    if isinstance(source, partial):
        if any(is_secret("", argument) for argument in source.args):
            raise InputError("A key in a partial's arguments is not pickled. Give it by its name.")
        return partial(source.func, *source.args, **without_secrets(source.keywords))
    return source


def _picklable_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Leave out what cannot be pickled, such as functions without a name."""
    return {name: value for name, value in settings.items() if _is_picklable(value)}


def _is_picklable(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001 - whatever its own reduction raises
        return False
    return True


def hub_models(
    names: Iterable[str],
    *,
    local: bool,
    **settings: Any,
) -> dict[str, tryage.chat.clients.HubClientFactory[LLM]]:
    """Return what makes an LLM per model id.

    Args:
        names: Ids such as "Qwen/Qwen2.5-7B-Instruct".
        local: Run the weights here, with transformers, instead of asking an inference provider.
        settings: For `HuggingFaceInferenceAPI`, or for `HuggingFaceLLM`.

    Raises:
        MissingExtraError: the package of these LLMs is not installed.
    """
    module = _LOCAL_MODULE if local else _API_MODULE
    if not _is_installed(module):
        package = module.replace(".", "-").replace("_", "-")
        raise MissingExtraError(
            f"{module} is not installed. Install it with: pip install {package}"
        )
    build = _local_llm if local else _inference_api_llm
    return tryage.chat.clients.hub_models(names, build, settings)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # llama_index.llms is there once any LLM's package is
        return False


def _inference_api_llm(name: str, **settings: Any) -> LLM:

    model: LLM = ConcurrentHuggingFaceInferenceAPI(
        **{"model": name, "provider": "auto", **settings}
    )
    return model


def _local_llm(name: str, **settings: Any) -> LLM:
    from llama_index.llms.huggingface import HuggingFaceLLM  # type: ignore[import-not-found, import-untyped, unused-ignore]  # as above

    model: LLM = HuggingFaceLLM(**{"model_name": name, "tokenizer_name": name, **settings})
    return model


class ConcurrentHuggingFaceInferenceAPI(HuggingFaceInferenceAPI):  # type: ignore[misc, unused-ignore]  # as above
    """Gives every asynchronous stream a client of its own.

    The base closes its only one at the end of each, under whatever else is under way with it, and
    of later calls none succeeds (llama-index-llms-huggingface-api 0.8, huggingface_hub 2.4).
    """

    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """Stream an answer."""
        own = self.model_copy()
        client = type(self._async_client)
        own._async_client = client(**self._get_inference_client_kwargs())  # noqa: SLF001 - a copy of itself
        chunks: ChatResponseAsyncGen = await HuggingFaceInferenceAPI.astream_chat(
            own, messages, **kwargs
        )
        return chunks


def llm_name(model: object) -> str | None:
    """Return the name of what an LLM calls, None if it does not tell."""
    if (name := model_name_of(model)) is not None:
        return name
    metadata = metadata_of(model)
    return (
        None
        if metadata is None or metadata.model_name == _DEFAULT_MODEL_NAME
        else metadata.model_name
    )


def metadata_of(model: object) -> LLMMetadata | None:
    """Return an LLM's metadata; None of one that is not made yet, or has none."""
    try:
        return model.metadata if isinstance(model, LLM) else None
    except ValueError:  # OpenAI's of a model that it has never heard of
        return None


def candidate_pool(
    models: Mapping[str, object], router: Router | None, user_experts: Sequence[Expert]
) -> CandidatePool:
    """Return what is known of the LLMs; `told` is what the user says of them.

    Raises:
        LibraryError: two names clash.
    """
    known = None if router is None else router.library
    clients = {name: _client_facts(model) for name, model in models.items()}
    found = candidate_experts(clients, known, user_experts)
    return CandidatePool.from_experts(map(_with_tool_support, found, models.values()), known)


def common_metadata(
    models: Mapping[str, object],
    experts: Library,
    preferences: Preferences,
    context_window: int | None,
) -> LLMMetadata:
    """Return what holds whoever is chosen, before any query is known.

    The context is that of the smallest that meets the standing requirements: LlamaIndex cuts
    retrieved text to it. Tools are offered to those that call tools, so one is enough.
    """
    standing = (need for need in preferences.requirements if need.field != "cost")  # of one request
    allowed = Preferences(requirements=standing).satisfied(experts)
    chosen = [experts.names[i] for i in range(len(experts)) if allowed[i] or not allowed.any()]
    told = {name: metadata_of(models[name]) for name in chosen}
    windows = [_context_window(told[name], experts[name]) for name in chosen]
    outputs = [one.num_output for one in told.values() if one is not None and one.num_output > 0]
    capable = [experts[name].capabilities for name in chosen]
    known: dict[str, Any] = {
        "context_window": context_window
        or min((one for one in windows if one is not None), default=None),
        "num_output": min(outputs, default=None),
    }
    return LLMMetadata(
        is_chat_model=True,  # each child applies its own template
        is_function_calling_model=any(able is None or "tools" in able for able in capable),
        model_name=MODEL_NAME,
        **{name: value for name, value in known.items() if value is not None},
    )


def _client_facts(model: object) -> ClientFacts:
    """Return what an LLM tells of itself; the default context is what nobody has set."""
    window = getattr(metadata_of(model), "context_window", DEFAULT_CONTEXT_WINDOW)
    facts = {} if window == DEFAULT_CONTEXT_WINDOW else {"context_length": window}
    return ClientFacts(llm_name(model), facts, "the LLM's own metadata")


def _with_tool_support(expert: Expert, model: object) -> Expert:
    """Return an expert that calls tools if the LLM says so, whatever else is known."""
    able = _UNREPORTED_CAPABILITIES if expert.capabilities is None else expert.capabilities
    tools = frozenset({"tools"})
    if isinstance(model, tryage.chat.clients.HubClientFactory):
        # Neither of LlamaIndex's LLMs for these models calls functions, whatever the model can do.
        return replace(expert, capabilities=able - tools)
    if not isinstance(model, LLM) or metadata_of(model) is None:
        return expert
    return replace(expert, capabilities=able | tools if supports_tools(model) else able - tools)


def _context_window(metadata: LLMMetadata | None, expert: Expert) -> int | None:
    if expert.context_length is not None:
        return int(expert.context_length)
    return None if metadata is None else metadata.context_window
