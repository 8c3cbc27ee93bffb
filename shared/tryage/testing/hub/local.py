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
from tryage.testing.hub.http import LoopbackServer, rate_limited_response
from tryage.testing.hub.repository import Blob, describe_files
from tryage.testing.hub.routes import App, FakeRateLimit
from tryage.testing.hub.store import RepositoryStore, format_date

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import ModuleType

    from tryage.testing.hub.faults import Fault, Predicate
    from tryage.testing.hub.http import FakeRequest, FakeResponse


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


class HubContents:
    """The models of a Hub; every method is safe to call while it serves."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._store = RepositoryStore(clock)

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
        with self._store.lock:
            given = {key: _to_json(value) for key, value in metadata.items()}
            blobs = {
                path: Blob.from_bytes(path, data) for path, data in _read_contents(files).items()
            }
            described = (
                {key: value for key, value in describe_files(blobs).items() if value}
                if blobs
                else {}
            )
            repo = self._store.add({**described, **given, "id": name})
            repo.git = None
            if blobs:
                own = {
                    key: given[key] for key in given if key in {"lastModified", "sha", "siblings"}
                }
                self._store.init_history(repo, blobs, own)
            return repo.key

    def load(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Add many models from records of the Hub's shape and return how many.

        A record needs `id`; `_id` follows from it unless it is given. A million takes about
        1.5 GB.
        """
        with self._store.lock:
            return self._store.load(records)

    def update(self, name: str, **metadata: Any) -> None:  # noqa: ANN401 - the Hub's fields
        """Change fields of a model, None takes one away; `lastModified` stays unless given.

        This is how downloads, gates and scans change on the Hub.
        """
        with self._store.lock:
            self._store.update(name, {key: _to_json(value) for key, value in metadata.items()})

    def commit(
        self,
        name: str,
        files: Mapping[str, bytes | str] | Path | None = None,
        *,
        delete: Iterable[str] = (),
        title: str = "Update",
    ) -> str:
        """Change files of a model on main and return the commit; `lastModified` moves."""
        with self._store.lock:
            repo = self._store.get(name)
            history = self._store.history(repo)
            state = dict(history.commits[history.branches["main"]].files)
            state |= {
                path: Blob.from_bytes(path, data) for path, data in _read_contents(files).items()
            }
            for path in delete:
                del state[path]
            described = {key: value for key, value in describe_files(state).items() if value}
            return self._store.commit(repo, state, title=title, metadata=described).sha

    def remove(self, name: str) -> None:
        """Delete a model."""
        with self._store.lock:
            self._store.remove(name)

    def rename(self, old: str, new: str) -> None:
        """Rename a model: same `_id`, and the old name answers 307."""
        with self._store.lock:
            self._store.rename(old, new)

    def grant(self, name: str) -> None:
        """Give the account access to a gated model."""
        with self._store.lock:
            self._store.granted.add(self._store.get(name).key)

    def record(self, name: str) -> dict[str, Any]:
        """Return all metadata of a model."""
        with self._store.lock:
            return self._store.get(name).read()

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """Return the files of a model."""
        with self._store.lock:
            commit = self._store.history(self._store.get(name)).find(revision)
            return {path: blob.data for path, blob in commit.files.items()} if commit else {}

    def __contains__(self, name: object) -> bool:
        """Return whether there is a model of this name."""
        return name in self._store.repos

    def __len__(self) -> int:
        """Return how many models there are."""
        return len(self._store.repos)

    def __iter__(self) -> Iterator[str]:
        """Walk the names."""
        with self._store.lock:
            return iter(list(self._store.repos))


