"""The application: OpenAI's chat completions over ChatTryage, models, decisions and health."""

from __future__ import annotations

import json
import logging
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request  # noqa: TC002 - FastAPI reads the types of a route
from starlette.responses import JSONResponse, Response, StreamingResponse

import tryage
from tryage.chat.time_limits import arun_with_timeout
from tryage.core.presets import PRESETS
from tryage.errors import InputError, LibraryError
from tryage.telemetry.observer import TELEMETRY
from tryage_langchain.chat import ChatTryage
from tryage_server.chat_answers import CompletionStream, structured_chunk, to_completion
from tryage_server.chat_requests import (
    AUTO,
    ChatRequest,
    DecideRequest,
    FeedbackRequest,
    StreamOptions,
    library_of,
    read_chat_request,
    read_config,
    read_messages,
    read_model_name,
)
from tryage_server.disconnects import ClientGoneError, while_connected
from tryage_server.errors import (
    describe_invalid,
    error_body,
    error_response,
    error_status,
    exception_response,
)
from tryage_server.limits import LimitMiddleware
from tryage_server.settings import ServerSettings
from tryage_server.telemetry import TraceContextMiddleware, add_metrics

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from langchain_core.messages import AIMessageChunk
    from starlette.types import Receive, Scope, Send

    from tryage.chat.time_limits import Discard
    from tryage_server.chat_requests import ChatCall

T = TypeVar("T")

_log = logging.getLogger(__name__)

_CLIENT_GONE = 499  # as nginx has it; the client does not read it

_GRACE = 1.0  # seconds after the deadline, in which a call itself tells what its models did

_DONE = "data: [DONE]\n\n"


