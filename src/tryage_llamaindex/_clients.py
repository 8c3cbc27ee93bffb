"""The LLMs that answer, by name: how they are made and pickled, and the facts they report."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW, DEFAULT_NUM_OUTPUTS
from llama_index.core.llms import LLM, LLMMetadata
from llama_index.core.utils import get_tokenizer

import tryage.chat.clients
from tryage.chat.candidates import CandidatePool, ClientFacts, candidate_experts
from tryage.chat.clients import HubClientFactory, base_url_of
from tryage.chat.efforts import EffortSource, add_efforts, join_effort, split_effort
from tryage.chat.model_names import model_name_of
from tryage.chat.pickles import partial_without_keys
from tryage.core.preferences import Preferences
from tryage.core.redaction import without_secrets
from tryage.errors import MissingExtraError
from tryage_llamaindex._call import supports_tools
from tryage_llamaindex._efforts import llm_with_effort, offered_efforts, own_effort

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TypeAlias

    from tryage.core.expert import Expert
    from tryage.core.library import Library
    from tryage.router import Router

    LLMSource: TypeAlias = LLM | Callable[[], LLM]

MODEL_NAME = "tryage"

_PROCESS_FIELDS = ("callback_manager", "rate_limiter")  # not valid in another process

_API_MODULE, _LOCAL_MODULE = "llama_index.llms.huggingface_api", "llama_index.llms.huggingface"

_DEFAULT_MODEL_NAME = LLMMetadata().model_name

# An LLM reports only whether it calls tools, so every other capability counts as possible.
_UNREPORTED_CAPABILITIES = frozenset(
    {"structured_output", "vision", "audio", "pdf", "video", "files", "reasoning"}
)


class LLMPool(tryage.chat.clients.ClientPool[LLM]):
    """Name -> LLM, or a function that makes one.

    A pickle holds how to make each LLM again, without secrets: those come from the environment.

    Raises:
        InputError: there is no LLM, or one is of another type.
    """

    client_type = LLM
    source_description = "an LLM of LlamaIndex, or a function that makes one"

    def apply_effort(self, client: LLM, effort: str) -> LLM:
        """Return a copy of an LLM that asks with an effort.

        Raises:
            InputError: the LLM has no parameter for it that is known.
        """
        return llm_with_effort(client, effort)

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep how to make each LLM again, without secrets."""
        return type(self), (make_picklable(self._sources),)


# Pickling --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LLMFactory:
    """Makes an LLM again from its fields, when it is first chosen."""

    llm_class: Callable[..., LLM]
    settings: dict[str, Any] = field(repr=False)

    def __call__(self) -> LLM:
        """Return the LLM."""
        return self.llm_class(**self.settings)


def make_picklable(sources: Mapping[str, Any]) -> dict[str, Any]:
    """Return sources of LLMs that can be pickled and hold no secrets."""
    return {name: _picklable_source(source) for name, source in sources.items()}


def _picklable_source(source: Any) -> Any:
    if isinstance(source, EffortSource):
        return replace(source, source=_picklable_source(source.source))
    if isinstance(source, LLM):
        return LLMFactory(type(source), _picklable_settings(source))
    if isinstance(source, partial):
        return partial_without_keys(source)
    return source


def _picklable_settings(llm: LLM) -> dict[str, Any]:
    """Return the fields of an LLM without secrets and without what cannot be pickled."""
    fields = {name: vars(llm)[name] for name in type(llm).model_fields}
    settings = {
        name: value
        for name, value in fields.items()
        # A method of the LLM itself would bring along its clients and secrets.
        if name not in _PROCESS_FIELDS and getattr(value, "__self__", None) is not llm
    }
    return {
        name: value for name, value in without_secrets(settings).items() if _is_picklable(value)
    }


