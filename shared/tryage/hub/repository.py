"""A folder as a Hub repository: up by `HfApi`, down by `snapshot_download`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)

from tryage.errors import PersistenceError

if TYPE_CHECKING:
    from collections.abc import Callable

ALLOWED_PATTERNS = (
    "*.json",
    "*.safetensors",
    "*.onnx",
    "*.md",
)  # nothing that runs code is ever fetched


def push_folder(  # noqa: PLR0913 - what people know from every push_to_hub
    write_folder: Callable[[Path], None],
    repo_id: str,
    *,
    token: str | bool | None = None,
    private: bool | None = None,
    branch: str | None = None,
    commit_message: str = "Add a router",
    **options: Any,  # noqa: ANN401 - what upload_folder takes
) -> str:
    """Let `write` fill a folder, upload it in one commit, and return the commit's address.

    The repository is made unless it exists. ModelHubMixin would write down constructor arguments,
    secrets among them, and its 0.x needs torch.

    Raises:
        PersistenceError: the Hub refuses or does not answer.
    """
    with TemporaryDirectory() as folder:
        write_folder(Path(folder))
        try:
            api = HfApi(token=token)
            repo = api.create_repo(repo_id=repo_id, private=private, exist_ok=True).repo_id
            commit = api.upload_folder(
                repo_id=repo,
                folder_path=Path(folder),
                commit_message=commit_message,
                revision=branch,
                **options,
            )
        except TypeError:  # an option that nobody knows
            raise
        except Exception as error:  # 0.x, 1.x and 2.x each raise the errors of another transport
            raise PersistenceError(
                f"{repo_id!r} was not pushed to the Hub: {error}. Check the name, and that the "
                "token may write there."
            ) from error
    return str(commit.commit_url)  # the commit itself is a text that 0.x fills differently


def download_folder(repo_id: str, **options: Any) -> Path:  # noqa: ANN401 - what snapshot_download takes
    """Fetch a repository, or find it in the cache when there is no network.

    Raises:
        PersistenceError: it is neither on the Hub nor in the cache, or the name is no repository.
    """
    try:
        return Path(snapshot_download(repo_id, allow_patterns=list(ALLOWED_PATTERNS), **options))
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
