"""Answers that cannot be used, such as structured ones that do not parse: the next LLM is asked."""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ThinkingBlock
from llama_index.core.llms import ChatResponse, CompletionResponse, TextBlock
from pydantic import BaseModel, TypeAdapter, ValidationError

from tryage.chat.streams import aclose_iterator, close_iterator
from tryage.errors import InvalidAnswerError, TryageError
from tryage.policies.evidence import CUT_OFF_REASONS

if TYPE_CHECKING:
    from llama_index.core.llms.function_calling import FunctionCallingLLM
    from llama_index.core.tools import BaseTool
    from llama_index.core.types import BaseOutputParser

    from tryage.chat.settings import RefusedAnswer

# What clients raise when they cannot parse an answer; pydantic's ValidationError is a ValueError.
_PARSING_ERRORS = (ValueError, TypeError, AssertionError)

_FINISH_REASON_NAMES = ("finish_reason", "stop_reason", "done_reason")
_ANSWER_LISTS = ("choices", "candidates")


def check_answer(answer: Any, check: Callable[[Any], None]) -> Any:
    """Return the answer after the check, or what awaits it and checks it then."""
    if inspect.isawaitable(answer):
        return _await_checked(answer, check)
    check(answer)
    return answer


async def _await_checked(answer: Awaitable[Any], check: Callable[[Any], None]) -> Any:
    result = await answer
    check(result)
    return result


def answer_size(answer: Any) -> int:
    """Return how many characters the text of an answer has; 0 for other answers."""
    if isinstance(answer, CompletionResponse):
        return len(answer.text)
    if not isinstance(answer, ChatResponse):
        return 0
    return sum(len(getattr(block, "text", None) or "") for block in answer.message.blocks)


def chunk_size(chunk: Any) -> int:
    """Return how many characters a chunk adds to the text; the text so far is in each chunk."""
    is_text = isinstance(chunk, ChatResponse | CompletionResponse)
    return len(chunk.delta or "") if is_text else 0


# Models of pydantic ----------------------------------------------------------------------------


def checked_prediction(ask: Callable[[], Any], output_cls: type) -> Any:
    """Ask for a model of pydantic, and return it if it is one.

    The result may be an awaitable, or a stream that is checked until it has its first content.

    Raises:
        InvalidAnswerError: the answer does not parse.
    """
    with _refuse_unparsed(output_cls):
        answer = ask()
    if inspect.isawaitable(answer):
        return _await_prediction(answer, output_cls)
    return _checked_result(answer, output_cls)


async def _await_prediction(answer: Awaitable[Any], output_cls: type) -> Any:
    with _refuse_unparsed(output_cls):
        result = await answer
    return _checked_result(result, output_cls)


def _checked_result(result: Any, output_cls: type) -> Any:
    if isinstance(result, AsyncIterator):
        return _astream_checked(result, output_cls)
    if isinstance(result, Iterator):
        return _stream_checked(result, output_cls)
    if not isinstance(result, BaseModel):
        raise _unparsed(output_cls)
    return result


def _stream_checked(models: Iterator[Any], output_cls: type) -> Iterator[Any]:
    first_models: list[Any] = []
    try:
        with _refuse_unparsed(output_cls):
            for model in models:
                first_models.append(model)
                if _has_content(model, output_cls):
                    break
            else:
                _check_last_model(first_models, output_cls)
        yield from first_models
        yield from models
    finally:
        close_iterator(models)


async def _astream_checked(models: AsyncIterator[Any], output_cls: type) -> AsyncIterator[Any]:
    first_models: list[Any] = []
    try:
        with _refuse_unparsed(output_cls):
            async for model in models:
                first_models.append(model)
                if _has_content(model, output_cls):
                    break
            else:
                _check_last_model(first_models, output_cls)
        for model in first_models:
            yield model
        async for model in models:
            yield model
    finally:
        await aclose_iterator(models)


def _has_content(model: Any, output_cls: type) -> bool:
    """Tell whether a partial model, or one of several, has a value that fits its field."""
    if isinstance(model, Sequence):
        return any(_has_content(one, output_cls) for one in model)
    adapters = _field_adapters(output_cls)
    return any(
        value not in (None, "", [], {}) and _is_valid(adapters[name], value)
        for name, value in vars(model).items()
        if name in adapters
    )


@lru_cache(maxsize=64)
def _field_adapters(output_cls: type) -> dict[str, TypeAdapter[Any]]:
    fields = output_cls.model_fields if issubclass(output_cls, BaseModel) else {}
    annotations = {name: field.annotation for name, field in fields.items()}
    return {name: TypeAdapter(kind) for name, kind in annotations.items() if kind is not None}


