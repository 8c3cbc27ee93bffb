"""`LocalHub`: a Hugging Face Hub on the loopback device, for tests."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from tryage.errors import InputError
from tryage.testing.hub.faults import Scheduled, schedule
from tryage.testing.hub.http import LoopbackServer, too_many
from tryage.testing.hub.repository import Blob, describe
from tryage.testing.hub.routes import App, Quota
from tryage.testing.hub.store import Shelf, write_date

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import ModuleType

    from tryage.testing.hub.faults import Fault, Predicate
    from tryage.testing.hub.http import Reply, Request


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


class Holdings:
    """The models of a Hub; every method is safe to call while it serves."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._shelf = Shelf(clock)

    def add(
        self,
        name: str,
        files: Mapping[str, bytes | str] | Path | None = None,
        **metadata: Any,  # noqa: ANN401 - the Hub's fields, as JSON
    ) -> str:
        """Add or replace a model, and return its `_id`.

        `files` are paths and contents, or a folder to copy. Metadata are the Hub's own fields
        (`downloads=10`, `tags=[...]`, `gated="manual"`, `**{"model-index": ...}`); a date may be a
        datetime. What the Hub reads out of files (the card's header, config.json, weights) is read
        unless it is given.
        """
        with self._shelf.lock:
            given = {key: _wire(value) for key, value in metadata.items()}
            blobs = {path: Blob.of(path, data) for path, data in _contents(files).items()}
            told = {key: value for key, value in describe(blobs).items() if value} if blobs else {}
            repo = self._shelf.add({**told, **given, "id": name})
            repo.git = None
            if blobs:
                own = {
                    key: given[key] for key in given if key in {"lastModified", "sha", "siblings"}
                }
                self._shelf.begin(repo, blobs, own)
            return repo.key

    def load(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Add many models from records of the Hub's shape and return how many.

        A record needs `id`; `_id` follows from it unless it is given. A million takes about
        1.5 GB.
        """
        with self._shelf.lock:
            return self._shelf.load(records)

    def update(self, name: str, **metadata: Any) -> None:  # noqa: ANN401 - the Hub's fields
        """Change fields of a model, None takes one away; `lastModified` stays unless given.

        This is how downloads, gates and scans change on the Hub.
        """
        with self._shelf.lock:
            self._shelf.update(name, {key: _wire(value) for key, value in metadata.items()})

    def commit(
        self,
        name: str,
        files: Mapping[str, bytes | str] | Path | None = None,
        *,
        delete: Iterable[str] = (),
        title: str = "Update",
    ) -> str:
        """Change files of a model on main and return the commit; `lastModified` moves."""
        with self._shelf.lock:
            repo = self._shelf.get(name)
            history = self._shelf.history(repo)
            state = dict(history.commits[history.branches["main"]].files)
            state |= {path: Blob.of(path, data) for path, data in _contents(files).items()}
            for path in delete:
                del state[path]
            told = {key: value for key, value in describe(state).items() if value}
            return self._shelf.commit(repo, state, title=title, described=told).sha

    def remove(self, name: str) -> None:
        """Delete a model."""
        with self._shelf.lock:
            self._shelf.remove(name)

    def rename(self, old: str, new: str) -> None:
        """Rename a model: same `_id`, and the old name answers 307."""
        with self._shelf.lock:
            self._shelf.rename(old, new)

    def grant(self, name: str) -> None:
        """Give the account access to a gated model."""
        with self._shelf.lock:
            self._shelf.granted.add(self._shelf.get(name).key)

    def record(self, name: str) -> dict[str, Any]:
        """Return all metadata of a model."""
        with self._shelf.lock:
            return self._shelf.get(name).read()

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """Return the files of a model."""
        with self._shelf.lock:
            commit = self._shelf.history(self._shelf.get(name)).find(revision)
            return {path: blob.data for path, blob in commit.files.items()} if commit else {}

    def __contains__(self, name: object) -> bool:
        """Return whether there is a model of this name."""
        return name in self._shelf.repos

    def __len__(self) -> int:
        """Return how many models there are."""
        return len(self._shelf.repos)

    def __iter__(self) -> Iterator[str]:
        """Walk the names."""
        with self._shelf.lock:
            return iter(list(self._shelf.repos))


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
        return variables(self.url, self.token, cache)

    @contextmanager
    def patched(self, cache: Path | None = None) -> Iterator[LocalHub]:
        """Lead this process here: the environment, and what `huggingface_hub` has read from it.

        Not for tests that run as threads side by side: there is one environment per process.
        """
        with patched(self.environment(cache)):
            yield self


def _wire(value: Any) -> Any:  # noqa: ANN401 - JSON may be anything
    return write_date(value) if isinstance(value, datetime) else value


def _contents(files: Mapping[str, bytes | str] | Path | None) -> dict[str, bytes]:
    """Return contents by path, with / between folders."""
    if isinstance(files, Path):
        found = (path for path in sorted(files.rglob("*")) if path.is_file())
        return {path.relative_to(files).as_posix(): path.read_bytes() for path in found}
    given = files or {}
    return {p: data.encode() if isinstance(data, str) else data for p, data in given.items()}


def variables(url: str, token: str, cache: Path | None) -> dict[str, str]:
    """Return the environment for a Hub at `url`; proxies must not see the loopback device."""
    around = [os.environ.get("NO_PROXY") or os.environ.get("no_proxy", ""), "127.0.0.1,localhost"]
    direct = ",".join(filter(None, around))
    found = {
        "HF_ENDPOINT": url,
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": direct,
        "no_proxy": direct,
    }
    return found if cache is None else {**found, "HF_HUB_CACHE": str(cache)}


@contextmanager
def patched(told: Mapping[str, str]) -> Iterator[None]:
    """Set the variables, and what is imported already and read the old ones."""
    with ExitStack() as undo:
        undo.enter_context(mock.patch.dict(os.environ, told))
        for holder, name, value in _copies(told):
            undo.enter_context(mock.patch.object(holder, name, value))
        api = getattr(sys.modules.get("huggingface_hub.hf_api"), "api", None)
        if api is not None:  # the one behind `huggingface_hub.model_info` and its like
            undo.enter_context(mock.patch.object(api, "endpoint", told["HF_ENDPOINT"]))
        yield


def _copies(told: Mapping[str, str]) -> list[tuple[ModuleType, str, Any]]:
    """Return where loaded modules keep what they read from the environment, by their names."""
    known = _constants(told)
    roots = ("huggingface_hub", "transformers")
    modules = [m for n, m in list(sys.modules.items()) if n.partition(".")[0] in roots]
    return [
        (module, name, value)
        for module in modules
        for name, value in known.items()
        if name in vars(module)
    ]


def _constants(told: Mapping[str, str]) -> dict[str, Any]:
    url = told["HF_ENDPOINT"]
    found: dict[str, Any] = {
        "ENDPOINT": url,
        "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
    }
    caches = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE")
    if "HF_HUB_CACHE" in told:
        found |= dict.fromkeys(caches, told["HF_HUB_CACHE"])
    return found
