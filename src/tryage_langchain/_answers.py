"""Answers that may be refused: those that do not follow a schema, are empty, or are cut off.

For structured output LangChain has three methods (`json_schema`, `function_calling`, `json_mode`),
and each fails in another way: an error of a parser or of pydantic, None, or a `parsing_error`
beside the raw answer.
"""

# ruff: noqa: A002 - LangChain calls the argument `input`.

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any, TypeGuard

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatResult
from langchain_core.runnables import RunnableBinding

from tryage.chat.streams import text_size
from tryage.errors import InvalidAnswerError
from tryage.policies.evidence import CUT_OFF_REASONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.runnables import Runnable, RunnableConfig

    from tryage.chat.settings import RefusedAnswer
    from tryage.chat.streams import PeekedStream

# Where the providers' metadata says why an answer ended.
_REASON_KEYS = ("finish_reason", "stop_reason", "stopReason", "done_reason", "incomplete_details")

_REASONING_KEYS = frozenset({"reasoning_content", "reasoning"})

_RAW_KEYS = {"raw", "parsed", "parsing_error"}


# Empty and cut off answers ---------------------------------------------------------------------


def answer_problems(answer: Any) -> set[RefusedAnswer]:
    """Return whether an answer is empty, cut off by its limit of tokens, both or neither."""
    metadata: Mapping[str, Any] = {}
    if isinstance(answer, ChatResult):
        generation = answer.generations[0]
        answer, metadata = generation.message, generation.generation_info or {}
    if isinstance(answer, Mapping):  # structured output with its raw message
        answer = answer.get("raw")
    if not isinstance(answer, AIMessage):
        return set()
    problems: set[RefusedAnswer] = set()
    if not _says_something(answer):
        problems.add("empty")
    if _is_cut_off({**metadata, **answer.response_metadata}):
        problems.add("length")
    return problems


def answer_size(answer: Any) -> int:
    """Return about how many characters a message, or a chunk of one, has; 0 for other answers."""
    if isinstance(answer, ChatResult):
        return sum(answer_size(one.message) for one in answer.generations)
    if isinstance(answer, Mapping):  # structured output with its raw message
        answer = answer.get("raw")
    if not isinstance(answer, AIMessage):
        return 0
    calls: Any = answer.tool_calls
    if isinstance(answer, AIMessageChunk):
        calls = answer.tool_call_chunks
    return text_size(answer.content) + text_size(calls)


def check_stream(stream: PeekedStream) -> PeekedStream:
    """Return a stream whose server has sent anything: text, a reason to end, a use of tokens.

    Raises:
        InvalidAnswerError: it has not, such as a stream of OpenAI's without choices.
    """
    if not stream.has_content and stream.first_chunks and all(map(_is_blank, stream.first_chunks)):
        raise InvalidAnswerError("The stream has ended without an answer.", stream, is_usable=True)
    return stream


def _is_blank(chunk: Any) -> bool:
    return (
        isinstance(chunk, AIMessageChunk)
        and not chunk.response_metadata
        and not (chunk.usage_metadata and chunk.usage_metadata["output_tokens"])
    )


def _says_something(message: AIMessage) -> bool:
    """Tell whether a message has more than reasoning and white space."""
    if message.tool_calls or message.invalid_tool_calls:
        return True
    kwargs = message.additional_kwargs  # such as a refusal, or an answer in sound
    if any(value for key, value in kwargs.items() if key not in _REASONING_KEYS):
        return True
    blocks = [block for block in message.content_blocks if block["type"] != "reasoning"]
    return any(block["type"] != "text" or str(block.get("text", "")).strip() for block in blocks)


def _is_cut_off(metadata: Mapping[str, Any]) -> bool:
    return any(reason in CUT_OFF_REASONS for reason in _finish_reasons(metadata))


def finish_reason(metadata: Mapping[str, Any]) -> str | None:
    """Return why a provider ended an answer, in lower case, None if it does not say.

    That it was cut off counts before another word of the provider, such as "incomplete".
    """
    reasons = list(_finish_reasons(metadata))
    cut_off = (reason for reason in reasons if reason in CUT_OFF_REASONS)
    return next(cut_off, reasons[0] if reasons else None)


