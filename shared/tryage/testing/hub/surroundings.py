"""How a process finds a Hub: variables, and what `huggingface_hub` read from them."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


def variables(url: str, token: str, cache: Path | None) -> dict[str, str]:
    """Return the environment for a Hub at `url`; proxies must not see the loopback device."""
    around = [os.environ.get("NO_PROXY") or os.environ.get("no_proxy", ""), "127.0.0.1"]
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
    """Set the variables, and the constants of a `huggingface_hub` that is imported already."""
    with ExitStack() as undo:
        undo.enter_context(mock.patch.dict(os.environ, told))
        constants = sys.modules.get("huggingface_hub.constants")
        for name, value in _constants(told).items():
            if hasattr(constants, name):
                undo.enter_context(mock.patch.object(constants, name, value))
        api = getattr(sys.modules.get("huggingface_hub.hf_api"), "api", None)
        if api is not None:  # the one behind `huggingface_hub.model_info` and its like
            undo.enter_context(mock.patch.object(api, "endpoint", told["HF_ENDPOINT"]))
        yield


def _constants(told: Mapping[str, str]) -> dict[str, Any]:
    url = told["HF_ENDPOINT"]
    found: dict[str, Any] = {
        "ENDPOINT": url,
        "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
    }
    return {**found, "HF_HUB_CACHE": told["HF_HUB_CACHE"]} if "HF_HUB_CACHE" in told else found
