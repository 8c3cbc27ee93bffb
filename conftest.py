"""The browser and the token of Ray for tests, wherever they stand; all else is in tests/."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# All sessions of Ray have this token. Otherwise each process writes one into the home folder and
# keeps what it wrote, which another process, or a test with a home of its own, replaces.
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

_INSTALLED = ("chromium", "chromium-browser", "google-chrome")

_OWN = Path(__file__).parent / ".debian" / "bin" / "chromium"


def browser_path() -> str | None:
    """Return a Chromium: named, installed, or that of `.ci/debian`; None without any."""
    named = os.environ.get("TRYAGE_BROWSER")
    found = named or next(filter(None, map(shutil.which, _INSTALLED)), None)
    return found or (str(_OWN) if _OWN.exists() else None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Yield a headless Chromium, one for all tests of a file.

    While it runs, its event loop counts as that of the thread, so that tests of other files could
    not start theirs.
    """
    playwright = pytest.importorskip("playwright.sync_api")
    path = browser_path()
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("There is no Chromium: run .ci/debian chromium.")
        pytest.skip("there is no Chromium; run .ci/debian chromium")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=path)
        yield chromium
        chromium.close()