def _finish_reasons(metadata: Mapping[str, Any]) -> Iterator[str]:
    for key in _REASON_KEYS:
        reason = metadata.get(key)
        if isinstance(reason, Mapping):  # {"reason": "max_output_tokens"}
            reason = reason.get("reason")
        if reason is not None:
            yield str(getattr(reason, "name", reason)).casefold()


# Structured output -----------------------------------------------------------------------------


class StructuredOutputClient(RunnableBinding[Any, Any]):
    """A model with structured output that raises `InvalidAnswerError` for what does not parse.

    The refused answer is kept where LangChain returns it instead of raising: None if no tool was
    called, and with `include_raw` the raw answer with its `parsing_error`. A stream is checked by
    its errors alone, because its last chunk comes too late.
    """

    schema_name: str | None = None

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any | None) -> Any:
        """Return the parsed answer.

        Raises:
            InvalidAnswerError: the answer does not follow the schema.
        """
        with _parser_errors(self.schema_name):
            answer = self.bound.invoke(input, config, **kwargs)
        return _checked(answer)

    async def ainvoke(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any | None
    ) -> Any:
        """Do what `invoke` does, asynchronously."""
        with _parser_errors(self.schema_name):
            answer = await self.bound.ainvoke(input, config, **kwargs)
        return _checked(answer)

    def stream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any | None
    ) -> Iterator[Any]:
        """Yield the parts of the answer that are parsed so far."""
        with _parser_errors(self.schema_name):
            yield from self.bound.stream(input, config, **kwargs)

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any | None
    ) -> AsyncIterator[Any]:
        """Do what `stream` does, asynchronously."""
        chunks: Any = self.bound.astream(input, config, **kwargs)
        with _parser_errors(self.schema_name):
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk


def check_structured_output(runnable: Runnable[Any, Any], schema: Any) -> StructuredOutputClient:
    """Return a model with structured output whose answers are checked."""
    name = schema.__name__ if isinstance(schema, type) else None
    return StructuredOutputClient(bound=runnable, schema_name=name)


def _checked(answer: Any) -> Any:
    """Return an answer that was parsed.

    Raises:
        InvalidAnswerError: LangChain says in the answer that it was not.
    """
    if answer is None:
        raise InvalidAnswerError(
            "The model has not called the tool for structured output.", is_usable=True
        )
    if not is_raw_answer(answer) or answer["parsed"] is not None:
        return answer
    error = answer["parsing_error"]
    raise InvalidAnswerError(
        f"The answer does not follow the schema: {type(error).__name__}."
        if error is not None
        else "The model has not called the tool for structured output.",
        answer,
        is_usable=True,
    ) from error


def is_raw_answer(answer: object) -> TypeGuard[dict[str, Any]]:
    """Tell whether an answer is structured output beside its raw message, as LangChain has it."""
    return isinstance(answer, dict) and set(answer) == _RAW_KEYS


@contextmanager
def _parser_errors(schema_name: str | None) -> Iterator[None]:
    """Raise `InvalidAnswerError` instead of the errors with which parsers refuse an answer."""
    try:
        yield
    except Exception as error:
        if not _is_parser_error(error, schema_name):
            raise
        raise InvalidAnswerError(
            f"The answer does not follow the schema: {type(error).__name__}."
        ) from error


def _is_parser_error(error: Exception, schema_name: str | None) -> bool:
    """Tell whether an answer was refused.

    Clients check their own arguments with pydantic, too, so the schema must be the caller's.
    """
    if isinstance(error, OutputParserException):
        return True
    version_1_model = getattr(error, "model", None)  # pydantic.v1 has the class, version 2 its name
    title = getattr(error, "title", None) or getattr(version_1_model, "__name__", None)
    return (
        schema_name is not None
        and type(error).__name__ == "ValidationError"
        and (title == schema_name)
    )