class LocalHub(HubContents):
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
        self.requests: list[FakeRequest] = []
        self._app = App(self._store, user, token)
        self._rate_limit = FakeRateLimit(quota, window, timer)
        self._faults: list[Scheduled] = []
        self._port = port
        self._servers: tuple[LoopbackServer, ...] = ()

    # --- the server -------------------------------------------------------------------------

    def start(self) -> LocalHub:
        """Start serving; a Hub that was closed starts again at the same address."""
        if not self._servers:
            front, storage = (
                LoopbackServer(self._answer, self._port),
                LoopbackServer(self._answer_storage),
            )
            self._servers = front, storage
            self._port = front.server_port
            self._store.storage_url = f"http://localhost:{storage.server_port}"
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

    def _answer(self, request: FakeRequest) -> FakeResponse:
        with self._store.lock:
            within, limits = self._rate_limit.take(request.path)
        reply = self._apply_faults(request, self._app.answer if within else rate_limited_response)
        return replace(reply, headers={**limits, **reply.headers})

    def _answer_storage(self, request: FakeRequest) -> FakeResponse:
        """Answer for LFS content: as on the Hub, another origin, without quota or token."""
        return self._apply_faults(request, self._app.answer_storage)

    def _apply_faults(
        self, request: FakeRequest, answer: Callable[[FakeRequest], FakeResponse]
    ) -> FakeResponse:
        """Note the request and answer it, unless a fault strikes."""
        with self._store.lock:
            self.requests.append(replace(request, body=b""))
            fault = next((one.fault for one in self._faults if one.try_hit(request)), None)
        if fault is None:
            return self._answer_locked(request, answer)
        return fault(request, lambda: self._answer_locked(request, answer))

    def _answer_locked(
        self, request: FakeRequest, answer: Callable[[FakeRequest], FakeResponse]
    ) -> FakeResponse:
        with self._store.lock:
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
        with self._store.lock:
            self._faults.append(planned)
        return planned

    def clear_faults(self) -> None:
        """Take all faults away."""
        with self._store.lock:
            self._faults.clear()

    heal = clear_faults

    # --- the environment --------------------------------------------------------------------

    def environment(self, cache: Path | None = None) -> dict[str, str]:
        """Return the variables that lead `huggingface_hub` here: for a new process.

        `cache` keeps its downloads apart. Uploads are plain LFS: there is no Xet storage here.
        """
        return environment_variables(self.url, self.token, cache)

    @contextmanager
    def patched(self, cache: Path | None = None) -> Iterator[LocalHub]:
        """Lead this process here: the environment, and what `huggingface_hub` has read from it.

        Not for tests that run as threads side by side: there is one environment per process.
        """
        with patch_environment(self.environment(cache)):
            yield self


def _to_json(value: Any) -> Any:  # noqa: ANN401 - JSON may be anything
    return format_date(value) if isinstance(value, datetime) else value


def _read_contents(files: Mapping[str, bytes | str] | Path | None) -> dict[str, bytes]:
    """Return contents by path, with / between folders."""
    if isinstance(files, Path):
        found = (path for path in sorted(files.rglob("*")) if path.is_file())
        return {path.relative_to(files).as_posix(): path.read_bytes() for path in found}
    given = files or {}
    return {p: data.encode() if isinstance(data, str) else data for p, data in given.items()}


def environment_variables(url: str, token: str, cache: Path | None) -> dict[str, str]:
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
def patch_environment(env: Mapping[str, str]) -> Iterator[None]:
    """Set the variables, and what is imported already and read the old ones."""
    with ExitStack() as undo:
        undo.enter_context(mock.patch.dict(os.environ, env))
        for holder, name, value in _stale_copies(env):
            undo.enter_context(mock.patch.object(holder, name, value))
        api = getattr(sys.modules.get("huggingface_hub.hf_api"), "api", None)
        if api is not None:  # the one behind `huggingface_hub.model_info` and its like
            undo.enter_context(mock.patch.object(api, "endpoint", env["HF_ENDPOINT"]))
        yield


def _stale_copies(env: Mapping[str, str]) -> list[tuple[ModuleType, str, Any]]:
    """Return where loaded modules keep what they read from the environment, by their names."""
    known = _hub_constants(env)
    roots = ("huggingface_hub", "transformers")
    modules = [m for n, m in list(sys.modules.items()) if n.partition(".")[0] in roots]
    return [
        (module, name, value)
        for module in modules
        for name, value in known.items()
        if name in vars(module)
    ]


def _hub_constants(env: Mapping[str, str]) -> dict[str, Any]:
    url = env["HF_ENDPOINT"]
    found: dict[str, Any] = {
        "ENDPOINT": url,
        "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
    }
    caches = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE")
    if "HF_HUB_CACHE" in env:
        found |= dict.fromkeys(caches, env["HF_HUB_CACHE"])
    return found
