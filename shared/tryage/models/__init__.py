"""What each model is that can be called: its names, and facts with source, date and confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.models.lookup import canonical_name as canonical_name
    from tryage.models.lookup import look_up as look_up
    from tryage.models.lookup import to_expert as to_expert
    from tryage.models.names import ModelName as ModelName
    from tryage.models.names import parse_model_name as parse_model_name
    from tryage.models.refresh import current_snapshot as current_snapshot
    from tryage.models.refresh import update_snapshot as update_snapshot
    from tryage.models.snapshot import KnownModel as KnownModel
    from tryage.models.snapshot import ModelFact as ModelFact
    from tryage.models.snapshot import ModelSnapshot as ModelSnapshot

_MODULES = {
    "KnownModel": "tryage.models.snapshot",
    "ModelFact": "tryage.models.snapshot",
    "ModelName": "tryage.models.names",
    "ModelSnapshot": "tryage.models.snapshot",
    "canonical_name": "tryage.models.lookup",
    "current_snapshot": "tryage.models.refresh",
    "look_up": "tryage.models.lookup",
    "parse_model_name": "tryage.models.names",
    "to_expert": "tryage.models.lookup",
    "update_snapshot": "tryage.models.refresh",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
