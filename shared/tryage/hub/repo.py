"""A folder as a Hub repository: up by `push_to_hub`, down by `snapshot_download`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import ModelHubMixin, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)

from tryage.errors import PersistenceError

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = ("*.json", "*.safetensors", "*.onnx", "*.md")  # nothing that runs code is ever fetched


class Repo(ModelHubMixin):
    """Lends `push_to_hub` to whatever can write itself to a folder.

    The mixin writes down the arguments of its own constructor, which here is one function; so the
    arguments of a router's constructor, secrets among them, never reach a file.
    """

    def __init__(self, write: Callable[[Path], None]) -> None:
        self._write = write

    def _save_pretrained(self, save_directory: Path) -> None:
        self._write(save_directory)


def download(repo_id: str, **options: Any) -> Path:  # noqa: ANN401 - what snapshot_download takes
    """Fetch a repository, or find it in the cache when there is no network.

    Raises:
        PersistenceError: it is neither on the Hub nor in the cache, or the name is no repository.
    """
    try:
        return Path(snapshot_download(repo_id, allow_patterns=list(FILES), **options))
    except (
        HFValidationError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    ) as error:
        raise PersistenceError(
            f"{repo_id!r} is neither a folder with a router nor a repository that can be fetched: "
            f"{error}"
        ) from error
