"""Only the tools that a turn needs reach the model of an agent, chosen without asking a model."""

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
from tryage.core.validation import check_strings
from tryage.errors import InputError
from tryage.tools.matching import check_tools
from tryage.tools.ranker import ToolRanker, check_k
from tryage.tools.tool import Tool
from tryage_langchain._agent_calls import conversation_from_request, turn_key
from tryage_langchain._messages import is_from_user

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

    from langchain_core.messages import BaseMessage

    from tryage.core.preferences import Preferences
    from tryage.tools.matching import Toolbox
    from tryage.tools.ranker import Selection

_TOOLBOX_CACHE_SIZE = (
    8  # of tools, that are remembered: an agent asks with the same one again and again
)


class ToolState(AgentState[Any]):
    """The state of an agent, with the tools of its last model call and why they were chosen."""

    tryage_tools: NotRequired[Annotated[dict[str, Any], OmitFromInput]]


class TryageToolSelectorMiddleware(AgentMiddleware[ToolState, Any, Any]):
    """Choose the few tools that the user's request needs; one choice per turn.

    Tools that providers run themselves (dicts), those in `always_include`, those that were called
    this turn and one that the call forces are kept beside the chosen ones. The state key
    `tryage_tools` says what was chosen.

    Args:
        ranker: Knows which tool serves which query; None is the bundled one.
        k: At most so many tools are chosen; None takes those that are likely of use.
        always_include: Names of tools that the model always sees.
        known: What no schema tells of your tools: `Tool`s with their cost, latency, risk and
            permissions, found by name.
        preferences: Weights and requirements on cost, latency and security.
        granted: Permissions; a tool that needs another one is left out. None grants all.
        abstain_below: Choose no tool if the probability that one is needed is below this. 0, the
            usual, never abstains.

    Raises:
        InputError: an argument is of the wrong type; in a call, `always_include` names no tool.
        NoExpertError: in a call, requirements or permissions leave no tool.
    """

    state_schema = ToolState
    trace_policy = TracePolicy(process_inputs=omit_payload)

    def __init__(  # noqa: PLR0913 - what LangChain's own selector has, and what tools cost
        self,
        ranker: ToolRanker | None = None,
        *,
        k: int | None = 5,
        always_include: Collection[str] = (),
        known: Iterable[Tool] = (),
        preferences: Preferences | None = None,
        granted: Collection[str] | None = None,
        abstain_below: float = 0.0,
    ) -> None:
        super().__init__()
        check_k(k)
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
        """Let the model see the chosen tools only."""
        ready, record = self._select_tools(request)
        return _with_record(handler(ready), record)

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ExtendedModelResponse[Any]:
        """Do what `wrap_model_call` does, with the choice in an executor."""
        ready, record = await run_in_executor(None, self._select_tools, request)
        return _with_record(await handler(ready), record)

    def _select_tools(self, request: ModelRequest[Any]) -> tuple[ModelRequest[Any], dict[str, Any]]:
        """Return the call with fewer tools, and what is recorded of the choice."""
        mine = [tool for tool in request.tools if isinstance(tool, BaseTool)]
        _check_names(self._always_include, mine)
        free = [tool for tool in mine if tool.name not in self._always_include]
        if not free or (
            self._k is not None and len(free) <= self._k and not self._may_exclude_tools
        ):
            return request, {}
        selection = self._select_for_turn(request, free)
        kept = (
            self._always_include
            | called_tools(request.messages)
            | forced_tools(request.tool_choice)
        )
        chosen = {*selection.names, *kept}
        tools = [tool for tool in request.tools if isinstance(tool, Mapping) or tool.name in chosen]
        return request.override(tools=tools), selection.to_dict(top=self._k or 5)

    @property
    def _may_exclude_tools(self) -> bool:
        """Whether a choice may leave tools out although there is room for all."""
        wanted = self._preferences is not None and bool(self._preferences.requirements)
        return wanted or self._granted is not None or self._abstain_below > 0

    def _select_for_turn(self, request: ModelRequest[Any], free: Sequence[BaseTool]) -> Selection:
        """Choose once per turn: what a tool answers does not change what the user asked for."""
        query = conversation_from_request(request.override(tools=[])).request
        box = self._toolbox_cache(free)
        key = turn_key(request.messages, {}), query, box.tools
        found = self._selections.get(key)
        if found is None:
            found = self._ranker.select(
                box,
                query,
                self._k,
                preferences=self._preferences,
                granted=self._granted,
                abstain_below=self._abstain_below,
            )
            self._selections.put(key, found)
        return found


def _check_names(always: Collection[str], tools: Sequence[BaseTool]) -> None:
    names = {tool.name for tool in tools}
    if missing := sorted(set(always) - names):
        raise InputError(
            f"always_include names {missing}, which the agent does not have; it has "
            f"{sorted(names)[:20]}."
        )


def _with_record(
    response: ModelResponse[Any], record: dict[str, Any]
) -> ExtendedModelResponse[Any]:
    update: Command[Any] | None = Command(update={"tryage_tools": record}) if record else None
    return ExtendedModelResponse(response, update)


class ToolboxCache:
    """Lists of tools as the ranker reads them, each read once; `known` adds what no schema tells.

    Raises:
        InputError: `known` is no list of `Tool`s.
    """

    def __init__(self, ranker: ToolRanker, known: Iterable[Tool]) -> None:
        self._ranker = ranker
        self._known_tools = {tool.name: tool for tool in check_tools(known)}
        self._toolboxes: LRUCache[tuple[tuple[BaseTool, ...], Toolbox]] = LRUCache(
            _TOOLBOX_CACHE_SIZE
        )

    def __call__(self, tools: Sequence[BaseTool]) -> Toolbox:
        """Return the tools read.

        Raises:
            LibraryError: two of one name.
        """
        key = tuple(map(id, tools))  # which stay theirs, as the tools are remembered too
        found = self._toolboxes.get(key)
        if found is None:
            read = [to_tool(tool).with_metadata(self._known_tools.get(tool.name)) for tool in tools]
            found = tuple(tools), self._ranker.toolbox(read)
            self._toolboxes.put(key, found)
        return found[1]


def to_tool(tool: BaseTool) -> Tool:
    """Read a tool as a model is told it."""
    return Tool.from_schema(convert_to_openai_tool(tool))


def called_tools(messages: Sequence[BaseMessage]) -> frozenset[str]:
    """Return the names of the tools that were called since a person last spoke."""
    names: set[str] = set()
    for message in reversed(messages):
        if is_from_user(message):
            break
        if isinstance(message, AIMessage):
            names |= {call["name"] for call in message.tool_calls}
    return frozenset(names)


def forced_tools(choice: Any) -> frozenset[str]:
    """Return the name of the tool that a call must use, if it names one."""
    if isinstance(choice, str):  # "auto", "any" ... are no tool's name, and do no harm as one
        return frozenset({choice})
    function = choice.get("function", choice) if isinstance(choice, Mapping) else {}
    name = function.get("name") if isinstance(function, Mapping) else None
    return frozenset({name}) if isinstance(name, str) else frozenset()
