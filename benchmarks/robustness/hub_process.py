"""A local Hub in a process of its own, so that others can be forked and killed beside it."""

from __future__ import annotations

import json
import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tryage.testing import LocalHub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class HubProcess:
    """Runs a `LocalHub`, which `fill` may fill, until the block ends."""

    def __init__(self, fill: Callable[[LocalHub], None] = lambda _: None) -> None:
        self._fill = fill
        self._client = LocalHub()
        self.url = ""

    def __enter__(self) -> HubProcess:
        """Start the Hub, and wait until it serves."""
        reader, writer = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            try:
                with LocalHub() as hub:
                    self._fill(hub)
                    os.write(writer, f"{json.dumps({'url': hub.url})}\n".encode())
                    signal.pause()
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, encoding="utf-8") as file:
            self.url = json.loads(file.readline())["url"]
        return self

    def __exit__(self, *_: object) -> None:
        """End the Hub."""
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)

    @contextmanager
    def patched(self, cache: Path) -> Iterator[None]:
        """Let this process use the Hub, with a folder for its downloads."""
        self._client._port = int(self.url.rpartition(":")[2])  # noqa: SLF001 - its address alone
        with self._client.patched(cache):
            yield
