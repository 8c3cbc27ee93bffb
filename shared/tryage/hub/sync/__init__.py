"""Keeping up with the Hub: a sync that can be stopped at any moment and goes on."""

from __future__ import annotations

from tryage.hub.sync.syncing import Summary, sync

__all__ = ["Summary", "sync"]
