"""`LocalHub`: a Hugging Face Hub on the loopback device, for tests."""

from __future__ import annotations

import os
import sys
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


class LocalHub:
    """A Hub that serves HTTP on 127.0.0.1, holds what a test adds, and fails when a test says so.

    Open it with `with`, or call `start()` and `close()`. `url` is the endpoint of both the Hub and
    the inference router (`/v1/models`), `requests` is the log. It changes nothing global, except
    within `patched()`. Models may be changed while it serves.

    Args:
        user: The account that `token` belongs to.
        token: The only valid token; it may write everywhere. Any other token is refused with 401.
        quota: Requests per window, for the API and for files separately; further ones get 429.
        window: The length of a window in seconds.
        port: The port; 0 takes a free one.
        clock: Returns the current time, for `lastModified` and commits.
        timer: Returns seconds that never decrease, for the windows of the quota.
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
        self.user, self.token = user, token
        self.requests: list[FakeRequest] = []
        self._store = RepositoryStore(clock)
        self._app = App(self._store, user, token)
        self._rate_limit = FakeRateLimit(quota, window, timer)
        self._faults: list[Scheduled] = []
        self._port = port
        self._servers: tuple[LoopbackServer, ...] = ()

    # --- the server -------------------------------------------------------------------------

    def start(self) -> LocalHub:
        """Start to serve; a closed Hub starts again at the same address."""
        if not self._servers:
            hub_server = LoopbackServer(self._answer, self._port)
            storage_server = LoopbackServer(self._answer_storage)
            self._servers = hub_server, storage_server
            self._port = hub_server.server_port
            self._store.storage_url = f"http://localhost:{storage_server.server_port}"
            for server in self._servers:
                server.start()
        return self

    def close(self) -> None:
        """Stop serving and close all connections; the models stay."""
        for server in self._servers:
            server.close()
        self._servers = ()

    def __enter__(self) -> LocalHub:
        """Start to serve."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self.close()

    def __repr__(self) -> str:
        """Return the address and the number of models, without the token."""
        address = self.url if self._port else "not started"
        return f"LocalHub({address}, {len(self):,} models)"

    @property
    def url(self) -> str:
        """The address, without a slash at its end.

        Raises:
            InputError: the Hub was never started, so it has no address yet.
        """
        if not self._port:
            raise InputError(
                "this Hub has no address yet: use `with LocalHub() as hub`, or start()"
            )
        return f"http://127.0.0.1:{self._port}"

    # --- the models -------------------------------------------------------------------------

    def add(
        self,
        name: str,
        files: Mapping[str, bytes | str] | Path | None = None,
        **metadata: Any,  # noqa: ANN401 - the Hub's fields, as JSON
    ) -> str:
        """Add or replace a model, and return its `_id`.

        `files` are contents by path, or a folder to copy. Metadata are the Hub's own fields
        (`downloads=10`, `tags=[...]`, `gated="manual"`, `**{"model-index": ...}`); a date may be a
        datetime. Like the Hub, it also reads metadata from the files (the card's header,
        config.json, weights); given fields replace them.
        """
        with self._store.lock:
            fields = {key: _to_json(value) for key, value in metadata.items()}
            blobs = _read_blobs(files)
            file_metadata = _file_metadata(blobs) if blobs else {}
            repo = self._store.add({**file_metadata, **fields, "id": name})
            repo.git = None
            if blobs:
                commit_fields = {"lastModified", "sha", "siblings"}
                commit_metadata = {
                    key: value for key, value in fields.items() if key in commit_fields
                }
                self._store.init_history(repo, blobs, commit_metadata)
            return repo.key

    def load(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Add many models from records in the Hub's format, and return their number.

        A record needs `id`; without `_id` it gets one that follows from `id`. A million models take
        about 1.5 GB.
        """
        with self._store.lock:
            return self._store.load(records)

    def update(self, name: str, **metadata: Any) -> None:  # noqa: ANN401 - the Hub's fields
        """Change fields of a model; None removes a field, `lastModified` stays unless given.

        On the Hub downloads, gates and scans change in this way.
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
        """Change files of a model on main and return the commit; `lastModified` changes too."""
        with self._store.lock:
            repo = self._store.get(name)
            history = self._store.history(repo)
            new_files = history.commits[history.branches["main"]].files | _read_blobs(files)
            for path in delete:
                del new_files[path]
            return self._store.commit(
                repo, new_files, title=title, metadata=_file_metadata(new_files)
            ).sha

    def remove(self, name: str) -> None:
        """Delete a model."""
        with self._store.lock:
            self._store.remove(name)

    def rename(self, old: str, new: str) -> None:
        """Rename a model; its `_id` stays, and the old name answers 307."""
        with self._store.lock:
            self._store.rename(old, new)

    def grant(self, name: str) -> None:
        """Give the account access to a gated model."""
        with self._store.lock:
            self._store.granted_keys.add(self._store.get(name).key)

    def record(self, name: str) -> dict[str, Any]:
        """Return all metadata of a model."""
        with self._store.lock:
            return self._store.get(name).read()

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """Return the files of a model by path; an unknown revision has none."""
        with self._store.lock:
            commit = self._store.history(self._store.get(name)).find(revision)
            return {path: blob.data for path, blob in commit.files.items()} if commit else {}

    def __contains__(self, name: object) -> bool:
        """Return whether there is a model with this name."""
        return name in self._store.repos

    def __len__(self) -> int:
        """Return the number of models."""
        return len(self._store.repos)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the models."""
        with self._store.lock:
            return iter(list(self._store.repos))

    @property
    def served(self) -> list[dict[str, Any]]:
        """The models of `/v1/models`, in the format of the inference router; change it in place."""
        return self._app.served

    @property
    def leaderboards(self) -> dict[str, list[dict[str, Any]]]:
        """The entries of `/api/datasets/{name}/leaderboard` by dataset; change it in place."""
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
        """Let a fault hit the next requests for which `when` holds.

        `skip` of them pass first, then `times` are hit (None: all of them). Of several faults that
        apply to a request, the one planned first hits it. The result counts its `hits`.
        """
        scheduled_fault = schedule(fault, when, times, skip)
        with self._store.lock:
            self._faults.append(scheduled_fault)
        return scheduled_fault

    def clear_faults(self) -> None:
        """Remove all faults."""
        with self._store.lock:
            self._faults.clear()

    heal = clear_faults  # the former name

    # --- the environment --------------------------------------------------------------------

    def environment(self, cache: Path | None = None) -> dict[str, str]:
        """Return the environment variables with which a new process uses this Hub.

        `cache` is a folder of its own for downloads. Uploads use plain LFS, because there is no Xet
        storage here.
        """
        return _environment_variables(self.url, self.token, cache)

    @contextmanager
    def patched(self, cache: Path | None = None) -> Iterator[LocalHub]:
        """Let this process use this Hub: set the environment and what was already read from it.

        Not for tests that run in parallel threads: a process has only one environment.
        """
        with _patch_environment(self.environment(cache)):
            yield self

    # --- responses --------------------------------------------------------------------------

    def _answer(self, request: FakeRequest) -> FakeResponse:
        """Answer a request to the Hub or to the inference router."""
        with self._store.lock:
            within_limit, headers = self._rate_limit.take(request.path)
        answer = self._app.answer if within_limit else rate_limited_response
        response = self._apply_faults(request, answer)
        return replace(response, headers={**headers, **response.headers})

    def _answer_storage(self, request: FakeRequest) -> FakeResponse:
        """Answer a request for LFS content; it has its own origin and neither quota nor token."""
        return self._apply_faults(request, self._app.answer_storage)

    def _apply_faults(
        self, request: FakeRequest, answer: Callable[[FakeRequest], FakeResponse]
    ) -> FakeResponse:
        """Log the request and answer it, with the first fault that hits it."""
        with self._store.lock:
            self.requests.append(replace(request, body=b""))
            fault = next((item.fault for item in self._faults if item.try_hit(request)), None)
        if fault is None:
            return self._answer_locked(request, answer)
        return fault(request, lambda: self._answer_locked(request, answer))

    def _answer_locked(
        self, request: FakeRequest, answer: Callable[[FakeRequest], FakeResponse]
    ) -> FakeResponse:
        with self._store.lock:
            return answer(request)


def _to_json(value: Any) -> Any:  # noqa: ANN401 - JSON may be anything
    return format_date(value) if isinstance(value, datetime) else value


def _read_blobs(files: Mapping[str, bytes | str] | Path | None) -> dict[str, Blob]:
    """Return the files by path; `/` separates folders."""
    if isinstance(files, Path):
        paths = (path for path in sorted(files.rglob("*")) if path.is_file())
        contents = {path.relative_to(files).as_posix(): path.read_bytes() for path in paths}
    else:
        given = (files or {}).items()
        contents = {p: data.encode() if isinstance(data, str) else data for p, data in given}
    return {path: Blob.from_bytes(path, data) for path, data in contents.items()}


def _file_metadata(files: Mapping[str, Blob]) -> dict[str, Any]:
    return {key: value for key, value in describe_files(files).items() if value}


def _environment_variables(url: str, token: str, cache: Path | None) -> dict[str, str]:
    """Return the environment for a Hub at `url`, which is reached without a proxy."""
    hosts = [os.environ.get("NO_PROXY") or os.environ.get("no_proxy", ""), "127.0.0.1,localhost"]
    no_proxy = ",".join(filter(None, hosts))
    variables = {
        "HF_ENDPOINT": url,
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }
    return variables if cache is None else {**variables, "HF_HUB_CACHE": str(cache)}


@contextmanager
def _patch_environment(env: Mapping[str, str]) -> Iterator[None]:
    """Set the variables, and their copies in modules that were imported before."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, env))
        for module, name, value in _stale_copies(env):
            stack.enter_context(mock.patch.object(module, name, value))
        api = getattr(sys.modules.get("huggingface_hub.hf_api"), "api", None)
        if api is not None:  # the object of `huggingface_hub.model_info` and other functions
            stack.enter_context(mock.patch.object(api, "endpoint", env["HF_ENDPOINT"]))
        yield


def _stale_copies(env: Mapping[str, str]) -> list[tuple[ModuleType, str, Any]]:
    """Return module, name and new value of each constant that came from the environment."""
    constants = _hub_constants(env)
    packages = ("huggingface_hub", "transformers")
    loaded_modules = list(sys.modules.items())
    modules = [module for name, module in loaded_modules if name.partition(".")[0] in packages]
    return [
        (module, name, value)
        for module in modules
        for name, value in constants.items()
        if name in vars(module)
    ]


def _hub_constants(env: Mapping[str, str]) -> dict[str, Any]:
    url = env["HF_ENDPOINT"]
    constants: dict[str, Any] = {
        "ENDPOINT": url,
        "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
    }
    cache_names = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE")
    if "HF_HUB_CACHE" in env:
        constants |= dict.fromkeys(cache_names, env["HF_HUB_CACHE"])
    return constants
