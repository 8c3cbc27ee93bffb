"""A Hub on the loopback device, and what the tests in this room ask it with."""

from __future__ import annotations

import httpx
import pytest

from tryage.testing import LocalHub


@pytest.fixture
def hub():
    with LocalHub() as running:
        yield running


@pytest.fixture
def ask(hub):
    """Ask without following redirects, as the account of the Hub."""
    headers = {"Authorization": f"Bearer {hub.token}"}
    with httpx.Client(base_url=hub.url, headers=headers, trust_env=False) as client:
        yield client


@pytest.fixture
def stranger(hub):
    """Ask without a token."""
    with httpx.Client(base_url=hub.url, trust_env=False) as client:
        yield client
