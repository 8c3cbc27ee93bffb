"""The first Ctrl-C asks a long run to stop where nothing is lost; the second ends it at once."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def stopping(stop: Callable[[], None]) -> Iterator[None]:
    """Turn the first Ctrl-C into a call of `stop`, the second into an interrupt at once.

    Outside the main thread, where Python delivers no signals, it does nothing.

    Raises:
        KeyboardInterrupt: when the block ends after a Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT) or signal.SIG_DFL  # None if not set from Python
    asked = threading.Event()

    def ask(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        asked.set()
        stop()

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if asked.is_set():
        raise KeyboardInterrupt
