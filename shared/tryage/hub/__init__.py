"""What the Hugging Face Hub knows: the only package that talks to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.hub.async_client import AsyncHubClient as AsyncHubClient
    from tryage.hub.candidates import supply as supply
    from tryage.hub.catalog import Catalogue as Catalogue
    from tryage.hub.catalog_query import Query as Query
    from tryage.hub.catalog_sync import Summary as Summary
    from tryage.hub.catalog_sync import sync as sync
    from tryage.hub.client import HubClient as HubClient
    from tryage.hub.lineage import inherit as inherit
    from tryage.hub.model import Base as Base
    from tryage.hub.model import Fact as Fact
    from tryage.hub.model import Model as Model
    from tryage.hub.model import to_expert as to_expert
    from tryage.hub.parse import read_model as read_model
    from tryage.hub.providers import read_served as read_served
    from tryage.hub.providers import with_served as with_served
    from tryage.hub.settings import HubSettings as HubSettings

_MODULES = {
    "AsyncHubClient": "tryage.hub.async_client",
    "Base": "tryage.hub.model",
    "Catalogue": "tryage.hub.catalog",
    "Fact": "tryage.hub.model",
    "HubClient": "tryage.hub.client",
    "HubSettings": "tryage.hub.settings",
    "Model": "tryage.hub.model",
    "Query": "tryage.hub.catalog_query",
    "Summary": "tryage.hub.catalog_sync",
    "inherit": "tryage.hub.lineage",
    "read_model": "tryage.hub.parse",
    "read_served": "tryage.hub.providers",
    "supply": "tryage.hub.candidates",
    "sync": "tryage.hub.catalog_sync",
    "to_expert": "tryage.hub.model",
    "with_served": "tryage.hub.providers",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
