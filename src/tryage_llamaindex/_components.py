"""Which component of LlamaIndex makes a call, such as a program or an extractor, and its query.

LlamaIndex opens a span around the methods of its components, with their arguments. A span handler
keeps the components of the open spans, and the active span says which of them makes the call. So
nothing is guessed from the text of a prompt, and users' subclasses are recognized, too.
"""

from __future__ import annotations

import inspect
import weakref
from collections import ChainMap
from dataclasses import dataclass, field
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.base_selector import BaseSelector
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.indices.query.query_transform.base import BaseQueryTransform
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.program import FunctionCallingProgram, LLMTextCompletionProgram
from llama_index.core.question_gen.types import BaseQuestionGenerator
from llama_index.core.response_synthesizers import BaseSynthesizer
from llama_index.core.schema import QueryBundle, TransformComponent
from llama_index.core.types import BasePydanticProgram
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.span import BaseSpan, active_span_id
from llama_index_instrumentation.span_handlers import BaseSpanHandler
from pydantic import PrivateAttr

from tryage.locks import ForkSafeLock
from tryage_llamaindex._call_settings import settings_by_scope

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType
    from typing import TypeAlias

    from tryage_llamaindex._call_settings import CallSettings

    Stream: TypeAlias = GeneratorType[Any, Any, Any] | AsyncGeneratorType[Any, Any]

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

# Their streams are generators that call the LLM when they are read, outside of their span.
_LAZY_TYPES = (BasePydanticProgram, BaseSynthesizer)

# LlamaIndex opens a span for `__call__` of a program alone.
_METHODS_WITHOUT_SPAN = ("acall", "stream_call", "astream_call")

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


@dataclass(frozen=True, slots=True)
class StreamComponent(Component):
    """A component whose stream is read; `settings` are those around the call that has made it."""

    settings: Mapping[str, CallSettings] = field(default_factory=dict)


class _ComponentSpan(BaseSpan):
    """A span within a component."""

    component: Component


class ComponentSpanHandler(BaseSpanHandler[_ComponentSpan]):
    """Keeps the nearest component of every open span; spans outside of components are not kept."""

    _lazy_components: weakref.WeakKeyDictionary[Stream, StreamComponent] = PrivateAttr(
        default_factory=weakref.WeakKeyDictionary
    )

    def __init__(self) -> None:
        super().__init__()
        self._lock = ForkSafeLock()  # type: ignore[assignment]  # LlamaIndex uses it in `with` alone

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the class."""
        return "ComponentSpanHandler"

    def current_component(self) -> Component | None:
        """Return the component that runs this code, None if there is none."""
        return self._streaming_component() or self._span_component(active_span_id.get())

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
            component = Component(instance, _find_query(instance, bound_args.arguments))
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
        if not isinstance(result, (GeneratorType, AsyncGeneratorType)):
            return span
        if span is not None and isinstance(instance, _LAZY_TYPES):
            made_by = span.component
            component = StreamComponent(made_by.instance, made_by.query, settings_by_scope())
            with self.lock:
                self._lazy_components.setdefault(result, component)
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

    def _streaming_component(self) -> StreamComponent | None:
        """Return the component whose stream this thread is reading, None if there is none."""
        if not self._lazy_components:
            return None
        with self.lock:
            components = {_frame(stream): one for stream, one in self._lazy_components.items()}
        frame = inspect.currentframe()
        while frame is not None and frame not in components:
            frame = frame.f_back
        return None if frame is None else components[frame]


_handler = ComponentSpanHandler()
_handler_lock = ForkSafeLock()


def observe_components() -> None:
    """Add the handler to LlamaIndex's root dispatcher, once for a process."""
    root = get_dispatcher()
    with _handler_lock:
        if any(handler is _handler for handler in root.span_handlers):
            return
        root.add_span_handler(_handler)
        for program in (FunctionCallingProgram, LLMTextCompletionProgram):
            dispatcher = get_dispatcher(program.__module__)
            for name in _METHODS_WITHOUT_SPAN:
                setattr(program, name, dispatcher.span(getattr(program, name)))


def current_component() -> Component | None:
    """Return the component of LlamaIndex that runs this code, None if there is none."""
    return _handler.current_component()


def _frame(stream: Stream) -> FrameType | None:
    """Return the frame of a generator, None if it has ended."""
    return stream.gi_frame if isinstance(stream, GeneratorType) else stream.ag_frame


def _find_query(component: object, arguments: Mapping[str, Any]) -> str | None:
    """Return the query among the arguments of a component's method, None if there is none."""
    if isinstance(component, BasePydanticProgram):
        # The arguments fill a template; an engine has filled in the query before.
        prompt = getattr(component, "prompt", None)
        values = ChainMap(arguments.get("kwargs", {}), getattr(prompt, "kwargs", {}))
        query = values.get("query_str")
        return query if isinstance(query, str) else None
    for name in _QUERY_ARGUMENTS:
        query = arguments.get(name)
        if isinstance(query, QueryBundle):
            return query.query_str
        if isinstance(query, str):
            return query
    return None