def _is_picklable(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001 - a value's own reduction raises anything
        return False
    return True


# Models of the Hugging Face Hub ----------------------------------------------------------------


def hub_models(
    names: Iterable[str], *, local: bool, **settings: Any
) -> dict[str, HubClientFactory[LLM]]:
    """Return what makes an LLM for each model id, when it is first chosen.

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
    except ModuleNotFoundError:  # llama_index.llms exists only with the package of some LLM
        return False


def _inference_api_llm(name: str, **settings: Any) -> LLM:
    from tryage_llamaindex._huggingface_api import ConcurrentHuggingFaceInferenceAPI

    llm: LLM = ConcurrentHuggingFaceInferenceAPI(**{"model": name, "provider": "auto", **settings})
    return llm


def _local_llm(name: str, **settings: Any) -> LLM:
    from llama_index.llms.huggingface import HuggingFaceLLM  # type: ignore[import-not-found, import-untyped, unused-ignore]  # an optional package

    llm: LLM = HuggingFaceLLM(**{"model_name": name, "tokenizer_name": name, **settings})
    return llm


# Names and facts -------------------------------------------------------------------------------


def llm_name(llm: object) -> str | None:
    """Return the name of the model that an LLM calls, None if it does not report one."""
    if (name := model_name_of(llm)) is not None:
        return name
    metadata = metadata_of(llm)
    if metadata is None or metadata.model_name == _DEFAULT_MODEL_NAME:
        return None
    return metadata.model_name


def candidate_name(llm: object) -> str | None:
    """Return the name of an LLM in a list: one with an effort of its own has it in its name."""
    name = llm_name(llm)
    return None if name is None else join_effort(name, own_effort(llm) or split_effort(name)[1])


def with_efforts(llms: Mapping[str, LLMSource], efforts: Sequence[str] = ()) -> dict[str, Any]:
    """Return LLMs by name, those with several efforts once for each of them.

    Raises:
        InputError: two LLMs get one name.
    """
    return add_efforts(llms, efforts, offered_efforts)


def metadata_of(llm: object) -> LLMMetadata | None:
    """Return an LLM's metadata; None if it has no metadata or is not made yet."""
    try:
        return llm.metadata if isinstance(llm, LLM) else None
    except ValueError:  # the metadata of OpenAI's LLM for a model that it does not know
        return None


def candidate_pool(
    llms: LLMPool, router: Router | None, user_experts: Sequence[Expert]
) -> CandidatePool:
    """Return the LLMs as experts, with the facts of the user, the LLMs and the router's library.

    Raises:
        LibraryError: two names clash.
    """
    library = None if router is None else router.library
    clients = {name: _client_facts(llm, llms.effort(name)) for name, llm in llms.items()}
    experts = candidate_experts(clients, library, user_experts)
    return CandidatePool.from_experts(map(_with_tool_support, experts, llms.values()), library)


def _client_facts(llm: object, effort: str | None = None) -> ClientFacts:
    """Return the facts that an LLM reports; LlamaIndex's default context window is not a fact."""
    window = getattr(metadata_of(llm), "context_window", DEFAULT_CONTEXT_WINDOW)
    facts = {} if window == DEFAULT_CONTEXT_WINDOW else {"context_length": window}
    return ClientFacts(
        llm_name(llm), facts, "the LLM's own metadata", base_url_of(llm), effort or own_effort(llm)
    )


def _with_tool_support(expert: Expert, llm: object) -> Expert:
    """Return an expert that calls tools if and only if its LLM does, where that is known.

    The LLMs of LlamaIndex for models of the Hub call no functions, even if the models can.
    """
    if not isinstance(llm, HubClientFactory) and metadata_of(llm) is None:
        return expert
    capabilities = _UNREPORTED_CAPABILITIES if expert.capabilities is None else expert.capabilities
    calls_tools = isinstance(llm, LLM) and supports_tools(llm)
    tool_capability = frozenset({"tools"})
    return replace(
        expert,
        capabilities=capabilities | tool_capability
        if calls_tools
        else capabilities - tool_capability,
    )


def count_tokens(text: str) -> float:
    """Return the tokens of a text by LlamaIndex's tokenizer, with which engines fill prompts."""
    return float(len(get_tokenizer()(text)))


def common_metadata(
    llms: Mapping[str, object],
    experts: Library,
    preferences: Preferences,
    context_window: int | None,
) -> LLMMetadata:
    """Return metadata that is valid for every choice, before any query is known.

    The context window is the smallest among the LLMs that meet the standing requirements, because
    LlamaIndex fills prompts up to it, less `num_output`. Only LLMs that call tools are asked with
    tools, so one such LLM is enough for `is_function_calling_model`.
    """
    names = _allowed_names(experts, preferences)
    metadata = {name: metadata_of(llms[name]) for name in names}
    windows = {name: _context_window(metadata[name], experts[name]) for name in names}
    known_windows = [window for window in windows.values() if window is not None]
    window = context_window or min(known_windows, default=DEFAULT_CONTEXT_WINDOW)
    capability_sets = [experts[name].capabilities for name in names]
    return LLMMetadata(
        context_window=window,
        num_output=_common_num_output(
            [(windows[name] or window, _num_output(metadata[name])) for name in names], window
        ),
        is_chat_model=True,  # each child applies its own template
        is_function_calling_model=any(
            capabilities is None or "tools" in capabilities for capabilities in capability_sets
        ),
        model_name=MODEL_NAME,
    )


def _common_num_output(sizes: Sequence[tuple[int, int]], window: int) -> int:
    """Return the tokens to keep free for an answer in `window`; `sizes` are those of each LLM.

    It is the longest answer of any LLM. If that takes half of the window or more, it is what the
    answers need beyond the room that larger windows have anyway.
    """
    longest = max(num_output for _, num_output in sizes)
    if longest < window / 2:
        return longest
    needed = max(num_output - max(size - window, 0) for size, num_output in sizes)
    return max(needed, min(num_output for _, num_output in sizes))


def _num_output(metadata: LLMMetadata | None) -> int:
    """Return the longest answer of an LLM in tokens; LlamaIndex's default if it is unknown."""
    if metadata is None or metadata.num_output <= 0:
        return DEFAULT_NUM_OUTPUTS
    return metadata.num_output


def _allowed_names(experts: Library, preferences: Preferences) -> list[str]:
    """Return the experts that meet the requirements of every request; all if no expert does."""
    # A limit of the cost depends on the request.
    requirements = (
        requirement for requirement in preferences.requirements if requirement.field != "cost"
    )
    mask = Preferences(requirements=requirements).satisfied(experts)
    if not mask.any():
        return list(experts.names)
    return [name for name, is_allowed in zip(experts.names, mask, strict=True) if is_allowed]


def _context_window(metadata: LLMMetadata | None, expert: Expert) -> int | None:
    if expert.context_length is not None:
        return int(expert.context_length)
    return None if metadata is None else metadata.context_window
