"""`LocalHub`: a Hugging Face Hub on the loopback device, for tests."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from tryage.errors import InputError
from tryage.testing.hub import surroundings
from tryage.testing.hub.app import App
from tryage.testing.hub.faults import Scheduled, schedule
from tryage.testing.hub.holdings import Holdings
from tryage.testing.hub.quota import Quota
from tryage.testing.hub.server import LoopbackServer
from tryage.testing.hub.wire import too_many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tryage.testing.hub.faults import Fault, Predicate
    from tryage.testing.hub.wire import Reply, Request


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


class LocalHub(Holdings):
    """A Hub that speaks HTTP on 127.0.0.1, holds what a test puts in, and fails when told to.

    Open it with `with`, or call `start()` and `close()`. `url` is both the endpoint of the Hub
    and of the inference router (`/v1/models`). Nothing global is touched unless you enter
    `patched()`.

    Args:
        user: the account that `token` belongs to.
        token: the one valid token; it may write everywhere. Another one is refused with 401.
        quota: requests per window, for the API and for files each; 429 beyond.
        window: seconds of a window.
        port: 0 takes a free one.
        clock: what time it is, for `lastModified` and commits.
        timer: seconds that only grow, for the windows of the quota.
    """

    def __init__(  # noqa: PLR0913 - each has a use and a default
        self,
        *,
        user: str = "tester",
        token: str = "hf_local",  # noqa: S107 - opens nothing but this server
        quota: int = 100_000,
        window: float = 300.0,
        port: int = 0,
        clock: Callable[[], datetime] = _utc_now,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock)
        self.user, self.token = user, token
        self.requests: list[Request] = []
        self._app = App(self._shelf, user, token)
        self._quota = Quota(quota, window, timer)
        self._faults: list[Scheduled] = []
        self._port = port
        self._servers: tuple[LoopbackServer, ...] = ()

    # --- the server -------------------------------------------------------------------------

    def start(self) -> LocalHub:
        """Start serving; a Hub that was closed starts again at the same address."""
        if not self._servers:
            front, storage = LoopbackServer(self._answer, self._port), LoopbackServer(self._store)
            self._servers = front, storage
            self._port = front.server_port
            self._shelf.storage = f"http://localhost:{storage.server_port}"
            for server in self._servers:
                run = server.serve_forever
                threading.Thread(target=run, args=(0.02,), daemon=True, name="LocalHub").start()
        return self

    def close(self) -> None:
        """Stop serving and close all connections; what the Hub holds stays."""
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._servers = ()

    def __enter__(self) -> LocalHub:
        """Start serving."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self.close()

    def __repr__(self) -> str:
        """Return the address and how much there is; never the token."""
        where = self.url if self._port else "not started"
        return f"LocalHub({where}, {len(self):,} models)"

    @property
    def url(self) -> str:
        """The address, without a slash at its end.

        Raises:
            InputError: the Hub has not been started, so it has no address yet.
        """
        if not self._port:
            raise InputError(
                "this Hub has no address yet: use `with LocalHub() as hub`, or start()"
            )
        return f"http://127.0.0.1:{self._port}"

    def _answer(self, request: Request) -> Reply:
        with self._shelf.lock:
            within, limits = self._quota.take(request.path)
        reply = self._tried(request, self._app.answer if within else too_many)
        return replace(reply, headers={**limits, **reply.headers})

    def _store(self, request: Request) -> Reply:
        """Answer for LFS content: as on the Hub, another origin, without quota or token."""
        return self._tried(request, self._app.store)

    def _tried(self, request: Request, answer: Callable[[Request], Reply]) -> Reply:
        """Note the request and answer it, unless a fault strikes."""
        with self._shelf.lock:
            self.requests.append(replace(request, body=b""))
            fault = next((one.fault for one in self._faults if one.strikes(request)), None)
        if fault is None:
            return self._own(request, answer)
        return fault(request, lambda: self._own(request, answer))

    def _own(self, request: Request, answer: Callable[[Request], Reply]) -> Reply:
        with self._shelf.lock:
            return answer(request)

    @property
    def served(self) -> list[dict[str, Any]]:
        """What `/v1/models` lists, in the shape of the inference router; change it in place."""
        return self._app.served

    @property
    def leaderboards(self) -> dict[str, list[dict[str, Any]]]:
        """The entries of `/api/datasets/{name}/leaderboard`, by dataset; change it in place."""
        return self._app.leaderboards

    # --- faults -----------------------------------------------------------------------------

    def fail(
        self,
        fault: Fault,
        *,
        when: Predicate | None = None,
        times: int | None = 1,
        skip: int = 0,
    ) -> Scheduled:
        """Let a fault strike the next requests for which `when` holds.

        `skip` of them pass first, then `times` are struck (None: all of them). The earliest of
        several faults goes first. The result counts its `hits`.
        """
        planned = schedule(fault, when, times, skip)
        with self._shelf.lock:
            self._faults.append(planned)
        return planned

    def heal(self) -> None:
        """Take all faults away."""
        with self._shelf.lock:
            self._faults.clear()

    # --- the environment --------------------------------------------------------------------

    def environment(self, cache: Path | None = None) -> dict[str, str]:
        """Return the variables that lead `huggingface_hub` here: for a new process.

        `cache` keeps its downloads apart. Uploads are plain LFS: there is no Xet storage here.
        """
        return surroundings.variables(self.url, self.token, cache)

    @contextmanager
    def patched(self, cache: Path | None = None) -> Iterator[LocalHub]:
        """Lead this process here: the environment, and what `huggingface_hub` has read from it.

        Not for tests that run as threads side by side: there is one environment per process.
        """
        with surroundings.patched(self.environment(cache)):
            yield self