def _is_valid(adapter: TypeAdapter[Any], value: object) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def _check_last_model(models: list[Any], output_cls: type) -> None:
    """Raise an error unless a stream without content ends with a valid model.

    Raises:
        ValueError: there is no model, or it is not valid.
    """
    if not models:
        raise ValueError("the stream has no model")
    if isinstance(models[-1], BaseModel) and issubclass(output_cls, BaseModel):
        output_cls.model_validate(models[-1].model_dump())


@contextmanager
def _refuse_unparsed(output_cls: type) -> Iterator[None]:
    try:
        yield
    except TryageError:
        raise
    except _PARSING_ERRORS as error:
        raise _unparsed(output_cls, error) from error


def _unparsed(output_cls: type, error: Exception | None = None) -> InvalidAnswerError:
    """Return an error without any word of the answer, which may repeat the prompt."""
    reason = "" if error is None else f" ({type(error).__name__})"
    return InvalidAnswerError(f"The answer does not parse as {output_cls.__name__}{reason}.")


# Texts and tool calls --------------------------------------------------------------------------


def check_parsed(parser: BaseOutputParser, answer: Any) -> None:
    """Raise an error if the parser of a prompt refuses the text of an answer.

    Raises:
        InvalidAnswerError: it does. The answer is in the error, for a caller that can use it.
    """
    text = answer.text if isinstance(answer, CompletionResponse) else answer.message.content
    try:
        parser.parse(text or "")
    except Exception as error:
        raise InvalidAnswerError(
            f"{type(parser).__name__} cannot parse the answer ({type(error).__name__}).",
            answer=answer,
            is_usable=True,
        ) from error


def check_tool_calls(
    child: FunctionCallingLLM, tools: Sequence[BaseTool], answer: ChatResponse
) -> None:
    """Raise an error unless an answer calls a tool with arguments that fit the tool's schema.

    Raises:
        InvalidAnswerError: it does not. The answer is in the error.
    """
    schemas = {tool.metadata.name: _full_schema(tool) for tool in tools}
    try:
        calls = child.get_tool_calls_from_response(answer, error_on_no_tool_call=True)
        for call in calls:
            schema = schemas[call.tool_name]
            if schema is not None:
                schema.model_validate(call.tool_kwargs)
    except (*_PARSING_ERRORS, LookupError) as error:
        raise InvalidAnswerError(
            f"The answer has no call that fits one of the tools {sorted(map(str, schemas))} "
            f"({type(error).__name__}).",
            answer=answer,
            is_usable=True,
        ) from error


def _full_schema(tool: BaseTool) -> type[BaseModel] | None:
    """Return the schema of all arguments of a tool; None if the tool itself adds some of them."""
    return None if getattr(tool, "partial_params", None) else tool.metadata.fn_schema


# Empty and cut-off answers ---------------------------------------------------------------------


def answer_problems(answer: Any) -> frozenset[RefusedAnswer]:
    """Return whether a complete answer is empty, cut off by its limit, or both."""
    if not isinstance(answer, (ChatResponse, CompletionResponse)):
        return frozenset()
    problems: dict[RefusedAnswer, bool] = {
        "empty": not _says_something(answer),
        "length": finish_reason(answer.raw) in CUT_OFF_REASONS,
    }
    return frozenset(problem for problem, is_there in problems.items() if is_there)


def _says_something(answer: ChatResponse | CompletionResponse) -> bool:
    if isinstance(answer, CompletionResponse):
        return bool(answer.text.strip())
    message = answer.message
    blocks = [block for block in message.blocks if not isinstance(block, ThinkingBlock)]
    has_blocks = any(not isinstance(block, TextBlock) or block.text.strip() for block in blocks)
    return has_blocks or bool(message.additional_kwargs.get("tool_calls"))


def finish_reason(raw: Any) -> str | None:
    """Return why a provider ended an answer, in lower case, None if it does not say."""
    incomplete = _field(_field(raw, "incomplete_details"), "reason")  # OpenAI's Responses API
    if incomplete is not None:
        return str(incomplete).lower()
    lists: Iterable[Any] = (_field(raw, name) for name in _ANSWER_LISTS)
    holders = [raw, *(answers[0] for answers in lists if isinstance(answers, list) and answers)]
    reasons = (_field(holder, name) for holder in holders for name in _FINISH_REASON_NAMES)
    reason = next((reason for reason in reasons if reason is not None), None)
    return None if reason is None else str(getattr(reason, "name", reason)).lower()


def _field(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
