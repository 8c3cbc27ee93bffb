"""Settings that are read again when their files change, while calls go on.

A thread waits for changes of the file, of the files that it names, and of the facts about models.
What it makes of the new settings replaces the old at once: a call that has begun ends with what it
began with. Settings that are wrong are logged, and the old ones stay.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tryage.config.load import load_config
from tryage.config.stamps import file_stamps
from tryage.core.redaction import describe_error
from tryage.core.validation import require_extra
from tryage.errors import TryageError
from tryage.hub.catalog_schema import default_path
from tryage.locks import ForkSafeLock
from tryage.models.refresh import snapshot_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tryage.config.document import Overrides
    from tryage.config.load import LoadedConfig
    from tryage.config.stamps import FileStamp

T = TypeVar("T")

_WATCHES: weakref.WeakSet[ConfigWatch[Any]] = weakref.WeakSet()

_log = logging.getLogger(__name__)

_DEBOUNCE = 200  # milliseconds for which changes are gathered at most
_TIMEOUT = 1_000  # milliseconds after which the files are looked at without any news of them
_SETTLE = 0.02  # seconds in which a file that is being written changes again
_MAX_READS = 15


class ConfigWatch(Generic[T]):
    """What is made of settings, always of the newest valid ones.

    It ends with `close`, with the process, or when nobody uses it any more. In the child of a fork
    it goes on by itself.

    Args:
        path: The file, as for `find_config`.
        make: Makes an object of settings, from them and what was made of the ones before.
        overrides: As for `load_config`.

    Raises:
        ConfigError, MissingExtraError: as in `load_config`, for the first time.
    """

    def __init__(
        self,
        path: str | Path | None,
        make: Callable[[LoadedConfig, T | None], T],
        overrides: Overrides | None = None,
    ) -> None:
        require_extra("watchfiles", "config")
        self._make, self._overrides = make, overrides
        loaded = load_config(path, overrides=overrides)
        self.path = loaded.path
        self._current = make(loaded, None)
        self._files = loaded.files
        self._stamps = self._read_stamps()
        self._lock = ForkSafeLock()
        self._stop = threading.Event()
        self._start()

    @property
    def current(self) -> T:
        """What is made of the newest valid settings."""
        if self._process != os.getpid():  # a fork copies no threads
            self._restart()
        return self._current

    def reload(self) -> bool:
        """Read the settings now, changed or not; return whether they are valid, and in force.

        What is wrong with them is logged.
        """
        with self._lock:
            for _ in range(_MAX_READS):
                stamps = self._read_stamps()
                error = self._replace()
                self._stamps = self._read_stamps()
                is_stable = all(self._stamps.get(path) == one for path, one in stamps.items())
                if is_stable and _is_written(self._stamps[self.path]):
                    break
                time.sleep(_SETTLE)  # a file is being written, which empties it first
        if error is None:
            _log.info("The settings of %s are in force.", self.path)
        else:
            _log.warning(
                "The settings stay as they were, because the new ones are wrong.\n%s", error
            )
        return error is None

    def check(self) -> None:
        """Read the settings again if a file has changed."""
        if self._read_stamps() != self._stamps:
            self.reload()

    def close(self) -> None:
        """Stop waiting for changes; the settings stay as they are."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=5.0)

    def folders(self) -> tuple[Path, ...]:
        """Return the folders of all files that are watched, as far as they exist."""
        found = dict.fromkeys(path.parent for path in self._watched())
        return tuple(folder for folder in found if folder.is_dir())

    def _replace(self) -> str | None:
        """Make the object of the files as they are; return why that is not possible."""
        try:
            loaded = load_config(self.path, overrides=self._overrides)
            if not loaded.document.tables:
                return f"{self.path}: the file is empty."  # maybe it is being written
            made = self._make(loaded, self._current)
        except TryageError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - code that the file names may raise anything
            return describe_error(error)
        self._current, self._files = made, loaded.files
        return None

    def _watched(self) -> tuple[Path, ...]:
        return (*self._files, snapshot_path(), default_path())

    def _read_stamps(self) -> dict[Path, FileStamp | None]:
        return file_stamps(self._watched())

    def _start(self) -> None:
        self._process = os.getpid()
        self._thread = threading.Thread(
            target=_follow, args=(weakref.ref(self), self._stop), name="tryage-config", daemon=True
        )
        self._thread.start()
        weakref.finalize(self, self._stop.set)
        _WATCHES.add(self)
        _close_at_exit()

    def _restart(self) -> None:
        """Start the thread of a child, unless the watch was closed before the fork."""
        with self._lock:
            if self._process == os.getpid():
                return
            if self._stop.is_set():
                self._process = os.getpid()
                return
            self._stop = threading.Event()  # the old one may be locked for ever
            self._start()


def _follow(reference: weakref.ref[ConfigWatch[T]], stop: threading.Event) -> None:
    """Look for changes until `stop` is set or the watch is gone."""
    import watchfiles

    while (watch := reference()) is not None and not stop.is_set():
        folders = watch.folders()
        del watch
        changes = watchfiles.watch(
            *folders,
            watch_filter=None,
            debounce=_DEBOUNCE,
            stop_event=stop,
            rust_timeout=_TIMEOUT,
            yield_on_timeout=True,
            raise_interrupt=False,
            recursive=False,
            ignore_permission_denied=True,
        )
        for _ in changes:
            watch = reference()
            if watch is None or stop.is_set():
                return
            watch.check()
            if watch.folders() != folders:
                break
            del watch


def _is_written(stamp: FileStamp | None) -> bool:
    """Tell whether a file is there and has anything in it."""
    return stamp is not None and stamp[1] > 0


@cache
def _close_at_exit() -> None:
    """End all threads before the interpreter goes, which a library of another language needs."""
    atexit.register(_close_all)


def _close_all() -> None:
    for watch in list(_WATCHES):
        watch.close()
