"""One request through httpx: what both clients share of its options, its bodies and its errors."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from typing import TYPE_CHECKING, Any

from tryage.hub.client.protocol import Lost, Reply

if TYPE_CHECKING:
    import ssl

    import httpx

    from tryage.hub.client.settings import HubSettings

LARGEST_BODY = 256 * 2**20  # bytes once unpacked; a page of a thousand models has a few million
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def options(settings: HubSettings) -> dict[str, Any]:
    """Return the arguments for httpx.Client or httpx.AsyncClient.

    Redirects are followed by protocol.py, which keeps the token at home; a proxy of the
    environment is no way to one's own machine.
    """
    return {
        "timeout": settings.timeout,
        "verify": _trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
        "follow_redirects": False,
        "mounts": dict.fromkeys((f"all://{host}" for host in LOOPBACK), None),
    }


@cache
def _trusted(file: str | None, folder: str | None) -> ssl.SSLContext:
    """Read the certificates once: it takes longer than a question, and clients are many in tests.

    httpx finds the two variables by itself; as arguments they say for which values this counts.
    """
    del file, folder
    import httpx

    return httpx.create_ssl_context()


@dataclass(slots=True)
class Intake:
    """Takes in one answer: no more bytes than fit, and none after the deadline."""

    seconds: float
    begun: bool = False
    body: bytearray = field(default_factory=bytearray)
    started: float = field(default_factory=time.monotonic)

    def add(self, chunk: bytes) -> None:
        """Take in some bytes.

        Raises:
            OverflowError: there are too many.
            TimeoutError: they took longer than an answer may.
        """
        self.body += chunk
        if len(self.body) > LARGEST_BODY:
            raise OverflowError(f"more than {LARGEST_BODY} bytes")
        if time.monotonic() - self.started > self.seconds:
            raise TimeoutError

    def reply(self, head: httpx.Response) -> Reply:
        """Return the whole answer."""
        headers = {name.lower(): value for name, value in head.headers.items()}
        return Reply(head.status_code, headers, bytes(self.body), datetime.now(timezone.utc))

    def lost(self, error: Exception) -> Lost:
        """Say in a few words why there is no answer; the error itself holds the token.

        Raises:
            Exception: the same again, when it is no fault of the network or of the Hub.
        """
        import httpx

        if isinstance(error, (TimeoutError, httpx.TimeoutException)):
            return Lost(f"no answer within {self.seconds:g} s")
        if isinstance(error, (OverflowError, httpx.HTTPError)):
            said = " ".join(str(error).split()) or type(error).__name__
            return Lost(f"no whole answer ({said:.200})", begun=self.begun)
        raise error
