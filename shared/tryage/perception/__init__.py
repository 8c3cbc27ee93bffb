"""Predicts the loss of every expert from the prompt alone; inference only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.core.perception import Perception as Perception
    from tryage.perception.encoder import Encoder as Encoder
    from tryage.perception.encoder import StaticEncoder as StaticEncoder
    from tryage.perception.hidden_state import HiddenStateEncoder as HiddenStateEncoder
    from tryage.perception.model import LearnedPerception as LearnedPerception
    from tryage.perception.persistence import load_encoder as load_encoder

_MODULES = {
    "Encoder": "tryage.perception.encoder",
    "HiddenStateEncoder": "tryage.perception.hidden_state",
    "LearnedPerception": "tryage.perception.model",
    "Perception": "tryage.core.perception",
    "StaticEncoder": "tryage.perception.encoder",
    "load_encoder": "tryage.perception.persistence",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
