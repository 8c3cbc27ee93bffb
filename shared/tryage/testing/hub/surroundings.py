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
    from types import ModuleType


def variables(url: str, token: str, cache: Path | None) -> dict[str, str]:
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
def patched(told: Mapping[str, str]) -> Iterator[None]:
    """Set the variables, and what is imported already and read the old ones."""
    with ExitStack() as undo:
        undo.enter_context(mock.patch.dict(os.environ, told))
        for holder, name, value in _copies(told):
            undo.enter_context(mock.patch.object(holder, name, value))
        api = getattr(sys.modules.get("huggingface_hub.hf_api"), "api", None)
        if api is not None:  # the one behind `huggingface_hub.model_info` and its like
            undo.enter_context(mock.patch.object(api, "endpoint", told["HF_ENDPOINT"]))
        yield


def _copies(told: Mapping[str, str]) -> list[tuple[ModuleType, str, Any]]:
    """Return where loaded modules keep what they read from the environment, by their names."""
    known = _constants(told)
    roots = ("huggingface_hub", "transformers")
    modules = [m for n, m in list(sys.modules.items()) if n.partition(".")[0] in roots]
    return [
        (module, name, value)
        for module in modules
        for name, value in known.items()
        if name in vars(module)
    ]


def _constants(told: Mapping[str, str]) -> dict[str, Any]:
    url = told["HF_ENDPOINT"]
    found: dict[str, Any] = {
        "ENDPOINT": url,
        "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
    }
    caches = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE")
    if "HF_HUB_CACHE" in told:
        found |= dict.fromkeys(caches, told["HF_HUB_CACHE"])
    return found
