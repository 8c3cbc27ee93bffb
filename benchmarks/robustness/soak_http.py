"""The soak's requests to `tryage serve`, as any program sends them."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
from soak_load import Client, RefusedError, failures_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from soak_load import Reply, Request

_TIMEOUT = 60.0  # seconds
_SCHEMA = {
    "type": "object",
    "properties": {"marker": {"type": "string"}, "model": {"type": "string"}},
    "required": ["marker", "model"],
}
_FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": _SCHEMA}}
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "description": "Look a marker up",
            "parameters": _SCHEMA,
        },
    }
]


class SoakClient(Client):
    """Asks the server in all its ways."""

    ways: ClassVar = {
        "awhole": 4.0,
        "astream": 4.0,
        "atools": 1.0,
        "astructured": 1.0,
        "apreset": 1.0,
        "adecide": 0.5,
    }

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._url = f"http://127.0.0.1:{(folder / 'server.port').read_text()}"
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        self._client = httpx.AsyncClient(base_url=self._url, timeout=_TIMEOUT, limits=limits)
        self._sync_client = httpx.Client(base_url=self._url, timeout=_TIMEOUT)

    async def awhole(self, request: Request, reply: Reply) -> None:
        """Ask for a whole answer."""
        await self._ask(request, reply)

    async def atools(self, request: Request, reply: Reply) -> None:
        """Ask with a tool."""
        await self._ask(request, reply, tools=_TOOLS)

    async def astructured(self, request: Request, reply: Reply) -> None:
        """Ask for an object."""
        await self._ask(request, reply, response_format=_FORMAT)

    async def apreset(self, request: Request, reply: Reply) -> None:
        """Ask with other preferences."""
        await self._ask(request, reply, model="tryage/best")

    async def adecide(self, request: Request, reply: Reply) -> None:
        """Ask which model would answer."""
        body = {"messages": _messages(request)}
        record = _checked(await self._client.post("/v1/decide", json=body)).json()
        reply.record |= record
        reply.note(f"{request.marker} {record['model']} end")

    async def _ask(self, request: Request, reply: Reply, **fields: object) -> None:
        body = {**_body(request), **fields}
        answer = _checked(await self._client.post("/v1/chat/completions", json=body)).json()
        reply.record |= answer["tryage"]
        message = answer["choices"][0]["message"]
        reply.note(message["content"])
        if message.get("tool_calls") and not reply.pieces:
            reply.note(message["tool_calls"][0]["function"]["arguments"])

    async def astream(self, request: Request, reply: Reply) -> None:
        """Ask for a stream."""
        body = {**_body(request), "stream": True}
        send = self._client.stream("POST", "/v1/chat/completions", json=body)
        async with send as answer, aclosing(_events(answer)) as events:
            async for event in events:
                if "error" in event:
                    raise RefusedError(200, event["error"]["message"])
                reply.record |= event.get("tryage", {})
                for choice in event["choices"]:
                    reply.note(choice["delta"].get("content"))
                if request.leaves and reply.pieces:
                    reply.has_left = True
                    break

    def failures(self, error: BaseException) -> dict[str, str]:
        """Return the models that an error says have failed, each with the class of its error."""
        if not isinstance(error, RefusedError) or error.status not in (502, 503, 504):
            return {}
        return failures_in(error.message) or {"tryage serve": f"status {error.status}"}

    def feedback(self, decision_id: str, score: float) -> bool:
        """Rate an answer; return whether that was new."""
        body = {"id": decision_id, "score": score}
        return bool(_checked(self._sync_client.post("/v1/feedback", json=body)).json()["is_new"])

    def health(self) -> dict[str, Any]:
        """Return the state of each model, by its name; the server tells which can be asked."""
        found = self._sync_client.get("/ready").json()
        return dict.fromkeys(found["models"], "healthy")


def _messages(request: Request) -> list[dict[str, str]]:
    last = {"role": "user", "content": request.text}
    if request.earlier_text is None:
        return [last]
    first = {"role": "user", "content": request.earlier_text}
    return [first, {"role": "assistant", "content": "Hello."}, last]


def _body(request: Request) -> dict[str, Any]:
    keys = request.keys
    own = {"thread_id": keys["thread_id"]} if "thread_id" in keys else {}
    return {"messages": _messages(request), "user": keys["user_id"], "tryage": own}


async def _events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Yield the events of a stream.

    Raises:
        RefusedError: the answer is an error, or the stream ends without a sign.
    """
    if answer.status_code != 200:
        await answer.aread()
        _checked(answer)
    async for line in answer.aiter_lines():
        if line == "data: [DONE]":
            return
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))
    raise RefusedError(0, "The stream has ended without [DONE].")


def _checked(answer: httpx.Response) -> httpx.Response:
    """Return an answer with the status 200.

    Raises:
        RefusedError: it has another one.
    """
    if answer.status_code != 200:
        raise RefusedError(answer.status_code, answer.json()["error"]["message"])
    return answer
