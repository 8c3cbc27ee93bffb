"""Structured output that is checked: an answer that does not follow the schema is refused.

LangChain has three methods (`json_schema`, `function_calling`, `json_mode`), and each fails in
another way: an error of a parser or of pydantic, None, or a `parsing_error` beside the raw answer.
"""

from __future__ import annotations

from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

from langchain_core.exceptions import OutputParserException
from langchain_core.runnables import RunnableBinding

from tryage.errors import InvalidAnswerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.runnables import Runnable, RunnableConfig

# ruff: noqa: A002 - LangChain calls the argument `input`.

_RAW_KEYS = {"raw", "parsed", "parsing_error"}


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
    if not isinstance(answer, dict) or set(answer) != _RAW_KEYS or answer["parsed"] is not None:
        return answer
    error = answer["parsing_error"]
    raise InvalidAnswerError(
        f"The answer does not follow the schema: {type(error).__name__}."
        if error is not None
        else "The model has not called the tool for structured output.",
        answer,
        is_usable=True,
    ) from error


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
