"""Asking the Hub: one protocol without I/O, and two clients that drive it."""

from __future__ import annotations

from tryage.hub.client.loop import AsyncHubClient
from tryage.hub.client.settings import HubSettings
from tryage.hub.client.threads import HubClient

__all__ = ["AsyncHubClient", "HubClient", "HubSettings"]
