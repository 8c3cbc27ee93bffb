"""Co-training: small language models that learn, alone or together with their router."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.learning.cotraining.loop import History as History
    from tryage.learning.cotraining.loop import Settings as Settings
    from tryage.learning.cotraining.loop import cotrain as cotrain
    from tryage.learning.cotraining.modes import AtRandom as AtRandom
    from tryage.learning.cotraining.modes import ByLabel as ByLabel
    from tryage.learning.cotraining.modes import Decoupled as Decoupled
    from tryage.learning.cotraining.modes import Joint as Joint
    from tryage.learning.cotraining.pipeline import Parts as Parts
    from tryage.learning.cotraining.pipeline import System as System
    from tryage.learning.cotraining.pipeline import develop as develop
    from tryage.learning.cotraining.pipeline import router_among as router_among
    from tryage.learning.cotraining.pipeline import split as split
    from tryage.learning.cotraining.pipeline import weighted as weighted
    from tryage.learning.cotraining.pretrain import train as train
    from tryage.learning.cotraining.pretrain import train_tokenizer as train_tokenizer
    from tryage.learning.cotraining.protocols import Learner as Learner
    from tryage.learning.cotraining.protocols import Mode as Mode
    from tryage.learning.cotraining.protocols import Pool as Pool
    from tryage.learning.cotraining.protocols import read_pool as read_pool
    from tryage.learning.cotraining.specialization import Specialisation as Specialisation
    from tryage.learning.cotraining.specialization import measured as measured
    from tryage.learning.cotraining.specialization import plot_specialisation as plot_specialisation
    from tryage.learning.cotraining.specialization import specialisation as specialisation
    from tryage.learning.cotraining.student import CausalStudent as CausalStudent
    from tryage.learning.cotraining.student import MaskedStudent as MaskedStudent
    from tryage.learning.cotraining.student import Student as Student

_MODULES = {
    "AtRandom": "tryage.learning.cotraining.modes",
    "ByLabel": "tryage.learning.cotraining.modes",
    "CausalStudent": "tryage.learning.cotraining.student",
    "Decoupled": "tryage.learning.cotraining.modes",
    "History": "tryage.learning.cotraining.loop",
    "Joint": "tryage.learning.cotraining.modes",
    "Learner": "tryage.learning.cotraining.protocols",
    "MaskedStudent": "tryage.learning.cotraining.student",
    "Mode": "tryage.learning.cotraining.protocols",
    "Parts": "tryage.learning.cotraining.pipeline",
    "Pool": "tryage.learning.cotraining.protocols",
    "Settings": "tryage.learning.cotraining.loop",
    "Specialisation": "tryage.learning.cotraining.specialization",
    "Student": "tryage.learning.cotraining.student",
    "System": "tryage.learning.cotraining.pipeline",
    "cotrain": "tryage.learning.cotraining.loop",
    "develop": "tryage.learning.cotraining.pipeline",
    "measured": "tryage.learning.cotraining.specialization",
    "plot_specialisation": "tryage.learning.cotraining.specialization",
    "read_pool": "tryage.learning.cotraining.protocols",
    "router_among": "tryage.learning.cotraining.pipeline",
    "specialisation": "tryage.learning.cotraining.specialization",
    "split": "tryage.learning.cotraining.pipeline",
    "train": "tryage.learning.cotraining.pretrain",
    "train_tokenizer": "tryage.learning.cotraining.pretrain",
    "weighted": "tryage.learning.cotraining.pipeline",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
