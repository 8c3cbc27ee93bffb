"""TryageRouter is a router as a Runnable: it yields the decision, or runs the chosen runnable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import Runnable, RunnableConfig, RunnablePassthrough
from langchain_core.runnables.base import RunnableLambda, RunnableParallel, coerce_to_runnable
from langchain_core.runnables.graph import Graph
from langchain_core.runnables.router import RouterInput
from langchain_core.runnables.utils import get_unique_config_specs
from pydantic import ConfigDict, Field

from tryage.chat.pickles import dump_without_keys, load_state
from tryage.core.decision import Decision
from tryage.core.policy import check_single_calls
from tryage.errors import InputError, PersistenceError
from tryage.router import Router
from tryage_langchain._call_settings import CALL_SETTINGS
from tryage_langchain._messages import clean_input
from tryage_langchain._router_invoke import RouterInvokeMixin, build_session

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented
    from langchain_core.runnables.utils import ConfigurableFieldSpec
    from langchain_core.tools import BaseTool

    from tryage.chat.savings import Savings
    from tryage.core.policy import Policy

_SOURCE_KEYS = ("name_or_path", "revision")


class TryageRouter(RouterInvokeMixin):
    """Route each input and run the chosen runnable; without runnables, yield the `Decision`.

    The input is a string, a prompt value, a message or messages. With `input_key` it is a dict
    that holds one of them. It is routed on the text of the last human message. The chosen runnable
    gets it unchanged, without the prompt flags if the router allows flags. Only experts that have
    a runnable are candidates. A chat model answers with the effort of its expert.

    Per call, `config["configurable"]` may hold `tryage_preferences` (`Preferences` or its dict,
    which tighten the router's own) and `tryage_model` (the name of the one expert to use).

    The choice is visible: the chosen runnable's run has the tag `tryage:<name>` and the metadata
    `tryage_model`, and a custom event `tryage_route` with the whole decision precedes it.

    A `policy` changes which expert is chosen, such as `tryage.policies.Budget`; by default it is
    the router's own.

    `dumpd` writes where the router was read from, not the router itself or a policy. So make it
    with `TryageRouter.from_pretrained`, and read it with
    `load(dumped, allowed_objects=[TryageRouter, ...], valid_namespaces=["tryage_langchain", ...])`.

    Example:
        `prompt | TryageRouter(router=router, runnables={"small": a, "big": b}) | StrOutputParser()`

    Raises:
        InputError: the input cannot be routed, `runnables` is empty, or the policy asks more than
            one expert for an answer, such as a cascade.
        LibraryError: a runnable or `tryage_model` names an expert that the router does not know.
        PersistenceError: there is no router at `pretrained`, or `dumpd` finds no such address.
    """

    router: Router = Field(exclude=True, repr=False)
    runnables: dict[str, Runnable[Any, Any]] | None = Field(default=None, repr=False)
    input_key: str | None = None
    pretrained: dict[str, str] | None = None

    model_config = ConfigDict(arbitrary_types_allowed=True)

    def __init__(
        self,
        router: Router | None = None,
        runnables: Mapping[str, Any] | None = None,
        *,
        pretrained: Mapping[str, str] | None = None,
        policy: Policy | None = None,
        **kwargs: Any,
    ) -> None:
        if router is None:
            router = _load_router(pretrained)
        if policy is not None:
            router = router.with_policy(policy)
        if runnables is not None:
            check_single_calls(router.policies(), "TryageRouter")
        if runnables is not None:
            runnables = {name: coerce_to_runnable(child) for name, child in runnables.items()}
        kwargs.update(router=router, runnables=runnables, pretrained=pretrained)
        super().__init__(**kwargs)
        self._session = build_session(router, self.runnables, self.input_key)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path | None = None,
        runnables: Mapping[str, Any] | None = None,
        *,
        revision: str | None = None,
        input_key: str | None = None,
        policy: Policy | None = None,
    ) -> TryageRouter:
        """Read the router as `Router.from_pretrained` does, and remember its address.

        Raises:
            PersistenceError: as in `Router.from_pretrained`.
        """
        values = (None if name_or_path is None else str(name_or_path), revision)
        source = {
            key: text for key, text in zip(_SOURCE_KEYS, values, strict=True) if text is not None
        }
        return cls(runnables=runnables, pretrained=source, input_key=input_key, policy=policy)

    def savings(self, *, reset: bool = False) -> Savings:
        """Return what the answers so far cost, and what one runnable for all would have cost.

        All models that a runnable asks count at the prices of its expert. Copies with bound tools
        count together with this object. With `reset`, the next totals start from zero.
        """
        return self._session.savings(reset=reset)

    # In a pipeline -------------------------------------------------------------------------

    def assign_to(self, key: str) -> Runnable[Any, dict[str, Any]]:
        """Return a stage that keeps a dict as it is and adds this router's output as `key`."""
        return RunnablePassthrough.assign(**{key: self})

    def to_router_input(self) -> Runnable[Any, RouterInput]:
        """Return a stage that yields `{"key": name, "input": input}`, for `RouterRunnable`."""
        return self._decision_stage(to_router_input)

    def to_destination(self) -> Runnable[Any, dict[str, Any]]:
        """Return a stage that yields `{"destination": name, "next_inputs": input}`.

        That is what a `RouterChain` yields; the destination is None where the default was used.
        """
        return self._decision_stage(to_destination)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Runnable[Any, Any]:
        """Return this router with the tools bound to every runnable, in its own format.

        `config` is what `with_config` has bound before. LangChain passes it, so that it is kept.

        Raises:
            InputError: a runnable cannot bind tools, or there are no runnables.
        """
        return self._map_runnables("bind_tools", config, tools, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Runnable[Any, Any]:
        """Return this router with runnables whose answers follow the schema, each in its own way.

        Raises:
            InputError: a runnable has no structured output, or there are no runnables.
        """
        return self._map_runnables("with_structured_output", config, schema, **kwargs)

    def _map_runnables(
        self,
        method: str,
        config: RunnableConfig | None,
        *args: Any,
        **kwargs: Any,
    ) -> Runnable[Any, Any]:
        if not self.runnables:
            raise InputError(f"{method} needs models to call. This router has no runnables.")
        runnables: dict[str, Any] = {}
        try:
            for name, child in self._session.runnables.items():
                runnables[name] = getattr(child, method)(*args, **kwargs)
        except (AttributeError, NotImplementedError) as error:
            failed_name = list(self._session.runnables)[len(runnables)]
            raise InputError(
                f"The runnable of {failed_name!r} has no {method}: {error}. Expected chat models."
            ) from error
        bound_router = self.model_copy(update={"runnables": runnables})
        counter = self._session.savings_counter
        bound_router._session = build_session(self.router, runnables, self.input_key, counter)  # noqa: SLF001 - a copy of this object
        return bound_router.with_config(config) if config else bound_router

    def _decision_stage(self, convert: Callable[..., Any]) -> Runnable[Any, Any]:
        """Return a stage that decides, and yields what `convert` makes of decision and input."""
        router = TryageRouter(self._session.router, input_key=self.input_key)
        stage = RunnableParallel(decision=router, value=RunnablePassthrough())

        def convert_pair(pair: dict[str, Any]) -> Any:
            return convert(pair["decision"], pair["value"], self.input_key)

        return stage | RunnableLambda(convert_pair, name=convert.__name__)

    # What LangChain asks of a runnable -----------------------------------------------------

    @property
    def InputType(self) -> Any:  # noqa: N802 - LangChain's signature
        """The inputs that can be routed."""
        return LanguageModelInput if self.input_key is None else dict[str, Any]

    @property
    def OutputType(self) -> Any:  # noqa: N802 - LangChain's signature
        """The decision, or the type of the runnables' output if they all have the same."""
        if self.runnables is None:
            return Decision
        kinds = [getattr(child, "OutputType", Any) for child in self.runnables.values()]
        return kinds[0] if all(kind == kinds[0] for kind in kinds) else Any

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """The settings of one call, for the router and for its runnables."""
        children = self._session.runnables.values()
        specs = (spec for child in children for spec in child.config_specs)
        return get_unique_config_specs([*CALL_SETTINGS, *specs])

    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        """Draw the router with an edge to each of its runnables."""
        return build_graph(self, self._session.runnables, config)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Show the runnables by their names: they may show keys of their own."""
        names = None if self.runnables is None else list(self.runnables)
        yield from [*super().__repr_args__(), ("runnables", names)]

    def __reduce_ex__(self, _: Any) -> tuple[Any, ...]:
        """Pickle without the keys that runnables hold, at any depth."""
        return load_state, (type(self), *dump_without_keys(self.__getstate__()))

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Tell LangChain that `dumpd` and `load` work."""
        return True

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """Return where the router was read from, and its runnables.

        Raises:
            PersistenceError: the router was made in memory.
        """
        if self.pretrained is None:
            raise PersistenceError(
                "This router was made in memory and has no address to write down. Save it with "
                "router.save_pretrained(folder), then use TryageRouter.from_pretrained(folder, ...)"
            )
        return super().to_json()


def _load_router(source: Mapping[str, str] | None) -> Router:
    if source is None:
        raise InputError("Give a router, or read one with TryageRouter.from_pretrained.")
    if not isinstance(source, Mapping) or not set(source) <= set(_SOURCE_KEYS):
        raise InputError(f"pretrained may hold {_SOURCE_KEYS}, got {source!r:.200}.")
    return Router.from_pretrained(source.get("name_or_path"), revision=source.get("revision"))


def to_router_input(decision: Decision, value: Any, input_key: str | None = None) -> RouterInput:
    """Return the input of `RouterRunnable`: the expert's name, and the input without flags."""
    return RouterInput(key=decision.expert.name, input=clean_input(decision, value, input_key))


def to_destination(decision: Decision, value: Any, input_key: str | None = None) -> dict[str, Any]:
    """Return what a `RouterChain` yields: `destination` and `next_inputs`, a dict.

    Where the default was used, the destination is None, which means the default chain in LangChain.
    """
    clean_value = clean_input(decision, value, input_key)
    return {
        "destination": None if decision.default_used else decision.expert.name,
        "next_inputs": clean_value if isinstance(clean_value, dict) else {"input": clean_value},
    }


def build_graph(
    router: Runnable[Any, Any],
    children: Mapping[str, Runnable[Any, Any]],
    config: RunnableConfig | None,
) -> Graph:
    """Return the graph from the input through the router and one of its children to the output."""
    graph = Graph()
    input_node = graph.add_node(router.get_input_schema(config))
    router_node = graph.add_node(router)
    output_node = graph.add_node(router.get_output_schema(config))
    graph.add_edge(input_node, router_node)
    if not children:
        graph.add_edge(router_node, output_node)
    for name, child in children.items():
        child_graph = child.get_graph(config)
        child_graph.trim_first_node()
        child_graph.trim_last_node()
        start, end = graph.extend(child_graph)
        graph.add_edge(router_node, start or output_node, name, conditional=True)
        if end:
            graph.add_edge(end, output_node)
    return graph
