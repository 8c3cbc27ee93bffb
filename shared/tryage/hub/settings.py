"""`HubSettings`: endpoint, token, waiting and offline; given, or read from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tryage.core.validation import check_integer
from tryage.errors import HubAccessError, InputError

DEFAULT_ENDPOINT = "https://huggingface.co"

DEFAULT_INFERENCE_ENDPOINT = "https://router.huggingface.co"

TRUE_VALUES = frozenset({"1", "ON", "YES", "TRUE"})  # as huggingface_hub reads its variables


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Where the Hub is, which token to send, and how long to wait for answers.

    Args:
        endpoint: The address for repositories; the token is sent to this host alone.
        inference: The address for the models that inference providers serve.
        token: A token of the Hub, or None.
        timeout: Seconds for one answer.
        retries: Attempts after the first.
        max_wait: The longest wait for quota in seconds.
        offline: Send nothing at all.

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
        """Check every field; addresses lose their last slash, an empty token becomes None."""
        object.__setattr__(self, "endpoint", _check_url("endpoint", self.endpoint))
        object.__setattr__(self, "inference", _check_url("inference", self.inference))
        object.__setattr__(self, "token", _check_token(self.token))
        if not 0 < self.timeout < float("inf"):
            raise InputError(f"timeout must be a positive number of seconds, got {self.timeout!r}.")
        check_integer("retries", self.retries)
        if not self.max_wait >= 0:
            raise InputError(f"max_wait must be seconds from 0, got {self.max_wait!r}.")

    @classmethod
    def from_environment(cls) -> HubSettings:
        """Read the environment as it is now, under the names of huggingface_hub.

        These are `HF_ENDPOINT`, `HF_HUB_OFFLINE` (or `TRANSFORMERS_OFFLINE`), and the token of
        `huggingface_hub.get_token()`, which finds `HF_TOKEN` and what `hf auth login` stored;
        `HF_HUB_DISABLE_IMPLICIT_TOKEN` leaves the token out. Offline the token is not read either,
        because renewing one may use the network.

        `TRYAGE_HUB_INFERENCE` sets `inference`. huggingface_hub has no name for it: its
        `HF_INFERENCE_ENDPOINT` means an older service without `/v1/models`.

        Raises:
            InputError: a variable holds an invalid address or token.
            HubAccessError: huggingface_hub found a token and could not renew it.
        """
        offline = _env_flag("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
        without_token = offline or _env_flag("HF_HUB_DISABLE_IMPLICIT_TOKEN")
        return cls(
            endpoint=os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT,
            inference=os.environ.get("TRYAGE_HUB_INFERENCE") or DEFAULT_INFERENCE_ENDPOINT,
            token=None if without_token else _cached_token(),
            offline=offline,
        )


def _env_flag(*names: str) -> bool:
    """Return whether the first variable that is set and not empty means true."""
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
        is_valid = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # the port is not a number
        is_valid = False
    if not is_valid or parts.query or parts.fragment:
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
    token = value.strip()
    if not all("!" <= letter <= "~" for letter in token):
        raise InputError("token holds letters that no token has; copy it again from your account.")
    return token or None
