"""What a `LocalHub` holds, as a test puts it in and looks at it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tryage.testing.hub.card import describe
from tryage.testing.hub.history import Blob
from tryage.testing.hub.shelf import Shelf, write_date

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


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


def _wire(value: Any) -> Any:  # noqa: ANN401 - JSON may be anything
    return write_date(value) if isinstance(value, datetime) else value


def _contents(files: Mapping[str, bytes | str] | Path | None) -> dict[str, bytes]:
    """Return contents by path, with / between folders."""
    if isinstance(files, Path):
        found = (path for path in sorted(files.rglob("*")) if path.is_file())
        return {path.relative_to(files).as_posix(): path.read_bytes() for path in found}
    given = files or {}
    return {p: data.encode() if isinstance(data, str) else data for p, data in given.items()}
