"""Which component of LlamaIndex makes a call, such as a program or an extractor, and its query.

LlamaIndex opens a span around the methods of its components, with their arguments. A span handler
keeps the components of the open spans, and the active span says which of them makes the call. So
nothing is guessed from the text of a prompt, and users' subclasses are recognized, too.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.base_selector import BaseSelector
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.indices.query.query_transform.base import BaseQueryTransform
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.question_gen.types import BaseQuestionGenerator
from llama_index.core.response_synthesizers import BaseSynthesizer
from llama_index.core.schema import QueryBundle, TransformComponent
from llama_index.core.types import BasePydanticProgram
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.span import BaseSpan, active_span_id
from llama_index_instrumentation.span_handlers import BaseSpanHandler
from pydantic import PrivateAttr

if TYPE_CHECKING:
    import inspect
    from collections.abc import Mapping

_COMPONENT_TYPES = (
    BasePydanticProgram,
    BaseSynthesizer,
    BaseQueryEngine,
    BaseChatEngine,
    BaseRetriever,
    BaseSelector,
    BaseQuestionGenerator,
    BaseQueryTransform,
    BaseNodePostprocessor,
    TransformComponent,
)

# The arguments that hold the query of a component, in the order of their search.
_QUERY_ARGUMENTS = ("query_bundle", "query_str", "str_or_query_bundle", "query", "message")


@dataclass(frozen=True, slots=True)
class Component:
    """A component of LlamaIndex at work: the object, and the query that it was called with."""

    instance: object
    query: str | None = None

    def is_a(self, *classes: type) -> bool:
        """Tell whether the component is an instance of one of the classes."""
        return isinstance(self.instance, classes)


class _ComponentSpan(BaseSpan):
    """A span within a component."""

    component: Component


class ComponentSpanHandler(BaseSpanHandler[_ComponentSpan]):
    """Keeps the nearest component of every open span; spans outside of components are not kept."""

    # A program's stream is a generator: it calls the LLM when it is read, outside of its span.
    _lazy_components: weakref.WeakKeyDictionary[GeneratorType[Any, Any, Any], Component] = (
        PrivateAttr(default_factory=weakref.WeakKeyDictionary)
    )

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the class."""
        return "ComponentSpanHandler"

    def component(self, llm: object) -> Component | None:
        """Return the component that calls this LLM now, None if the caller is no component."""
        return self._running_program(llm) or self._span_component(active_span_id.get())

    def new_span(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: Any | None = None,
        parent_span_id: str | None = None,
        tags: dict[str, Any] | None = None,  # noqa: ARG002 - the signature of a span handler
        **_: Any,
    ) -> _ComponentSpan | None:
        """Return the span of a component, or of a step within it."""
        component = self._span_component(parent_span_id)
        if isinstance(instance, _COMPONENT_TYPES):
            component = Component(instance, _find_query(bound_args.arguments))
        if component is None:
            return None
        return _ComponentSpan(id_=id_, parent_id=parent_span_id, component=component)

    def prepare_to_exit_span(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,  # noqa: ARG002 - the signature of a span handler
        instance: Any | None = None,
        result: Any | None = None,
        **_: Any,
    ) -> _ComponentSpan | None:
        """Return the span, which is no longer kept."""
        span = self.open_spans.get(id_)
        if span and isinstance(result, GeneratorType) and isinstance(instance, BasePydanticProgram):
            with self.lock:
                self._lazy_components[result] = span.component
        return span

    def prepare_to_drop_span(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,  # noqa: ARG002 - the signature of a span handler
        instance: Any | None = None,  # noqa: ARG002 - the signature of a span handler
        err: BaseException | None = None,  # noqa: ARG002 - the signature of a span handler
        **_: Any,
    ) -> _ComponentSpan | None:
        """Return the span, which is no longer kept."""
        return self.open_spans.get(id_)

    def _span_component(self, span_id: str | None) -> Component | None:
        span = self.open_spans.get(span_id or "")
        return None if span is None else span.component

    def _running_program(self, llm: object) -> Component | None:
        """Return the program whose stream is being read now and calls this LLM.

        Several threads may read streams at once. Then it is unknown which one calls.
        """
        if not self._lazy_components:
            return None
        with self.lock:
            running = [
                component
                for stream, component in self._lazy_components.items()
                if stream.gi_running and getattr(component.instance, "_llm", None) is llm
            ]
        return running[0] if len(running) == 1 else None


_handler = ComponentSpanHandler()
_handler_lock = threading.Lock()


def observe_components() -> None:
    """Add the handler to LlamaIndex's root dispatcher, once for a process."""
    root = get_dispatcher()
    with _handler_lock:
        if not any(handler is _handler for handler in root.span_handlers):
            root.add_span_handler(_handler)


def current_component(llm: object) -> Component | None:
    """Return the component that calls this LLM now, None if the caller is no component."""
    return _handler.component(llm)


def _find_query(arguments: Mapping[str, Any]) -> str | None:
    """Return the query among the arguments of a method, None if there is none."""
    all_arguments = {**arguments, **arguments.get("kwargs", {})}
    for name in _QUERY_ARGUMENTS:
        query = all_arguments.get(name)
        if isinstance(query, QueryBundle):
            return query.query_str
        if isinstance(query, str):
            return query
    return None
