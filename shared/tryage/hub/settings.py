"""Where the Hub is, who asks, and how long to wait for it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tryage.errors import HubAccessError, InputError

DEFAULT_ENDPOINT = "https://huggingface.co"

DEFAULT_INFERENCE_ENDPOINT = "https://router.huggingface.co"

TRUE_VALUES = frozenset({"1", "ON", "YES", "TRUE"})  # what huggingface_hub takes for true


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Where the Hub is, who asks, and how long to wait for it.

    `endpoint` answers for repositories, `inference` for the models that providers serve; the
    token is sent to `endpoint` alone. `timeout`: seconds for one answer; `retries`: further
    attempts after the first; `max_wait`: the most seconds to wait for quota before giving up.

    Raises:
        InputError: an address that is not http(s) or holds a password, a token that no header can
            carry, or a number out of range.
    """

    endpoint: str = DEFAULT_ENDPOINT
    inference: str = DEFAULT_INFERENCE_ENDPOINT
    token: str | None = field(default=None, repr=False)
    timeout: float = 30.0
    retries: int = 5
    max_wait: float = 600.0
    offline: bool = False

    def __post_init__(self) -> None:
        """Check every field; addresses lose their last slash, an empty token is none."""
        object.__setattr__(self, "endpoint", _check_url("endpoint", self.endpoint))
        object.__setattr__(self, "inference", _check_url("inference", self.inference))
        object.__setattr__(self, "token", _check_token(self.token))
        if not 0 < self.timeout < float("inf"):
            raise InputError(f"timeout must be a positive number of seconds, got {self.timeout!r}.")
        if not isinstance(self.retries, int) or self.retries < 0:
            raise InputError(f"retries must be a whole number from 0, got {self.retries!r}.")
        if not self.max_wait >= 0:
            raise InputError(f"max_wait must be seconds from 0, got {self.max_wait!r}.")

    @classmethod
    def from_environment(cls) -> HubSettings:
        """Read the environment as it is now, with the names that huggingface_hub knows.

        `TRYAGE_HUB_INFERENCE` is `inference`, for which huggingface_hub has no name: its
        `HF_INFERENCE_ENDPOINT` means an older service, without `/v1/models`. The others are
        `HF_ENDPOINT`, `HF_HUB_OFFLINE` (or `TRANSFORMERS_OFFLINE`), and the token of
        `huggingface_hub.get_token()`, which finds `HF_TOKEN` and what `hf auth login` stored;
        `HF_HUB_DISABLE_IMPLICIT_TOKEN` leaves it out. Offline no token is looked for, because
        renewing one may ask the network.

        Raises:
            InputError: a variable holds what is no address or no token.
            HubAccessError: huggingface_hub found a token and could not renew it.
        """
        offline = _env_flag("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
        silent = offline or _env_flag("HF_HUB_DISABLE_IMPLICIT_TOKEN")
        return cls(
            endpoint=os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT,
            inference=os.environ.get("TRYAGE_HUB_INFERENCE") or DEFAULT_INFERENCE_ENDPOINT,
            token=None if silent else _cached_token(),
            offline=offline,
        )


def _env_flag(*names: str) -> bool:
    """Read the first variable that is set and not empty."""
    value = next((value for name in names if (value := os.environ.get(name))), "")
    return value.upper() in TRUE_VALUES


def _cached_token() -> str | None:
    from huggingface_hub import get_token

    try:
        return get_token()
    except Exception as error:  # noqa: BLE001 - its errors differ between 0.x, 1.x and 2.x
        raise HubAccessError(
            f"huggingface_hub could not give its token ({type(error).__name__}). Log in again with "
            "`hf auth login`, or set HF_TOKEN."
        ) from None  # the cause may quote the token


def _check_url(name: str, value: object) -> str:
    """Return an address without its last slash."""
    parts = urlsplit(value.strip()) if isinstance(value, str) else urlsplit("")
    if parts.password or parts.username:
        raise InputError(f"{name} must not hold a user or a password; give the token by itself.")
    try:
        valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number
        valid = False
    if not valid or parts.query or parts.fragment:
        raise InputError(
            f"{name} must be an address such as {DEFAULT_ENDPOINT!r}, got {value!r:.80}."
        )
    return parts.geturl().rstrip("/")


def _check_token(value: object) -> str | None:
    """Return the token without the white space around it; the message never shows it."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f"token must be a string or None, got {type(value).__name__}.")
    clean = value.strip()
    if not all("!" <= letter <= "~" for letter in clean):
        raise InputError("token holds letters that no token has; copy it again from your account.")
    return clean or None
