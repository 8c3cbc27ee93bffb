"""Which snapshot of models is used, and how a newer one takes its place."""

from __future__ import annotations

import datetime
import logging
import os
import time
import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tryage.core.redaction import describe_error
from tryage.errors import CatalogueError, InputError
from tryage.files import home_folder, replace_file
from tryage.models.hosts import is_local
from tryage.models.snapshot import ModelSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

BUNDLED_SNAPSHOT = Path(__file__).with_name("snapshot.json.gz")

_MAX_FILE_BYTES = 8 * 2**20

_TIMEOUT = 30.0  # seconds, for each part of the answer

_MAX_SECONDS = 120.0  # for the whole of it

_OLD_DAYS = 90

_MAX_DAYS_AHEAD = 30  # of a snapshot before the clock of this machine

_log = logging.getLogger(__name__)

_OFFLINE_VALUES = frozenset({"1", "ON", "YES", "TRUE"})  # as huggingface_hub reads HF_HUB_OFFLINE


def snapshot_path() -> Path:
    """Return where a refreshed snapshot is kept: `models.json.gz` in the folder of Tryage."""
    return home_folder() / "models.json.gz"


def current_snapshot() -> ModelSnapshot:
    """Return the newer one of the refreshed snapshot and the one in the package.

    A refreshed one that cannot be read causes a warning, and the one in the package is used. Facts
    that are older than 90 days are announced in the log, once.
    """
    snapshot = _newest_snapshot()
    _announce_age(snapshot.made)
    return snapshot


def _newest_snapshot() -> ModelSnapshot:
    bundled = _load_bundled()
    path = snapshot_path()
    try:
        status = path.stat()
    except OSError:
        return bundled
    refreshed = _load_refreshed(path, status.st_mtime_ns, status.st_size)
    return bundled if refreshed is None or refreshed.made < bundled.made else refreshed


@lru_cache(maxsize=4)
def _announce_age(made: datetime.date) -> None:
    """Log how old the facts are if prices may have changed since."""
    days = (_today() - made).days
    if days > _OLD_DAYS:
        _log.warning(
            "The facts about models (prices, limits, dates) are of %s, %d days old. Renew them: "
            "`tryage models update URL|FILE`, or a newer version of Tryage.",
            made,
            days,
        )


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.timezone.utc).date()


@lru_cache(maxsize=1)
def _load_bundled() -> ModelSnapshot:
    return ModelSnapshot.from_bytes(BUNDLED_SNAPSHOT.read_bytes())


@lru_cache(maxsize=1)
def _load_refreshed(path: Path, modified: int, size: int) -> ModelSnapshot | None:  # noqa: ARG001 - two parts of the cache's key
    try:
        return ModelSnapshot.from_bytes(_read_file(path), check=True)
    except CatalogueError as error:
        warnings.warn(f"{path} is not used, but the package's snapshot: {error}", stacklevel=3)
        return None


def update_snapshot(
    source: str, fetch: Callable[[str], bytes] | None = None
) -> tuple[ModelSnapshot, bool]:
    """Replace the refreshed snapshot with that of a URL or a file.

    Everything is checked before anything is replaced; a stop at any moment leaves the old one.

    Args:
        source: The address of a snapshot (https, or http on this machine), or its path.
        fetch: Returns the bytes at an address; with httpx by default.

    Returns:
        The snapshot, and whether it is new here.

    Raises:
        InputError: the address has another scheme, or holds a password; or the path is none.
        CatalogueError: it cannot be fetched, is damaged, is older than the one in use, or is of a
            day to come; or the file cannot be written.
    """
    data = (fetch or _fetch)(source) if "://" in source else _read_file(_as_path(source))
    snapshot, current = ModelSnapshot.from_bytes(data, check=True), _newest_snapshot()
    place = _without_query(source) if "://" in source else source
    if (snapshot.made - max(_today(), current.made)).days > _MAX_DAYS_AHEAD:
        raise CatalogueError(
            f"The snapshot at {place} is of {snapshot.made}, which is to come: it would keep out "
            "all later ones. Nothing was replaced."
        )
    if snapshot.made < current.made:
        raise CatalogueError(
            f"The snapshot at {place} is of {snapshot.made}, older than the one in use, which is "
            f"of {current.made}. Nothing was replaced."
        )
    path = snapshot_path()
    is_new = not path.is_file() or _read_file(path) != data
    if is_new:
        _write(path, data)
    return snapshot, is_new


def describe_age(snapshot: ModelSnapshot, today: datetime.date | None = None) -> str:
    """Return how old a snapshot is, for people: "of 2026-11-20, 8 days old"."""
    days = snapshot.age(today or _today())
    return f"of {snapshot.made}, {days} day{'' if days == 1 else 's'} old"


# --- bytes ------------------------------------------------------------------------------------


def _as_path(source: str) -> Path:
    """Return the path of a file.

    Raises:
        InputError: it names the home of a user that does not exist.
    """
    try:
        return Path(source).expanduser()
    except RuntimeError as error:
        raise InputError(f"{source!r:.80} is no path: {error}") from error


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CatalogueError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:  # a zero byte in the path
        raise InputError(f"{str(path)!r:.80} is no path: {error}.") from error
    return _within_limit(data, str(path))


def _write(path: Path, data: bytes) -> None:
    try:
        with replace_file(path) as partial_path:
            partial_path.write_bytes(data)
    except OSError as error:
        raise CatalogueError(
            f"{path} cannot be written ({error.strerror or error}), and is unchanged. Choose "
            "another folder with TRYAGE_HOME."
        ) from error


def _within_limit(data: bytes, place: str) -> bytes:
    if len(data) > _MAX_FILE_BYTES:
        raise CatalogueError(f"{place} is larger than {_MAX_FILE_BYTES >> 20} MB: no snapshot.")
    return data


def _fetch(url: str) -> bytes:
    """Return the bytes at an address."""
    _check_url(url)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _OFFLINE_VALUES and not is_local(None, url):
        raise CatalogueError(
            "Nothing was fetched, because HF_HUB_OFFLINE is set. Unset it, or give a file."
        )
    import httpx

    client = httpx.Client(
        headers={"Accept-Encoding": "identity"},  # the file is compressed already
        timeout=_TIMEOUT,
        follow_redirects=True,
        event_hooks={"request": [lambda request: _check_url(str(request.url))]},  # redirects, too
    )
    try:
        with client, client.stream("GET", url) as response:
            response.raise_for_status()
            return _read_stream(response, url)
    except httpx.HTTPStatusError as error:
        reason = f"status {error.response.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = describe_error(error)
    # Outside of `except`: httpx's errors have the whole address, whose query may be a credential.
    raise CatalogueError(f"{urlsplit(url).hostname} gave no snapshot ({reason}).")


def _read_stream(response: httpx.Response, url: str) -> bytes:
    data, end = b"", time.monotonic() + _MAX_SECONDS
    for chunk in response.iter_raw():
        data = _within_limit(data + chunk, _without_query(url))
        if time.monotonic() > end:
            raise CatalogueError(
                f"{urlsplit(url).hostname} gave no snapshot in {_MAX_SECONDS:.0f} seconds."
            )
    return data


def _without_query(url: str) -> str:
    """Return an address for a message: a query may be a signature, which opens what it signs."""
    return url.partition("?")[0]


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InputError(f"The address cannot be read: {error}.") from error
    if parts.username or parts.password:
        raise InputError("The address must not hold a user or a password.")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local(None, url)):
        raise InputError(
            f"The address {_without_query(url)!r:.80} must begin with https://, or with http:// on "
            "this machine: prices that come over an open connection can be forged."
        )
