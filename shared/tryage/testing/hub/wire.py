"""What goes over the wire: a request, a reply, and the Hub's ways to refuse."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Request:
    """One request as the server read it; `path` is still percent-encoded, `query` is decoded.

    Header names are in title case, whatever the client wrote. The headers, which may hold a token,
    and the body stay out of its repr.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def path(self) -> str:
        """The target up to its question mark, percent-encoded."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        """The values of each parameter; `expand[]` and `expand` are one."""
        found: dict[str, list[str]] = {}
        for name, values in parse_qs(urlsplit(self.target).query, keep_blank_values=True).items():
            found.setdefault(name.removesuffix("[]"), []).extend(values)
        return found

    @property
    def parts(self) -> tuple[str, ...]:
        """The decoded pieces between the slashes of the path; `%2F` does not divide."""
        return tuple(unquote(part) for part in self.path.strip("/").split("/"))

    @property
    def base(self) -> str:
        """The address at which the client found the server."""
        return f"http://{self.headers.get('Host', '127.0.0.1')}"

    @property
    def token(self) -> str | None:
        """The bearer token, or None for an anonymous request."""
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        return value or None if kind == "Bearer" else None

    def one(self, name: str, default: str = "") -> str:
        """Return the first value of a query parameter."""
        return self.query.get(name, [default])[0]

    def flag(self, name: str) -> bool:
        """Return whether a query parameter is there and says yes."""
        return name in self.query and self.one(name).lower() not in {"false", "0"}

    def json(self) -> Any:  # noqa: ANN401 - JSON may be anything
        """Return the body as JSON."""
        return json.loads(self.body or b"null")


@dataclass(frozen=True)
class Reply:
    """One answer; a fault may `cut` it after so many bytes of its body, or `stall` it half way.

    `cut` = -1 closes the connection before a single header; `stall` is in seconds. `length` is
    what Content-Length claims, for a reply to HEAD.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    stall: float = 0.0
    length: int | None = None


class RefusedError(Exception):
    """A handler stops here: the reply says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def reply_json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply with a JSON body, encoded as compactly as the Hub does."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Reply(
        status, body, {"Content-Type": "application/json; charset=utf-8"} | dict(headers or {})
    )


def refusal(status: int, message: str, code: str | None = None) -> Reply:
    """Return the Hub's error: JSON and, where they have one, the headers that clients read."""
    headers = {"X-Error-Code": code} if code else {}
    if message.isascii() and message.isprintable():
        headers["X-Error-Message"] = message
    return reply_json({"error": message}, status, headers)


def refuse(status: int, message: str, code: str | None = None) -> RefusedError:
    """Return the exception that answers with this refusal."""
    return RefusedError(refusal(status, message, code))


def too_many(request: Request) -> Reply:
    """Return what the Hub says beyond the quota; the RateLimit headers tell until when."""
    del request
    return refusal(429, "We had to rate limit you. Please retry later.")


def missing_repo(token: str | None) -> Reply:
    """Return what the Hub says of a repo that is gone or private: to strangers, only "who?"."""
    if token is None:
        return refusal(401, "Invalid username or password.")
    return refusal(404, "Repository not found", "RepoNotFound")


def gated_repo(name: str, token: str | None) -> Reply:
    """Return what the Hub says when files of a gated repo are asked for without access."""
    if token is None:
        message = f"Access to model {name} is restricted. You must have access to it and be authenticated to access it. Please log in."  # noqa: E501 - the Hub's own sentence
        return refusal(401, message, "GatedRepo")
    message = f"Access to model {name} is restricted and you are not in the authorized list."
    return refusal(403, message, "GatedRepo")
