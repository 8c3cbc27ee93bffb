"""TryageToolSelectorMiddleware shows an agent's model only the tools that a turn needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from langchain.agents.middleware import (
    AgentMiddleware,
    AgentState,
    ExtendedModelResponse,
    ModelRequest,
    ModelResponse,
)
from langchain.agents.middleware.types import OmitFromInput, TracePolicy, omit_payload
from langchain_core.messages import AIMessage
from langchain_core.runnables.config import run_in_executor
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.types import Command
from typing_extensions import NotRequired

from tryage.core.cache import LRUCache
from tryage.core.preferences import Preferences
from tryage.core.validation import check_strings
from tryage.errors import InputError
from tryage.tools.ranker import ToolRanker, check_k
from tryage.tools.tool import Tool, check_tools
from tryage_langchain._agent_calls import conversation_from_request, current_config, turn_key
from tryage_langchain._call_settings import read_call_settings
from tryage_langchain._messages import is_from_user

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

    from langchain_core.messages import BaseMessage

    from tryage.tools.matching import Toolbox
    from tryage.tools.ranker import Selection
    from tryage_langchain._call_settings import CallSettings

_DEFAULT_K = 5

_TOOLBOX_CACHE_SIZE = 8  # lists of tools: an agent asks with the same list again and again


class ToolState(AgentState[Any]):
    """The state of an agent, with the tools of its last model call and why they were chosen."""

    tryage_tools: NotRequired[Annotated[dict[str, Any], OmitFromInput]]


class TryageToolSelectorMiddleware(AgentMiddleware[ToolState, Any, Any]):
    """Choose the few tools that the user's request needs; one choice per turn.

    The model also sees the tools that providers run themselves (dicts), those in `always_include`,
    those that were called in this turn, and the one that the call forces. The state key
    `tryage_tools` says what was chosen.

    Args:
        ranker: Ranks tools for a query; None is the bundled one.
        k: At most this many tools are chosen; None chooses those that are of use with a probability
            of at least a third, and at least one.
        max_tools: The name of `k` in LangChain's `LLMToolSelectorMiddleware`.
        always_include: Names of tools that the model always sees.
        known: What the schemas do not say about your tools: `Tool`s with cost, latency, risk and
            permissions, matched by name.
        preferences: Weights and requirements on cost, latency and security.
        granted: Permissions; a tool that needs another one is left out. None grants all.
        abstain_below: Choose no tool if the probability that one is needed is below this. The
            default 0 never abstains.

    Per run, `config["configurable"]` or the `context` may hold `tryage_max_tools`,
    `tryage_tool_preferences` and, as the text that the tools must fit, `tryage_query`.

    Raises:
        InputError: an argument is of the wrong type, or `k` and `max_tools` differ; in a call,
            `always_include` names no tool, or a setting of the run is wrong.
        NoExpertError: in a call, requirements or permissions leave no tool.
    """

    state_schema = ToolState
    trace_policy = TracePolicy(process_inputs=omit_payload)

    def __init__(  # noqa: PLR0913 - the arguments of LangChain's own selector, and what tools cost
        self,
        ranker: ToolRanker | None = None,
        *,
        k: int | None = _DEFAULT_K,
        max_tools: int | None = None,
        always_include: Collection[str] = (),
        known: Iterable[Tool] = (),
        preferences: Preferences | None = None,
        granted: Collection[str] | None = None,
        abstain_below: float = 0.0,
    ) -> None:
        super().__init__()
        k = _resolve_k(k, max_tools)
        self._ranker = ranker or ToolRanker.from_pretrained()
        self._k, self._preferences, self._granted = k, preferences, granted
        self._always_include = frozenset(check_strings("always_include", always_include))
        self._abstain_below = abstain_below
        self._toolbox_cache = ToolboxCache(self._ranker, known)
        self._selections: LRUCache[Selection] = LRUCache()

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ExtendedModelResponse[Any]:
        """Show the model only the chosen tools."""
        reduced_request, record = self._select_tools(request, _run_settings(request))
        return _with_record(handler(reduced_request), record)

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ExtendedModelResponse[Any]:
        """Do what `wrap_model_call` does; the choice runs in an executor."""
        settings = _run_settings(request)
        reduced_request, record = await run_in_executor(None, self._select_tools, request, settings)
        return _with_record(await handler(reduced_request), record)

    def _select_tools(
        self, request: ModelRequest[Any], settings: CallSettings
    ) -> tuple[ModelRequest[Any], dict[str, Any]]:
        """Return the call with fewer tools, and the record of the choice."""
        k = settings.max_tools or self._k
        preferences = (self._preferences or Preferences()).tightened(settings.tool_preferences)
        tools = [tool for tool in request.tools if isinstance(tool, BaseTool)]
        _check_always_include(self._always_include, tools)
        optional_tools = [tool for tool in tools if tool.name not in self._always_include]
        has_room = k is not None and len(optional_tools) <= k
        if not optional_tools or (has_room and not self._may_exclude_tools(preferences)):
            return request, {}
        selection = self._select_for_turn(request, optional_tools, k, preferences, settings.query)
        required_names = (
            self._always_include
            | called_tools(request.messages)
            | forced_tools(request.tool_choice)
        )
        selected_ids = {id(optional_tools[position]) for position in selection.positions}
        visible_tools = [
            tool
            for tool in request.tools
            if isinstance(tool, Mapping) or id(tool) in selected_ids or tool.name in required_names
        ]
        return request.override(tools=visible_tools), selection.to_dict(top=k or _DEFAULT_K)

    def _may_exclude_tools(self, preferences: Preferences) -> bool:
        """Tell whether a choice may leave tools out although there is room for all."""
        has_requirements = bool(preferences.requirements)
        return has_requirements or self._granted is not None or self._abstain_below > 0

    def _select_for_turn(
        self,
        request: ModelRequest[Any],
        tools: Sequence[BaseTool],
        k: int | None,
        preferences: Preferences,
        query: str | None,
    ) -> Selection:
        """Choose once per turn: the answer of a tool does not change what the user asked for."""
        query = conversation_from_request(request.override(tools=[]), {}, query).request
        toolbox = self._toolbox_cache(tools)
        key = turn_key(request.messages, {}), query, toolbox.tools, k, preferences
        selection = self._selections.get(key)
        if selection is None:
            selection = self._ranker.select(
                toolbox,
                query,
                k,
                preferences=preferences,
                granted=self._granted,
                abstain_below=self._abstain_below,
            )
            self._selections.put(key, selection)
        return selection


def _resolve_k(k: int | None, max_tools: int | None) -> int | None:
    """Return the number of tools, which has two names.

    Raises:
        InputError: it is no number, or the two differ.
    """
    if max_tools is not None:
        if k not in (_DEFAULT_K, max_tools):
            raise InputError(f"k is {k!r} and max_tools {max_tools!r}. Give one of the two.")
        k = max_tools
    check_k(k)
    return k


def _run_settings(request: ModelRequest[Any]) -> CallSettings:
    """Return the settings of the run; they are read in the task of the run."""
    return read_call_settings(current_config(), getattr(request.runtime, "context", None))


def _check_always_include(always_include: Collection[str], tools: Sequence[BaseTool]) -> None:
    names = {tool.name for tool in tools}
    if missing_names := sorted(set(always_include) - names):
        raise InputError(
            f"always_include names {missing_names}, which the agent does not have; it has "
            f"{sorted(names)[:20]}."
        )


def _with_record(
    response: ModelResponse[Any], record: dict[str, Any]
) -> ExtendedModelResponse[Any]:
    update: Command[Any] | None = Command(update={"tryage_tools": record}) if record else None
    return ExtendedModelResponse(response, update)


class ToolboxCache:
    """Lists of tools as the ranker reads them, each read once, with the metadata of `known`.

    Raises:
        InputError: `known` is not a list of `Tool`s.
    """

    def __init__(self, ranker: ToolRanker, known: Iterable[Tool]) -> None:
        self._ranker = ranker
        self._known_tools = {tool.name: tool for tool in check_tools(known)}
        self._toolboxes: LRUCache[tuple[tuple[BaseTool, ...], Toolbox]] = LRUCache(
            _TOOLBOX_CACHE_SIZE
        )

    def __call__(self, tools: Sequence[BaseTool]) -> Toolbox:
        """Return the tools as the ranker reads them."""
        key = tuple(map(id, tools))  # unique while the tools live, so the entry keeps them too
        entry = self._toolboxes.get(key)
        if entry is None:
            ranker_tools = [
                to_tool(tool).with_metadata(self._known_tools.get(tool.name)) for tool in tools
            ]
            entry = tuple(tools), self._ranker.toolbox(ranker_tools)
            self._toolboxes.put(key, entry)
        return entry[1]


def to_tool(tool: BaseTool) -> Tool:
    """Return a tool, read from the schema that a model gets."""
    return Tool.from_schema(convert_to_openai_tool(tool))


def called_tools(messages: Sequence[BaseMessage]) -> frozenset[str]:
    """Return the names of the tools that were called since the last message of a person."""
    names: set[str] = set()
    for message in reversed(messages):
        if is_from_user(message):
            break
        if isinstance(message, AIMessage):
            names |= {call["name"] for call in message.tool_calls}
    return frozenset(names)


def forced_tools(choice: Any) -> frozenset[str]:
    """Return the name of the tool that a call must use, if it names one."""
    if isinstance(choice, str):  # no tool is called "auto" or "any", so these add no tool
        return frozenset({choice})
    function = choice.get("function", choice) if isinstance(choice, Mapping) else {}
    name = function.get("name") if isinstance(function, Mapping) else None
    return frozenset({name}) if isinstance(name, str) else frozenset()
