"""Reading the Hub: a raw record becomes facts, each with its source, and facts an expert."""

from __future__ import annotations

from tryage.hub.facts.expert import to_expert
from tryage.hub.facts.fact import Fact
from tryage.hub.facts.lineage import inherit
from tryage.hub.facts.model import Base, Model
from tryage.hub.facts.reading import read_model
from tryage.hub.facts.serving import read_served, with_served

__all__ = [
    "Base",
    "Fact",
    "Model",
    "inherit",
    "read_model",
    "read_served",
    "to_expert",
    "with_served",
]
