"""Upload and download of folders as Hub repositories, through huggingface_hub."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi, get_token, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)

from tryage.core.redaction import redacted_error
from tryage.core.validation import check_keywords
from tryage.errors import PersistenceError
from tryage.files import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Nothing that runs code is ever downloaded.
ALLOWED_PATTERNS = ("*.json", "*.safetensors", "*.onnx", "*.md")

# Arguments that are set here, have another name here, or change what is returned.
_FIXED_ARGUMENTS = {
    *("self", "repo_id", "folder_path", "revision", "commit_message"),
    *("allow_patterns", "dry_run", "run_as_future"),
}
_FOLDER_PREFIX = "tryage-push-"

_PUSH_ARGUMENTS = ("token", "private", "branch", "commit_message")


def check_push_options(given: Iterable[str]) -> None:
    """Raise unless `push_folder` takes these options.

    Raises:
        InputError: an unknown one; the message names the nearest.
    """
    options = set(inspect.signature(HfApi.upload_folder).parameters) - _FIXED_ARGUMENTS
    check_keywords("push_to_hub", given, (*_PUSH_ARGUMENTS, *sorted(options)))


def check_download_options(given: Iterable[str], others: Iterable[str] = ()) -> None:
    """Raise unless `download_folder` takes these options; `others` may be meant instead.

    Raises:
        InputError: an unknown one; the message names the nearest.
    """
    options = set(inspect.signature(snapshot_download).parameters) - _FIXED_ARGUMENTS
    check_keywords("from_pretrained", given, ("revision", *others, *sorted(options)))


def push_folder(  # noqa: PLR0913 - the usual arguments of a push_to_hub
    write_folder: Callable[[Path], None],
    repo_id: str,
    *,
    token: str | bool | None = None,
    private: bool | None = None,
    branch: str | None = None,
    commit_message: str = "Add a router",
    **options: Any,  # noqa: ANN401 - the arguments of upload_folder
) -> str:
    """Let `write_folder` fill a folder, upload it in one commit, and return the commit's address.

    The repository is created if it does not exist. `ModelHubMixin` is not used: it would write down
    constructor arguments, secrets among them, and in huggingface_hub 0.x it needs torch.

    Raises:
        InputError: an unknown option.
        PersistenceError: the Hub refuses or does not answer.
        FileWriteError: there is no folder for temporary files that can be written.
    """
    check_push_options(options)
    with scratch_folder(_FOLDER_PREFIX) as folder:
        write_folder(folder)
        try:
            return _upload(
                folder,
                repo_id,
                token,
                private,
                branch,
                commit_message=commit_message,
                **options,
            )
        except TypeError:  # an unknown option
            raise
        except Exception as error:  # noqa: BLE001 - 0.x, 1.x and 2.x raise those of other transports
            failure = redacted_error(error, _text_of(token))
    # Outside of `except`, where Python would add the original error, with what a proxy echoes.
    raise PersistenceError(
        f"{repo_id!r} was not pushed to the Hub: {failure}. Check the name, and that the token may "
        "write there."
    ) from failure


def hide_progress_bars() -> None:
    """Show no progress bars of downloads and uploads in this process."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()


def download_folder(repo_id: str, **options: Any) -> Path:  # noqa: ANN401 - the arguments of snapshot_download
    """Download a repository and return its folder; without a network, the folder in the cache.

    Raises:
        PersistenceError: it is neither on the Hub nor in the cache, or the name is invalid.
    """
    try:
        return Path(snapshot_download(repo_id, allow_patterns=list(ALLOWED_PATTERNS), **options))
    except (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    ) as error:
        failure = redacted_error(error, _text_of(options.get("token")))
    raise PersistenceError(
        f"{repo_id!r} is neither a folder with a router nor a repository that can be fetched: "
        f"{failure}"
    ) from failure


def _upload(
    folder: Path,
    repo_id: str,
    token: str | bool | None,
    private: bool | None,
    branch: str | None,
    **options: Any,  # noqa: ANN401 - the arguments of upload_folder
) -> str:
    """Create the repository if there is none, upload a folder in one commit, return its address."""
    api = HfApi(token=token)
    repo = api.create_repo(repo_id=repo_id, private=private, exist_ok=True).repo_id
    commit = api.upload_folder(repo_id=repo, folder_path=folder, revision=branch, **options)
    return str(commit.commit_url)  # the commit itself is a string that differs in 0.x


def _text_of(token: object) -> str | None:
    """Return the token that is sent, so that no error shows it, whatever it looks like."""
    return token if isinstance(token, str) else get_token()
