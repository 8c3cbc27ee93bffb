"""The only package that talks to the Hugging Face Hub: its client, its facts, a local catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.hub.candidates import load_library as load_library
    from tryage.hub.catalog import Catalogue as Catalogue
    from tryage.hub.catalog_query import Query as Query
    from tryage.hub.catalog_sync import SyncReport as SyncReport
    from tryage.hub.catalog_sync import sync as sync
    from tryage.hub.client import HubClient as HubClient
    from tryage.hub.lineage import inherit as inherit
    from tryage.hub.model import BaseModelRef as BaseModelRef
    from tryage.hub.model import Fact as Fact
    from tryage.hub.model import Model as Model
    from tryage.hub.model import to_expert as to_expert
    from tryage.hub.parse import parse_model as parse_model
    from tryage.hub.providers import parse_served as parse_served
    from tryage.hub.providers import with_served as with_served
    from tryage.hub.settings import HubSettings as HubSettings

_MODULES = {
    "BaseModelRef": "tryage.hub.model",
    "Catalogue": "tryage.hub.catalog",
    "Fact": "tryage.hub.model",
    "HubClient": "tryage.hub.client",
    "HubSettings": "tryage.hub.settings",
    "Model": "tryage.hub.model",
    "Query": "tryage.hub.catalog_query",
    "SyncReport": "tryage.hub.catalog_sync",
    "inherit": "tryage.hub.lineage",
    "load_library": "tryage.hub.candidates",
    "parse_model": "tryage.hub.parse",
    "parse_served": "tryage.hub.providers",
    "sync": "tryage.hub.catalog_sync",
    "to_expert": "tryage.hub.model",
    "with_served": "tryage.hub.providers",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