def create_app(chat: ChatTryage, settings: ServerSettings | None = None) -> FastAPI:
    """Return the application; any ASGI server runs it.

    `POST /v1/chat/completions` answers with one of the models of `chat`, as a whole or as a stream.
    `POST /v1/decide` says which, and asks none. `POST /v1/feedback` takes how good an answer was,
    where `chat` has a log. `GET /v1/models` lists what the field `model` may say, `GET /health`
    tells that the process lives, `GET /ready` that a model can be asked. With `metrics`,
    `GET /metrics` is for Prometheus.

    Raises:
        InputError: `chat` is no ChatTryage.
    """
    if not isinstance(chat, ChatTryage):
        raise InputError(f"chat is a {type(chat).__name__}; expected a ChatTryage.")
    limits = ServerSettings() if settings is None else settings

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(_warm_up, chat)
        yield
        if TELEMETRY.observer is not None:  # a signal ends the process after this
            await run_in_threadpool(TELEMETRY.observer.flush)

    app = FastAPI(
        title="Tryage",
        version=tryage.__version__,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(LimitMiddleware, settings=limits)
    app.add_middleware(TraceContextMiddleware)
    _add_error_handlers(app)
    _add_answers(app, chat, limits)
    _add_feedback(app, chat)
    _add_status(app, chat)
    if limits.metrics:
        add_metrics(app)
    return app


def _warm_up(chat: ChatTryage) -> float | None:
    """Load what the first call would load; no telemetry counts it."""
    chat_router = chat._chat_router  # noqa: SLF001 - a package of the same project
    decision = chat_router.router.decide_batch(["Hello"])[0]
    return chat_router.prices.expected_cost(decision.expert.name, 1.0)


def _add_error_handlers(app: FastAPI) -> None:
    """Answer every error in OpenAI's form."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return error_response(400, describe_invalid(error.errors()))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if error.status_code not in (404, 405):
            return error_response(error.status_code, error.detail)
        what = f"{request.method} {request.url.path}"
        return error_response(error.status_code, f"There is no {what}; see /openapi.json.")


def _add_answers(app: FastAPI, chat: ChatTryage, limits: ServerSettings) -> None:
    """Add the routes that answer and decide."""

    @app.post("/v1/chat/completions", response_model=None)
    async def complete(body: ChatRequest, request: Request) -> Response:
        try:
            deadline = body.tryage.deadline or limits.deadline
            call = await run_in_threadpool(read_chat_request, chat, body, deadline)
            if await request.is_disconnected():  # it has waited too long: no model works for it
                return Response(status_code=_CLIENT_GONE)
            if body.stream:
                options = body.stream_options or StreamOptions()
                return await _stream(call, request, options, deadline)
            answer = await while_connected(request, _in_time(partial(_answer, call), deadline))
            return JSONResponse(to_completion(answer))
        except ClientGoneError:
            return Response(status_code=_CLIENT_GONE)
        except Exception as error:  # noqa: BLE001 - whatever fails, the caller gets an answer
            return _failed(error)

    @app.post("/v1/decide", response_model=None)
    def decide(body: DecideRequest) -> Response:
        try:
            config = read_config(chat, body, limits.deadline)
            tools = {"tools": body.tools} if body.tools else {}
            plan = chat.route(read_messages(body.messages), config, **tools)
            decision = plan.decision.to_dict(body.top)
            return JSONResponse({**plan.record(), "decision": {**decision, "prompt": None}})
        except Exception as error:  # noqa: BLE001 - as above
            return _failed(error)


def _add_feedback(app: FastAPI, chat: ChatTryage) -> None:
    """Add the route that takes feedback."""

    @app.post("/v1/feedback", response_model=None)
    def feedback(body: FeedbackRequest) -> Response:
        try:
            details = body.model_dump(exclude={"id", "score"}, exclude_none=True)
            return JSONResponse({"is_new": chat.feedback(body.id, body.score, **details)})
        except Exception as error:  # noqa: BLE001 - as above
            return _failed(error)


def _add_status(app: FastAPI, chat: ChatTryage) -> None:
    """Add the routes that tell what can be asked, and how the server is."""

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        names = [AUTO, *(f"{AUTO}/{one}" for one in PRESETS), *library_of(chat).names]
        return {"object": "list", "data": [_model_row(name) for name in names]}

    @app.get("/v1/models/{name:path}", response_model=None)
    def model(name: str) -> Response:
        try:
            read_model_name(name, library_of(chat))
            return JSONResponse(_model_row(name))
        except LibraryError as error:
            return _failed(error)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "version": tryage.__version__}

    @app.get("/ready", response_model=None)
    def ready() -> Response:
        session = chat._session  # noqa: SLF001 - a package of the same project
        available = [name for name in library_of(chat).names if session.is_available(name)]
        return JSONResponse({"models": available}, 200 if available else 503)


def _model_row(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "tryage"}


def _failed(error: Exception) -> Response:
    """Return the answer to a request that has failed; the log has no words of the prompt."""
    response = exception_response(error)
    _log.warning("A request failed with %s: status %d.", type(error).__name__, response.status_code)
    return response


# Answers ---------------------------------------------------------------------------------------


async def _in_time(
    answer: Callable[[], Awaitable[T]], deadline: float, discard: Discard[T] | None = None
) -> T:
    """Return an answer that comes within its deadline, on a server with too much to do as well.

    A call counts its own time from when a model is chosen; on such a server that may take long,
    and an answer that nobody waits for any more would take the time of others.

    Raises:
        AttemptTimeoutError: the deadline is over, and `_GRACE` too.
    """
    return await arun_with_timeout(answer, deadline + _GRACE, discard)


async def _answer(call: ChatCall) -> Any:
    return await call.client.ainvoke(call.messages, call.config)


async def _stream(
    call: ChatCall, request: Request, options: StreamOptions, deadline: float
) -> Response:
    """Return the stream of an answer whose first chunk is here, so that errors have a status."""
    parts = _parts(call)
    first_part = _in_time(partial(_first_part, parts), deadline, lambda _: parts.aclose())
    first = await while_connected(request, first_part)
    events = _events(first, parts, CompletionStream(options.include_usage))
    return _ClosingResponse(events, parts)


class _ClosingResponse(StreamingResponse):
    """A stream that ends with its response: the model is not asked on for a client that is gone."""

    body_iterator: AsyncGenerator[str, None]

    def __init__(
        self, events: AsyncGenerator[str, None], parts: AsyncGenerator[AIMessageChunk, None]
    ) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, and close it however that ends.

        The events cannot close the parts of the answer: they never begin for a client that is gone
        before the status is sent.
        """
        async with aclosing(self._parts), aclosing(self.body_iterator):
            await super().__call__(scope, receive, send)


async def _first_part(parts: AsyncIterator[AIMessageChunk]) -> AIMessageChunk | None:
    return await anext(parts, None)


async def _parts(call: ChatCall) -> AsyncGenerator[AIMessageChunk, None]:
    """Yield the chunks of an answer; one with a schema is a single chunk."""
    if call.has_schema:
        yield structured_chunk(await _answer(call))
        return
    async with aclosing(call.client.astream(call.messages, call.config)) as parts:  # type: ignore[type-var]  # LangChain's streams are generators
        async for part in parts:
            yield part


async def _events(
    first: AIMessageChunk | None, parts: AsyncIterator[AIMessageChunk], stream: CompletionStream
) -> AsyncGenerator[str, None]:
    """Yield the events of a stream; an error after the first one is an event, too."""
    try:
        if first is not None and (chunk := stream.chunk(first)) is not None:
            yield _event(chunk)
        async for part in parts:
            if (chunk := stream.chunk(part)) is not None:
                yield _event(chunk)
        for chunk in stream.last_chunks():
            yield _event(chunk)
        yield _DONE
    except Exception as error:  # noqa: BLE001 - the status is sent already
        _log.warning("A stream broke off with %s.", type(error).__name__)
        message = "The answer has broken off. Ask again."
        yield _event(error_body(error_status(error), message))


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"
