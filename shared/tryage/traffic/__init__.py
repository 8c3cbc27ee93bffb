"""What is remembered of calls and what came of them: the log, and the health of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.traffic.health import HealthRegistry as HealthRegistry
    from tryage.traffic.health import process_health as process_health
    from tryage.traffic.learner import Alarm as Alarm
    from tryage.traffic.learner import Learner as Learner
    from tryage.traffic.learning_report import LearningReport as LearningReport
    from tryage.traffic.records import DecisionRecord as DecisionRecord
    from tryage.traffic.records import Event as Event
    from tryage.traffic.records import Feedback as Feedback
    from tryage.traffic.records import LoggedFeedback as LoggedFeedback
    from tryage.traffic.records import Outcome as Outcome
    from tryage.traffic.records import Snapshot as Snapshot
    from tryage.traffic.sync import TrafficSync as TrafficSync
    from tryage.traffic.traffic import Traffic as Traffic
    from tryage.traffic.traffic import open_traffic as open_traffic

_MODULES = {
    "HealthRegistry": "tryage.traffic.health",
    "process_health": "tryage.traffic.health",
    "Alarm": "tryage.traffic.learner",
    "Learner": "tryage.traffic.learner",
    "LearningReport": "tryage.traffic.learning_report",
    "DecisionRecord": "tryage.traffic.records",
    "Event": "tryage.traffic.records",
    "Feedback": "tryage.traffic.records",
    "LoggedFeedback": "tryage.traffic.records",
    "Outcome": "tryage.traffic.records",
    "Snapshot": "tryage.traffic.records",
    "TrafficSync": "tryage.traffic.sync",
    "Traffic": "tryage.traffic.traffic",
    "open_traffic": "tryage.traffic.traffic",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
