"""A Hub on the loopback device, and clients for it."""

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
    """Return a client with the token of the account; it does not follow redirects."""
    headers = {"Authorization": f"Bearer {hub.token}"}
    with httpx.Client(base_url=hub.url, headers=headers, trust_env=False) as client:
        yield client


@pytest.fixture
def anonymous(hub):
    """Return a client without a token."""
    with httpx.Client(base_url=hub.url, trust_env=False) as client:
        yield client


@pytest.fixture
def walk():
    """Return a function that iterates over the items of a listing, page by page."""

    def run(client, target="/api/models", **params):
        reply = client.get(target, params=params or None)
        while True:
            assert reply.status_code == 200, reply.text
            yield from reply.json()
            if "next" not in reply.links:
                return
            reply = client.get(reply.links["next"]["url"])

    return run


@pytest.fixture
def names(walk):
    """Return a function that lists the names of the models of a listing."""

    def run(client, **params):
        return [item["id"] for item in walk(client, **params)]

    return run
