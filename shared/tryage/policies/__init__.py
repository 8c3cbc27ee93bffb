"""Policies that change decisions, and routers that are made of routers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.policies.answer_cache import AnswerCache as AnswerCache
    from tryage.policies.composite import CompositeRouter as CompositeRouter
    from tryage.policies.shadow import Shadow as Shadow
    from tryage.policies.similar_requests import SimilarRequests as SimilarRequests
    from tryage.policies.split import Split as Split
    from tryage.policies.threshold import Threshold as Threshold

_MODULES = {
    "AnswerCache": "tryage.policies.answer_cache",
    "CompositeRouter": "tryage.policies.composite",
    "Shadow": "tryage.policies.shadow",
    "SimilarRequests": "tryage.policies.similar_requests",
    "Split": "tryage.policies.split",
    "Threshold": "tryage.policies.threshold",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
