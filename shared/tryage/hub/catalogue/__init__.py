"""Keeping what the Hub says: a file of models that is read while it is written."""

from __future__ import annotations

from tryage.hub.catalogue.keeping import Catalogue
from tryage.hub.catalogue.query import Query

__all__ = ["Catalogue", "Query"]
