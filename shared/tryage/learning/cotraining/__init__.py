"""Co-training: small language models that learn, alone or together with their router."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.core.lazy import lazy_exports

if TYPE_CHECKING:
    from tryage.learning.cotraining.loop import CotrainConfig as CotrainConfig
    from tryage.learning.cotraining.loop import TrainingHistory as TrainingHistory
    from tryage.learning.cotraining.loop import cotrain as cotrain
    from tryage.learning.cotraining.modes import AtRandom as AtRandom
    from tryage.learning.cotraining.modes import ByLabel as ByLabel
    from tryage.learning.cotraining.modes import Decoupled as Decoupled
    from tryage.learning.cotraining.modes import Joint as Joint
    from tryage.learning.cotraining.pipeline import PromptSplits as PromptSplits
    from tryage.learning.cotraining.pipeline import TrainedSystem as TrainedSystem
    from tryage.learning.cotraining.pipeline import constraint_penalties as constraint_penalties
    from tryage.learning.cotraining.pipeline import fit_router as fit_router
    from tryage.learning.cotraining.pipeline import split_prompts as split_prompts
    from tryage.learning.cotraining.pipeline import train_system as train_system
    from tryage.learning.cotraining.pretrain import train as train
    from tryage.learning.cotraining.pretrain import train_tokenizer as train_tokenizer
    from tryage.learning.cotraining.protocols import Learner as Learner
    from tryage.learning.cotraining.protocols import Mode as Mode
    from tryage.learning.cotraining.protocols import PromptPool as PromptPool
    from tryage.learning.cotraining.protocols import embed_pool as embed_pool
    from tryage.learning.cotraining.specialization import Specialization as Specialization
    from tryage.learning.cotraining.specialization import measure_losses as measure_losses
    from tryage.learning.cotraining.specialization import plot_specialization as plot_specialization
    from tryage.learning.cotraining.specialization import (
        summarize_specialization as summarize_specialization,
    )
    from tryage.learning.cotraining.student import CausalStudent as CausalStudent
    from tryage.learning.cotraining.student import MaskedStudent as MaskedStudent
    from tryage.learning.cotraining.student import Student as Student

_MODULES = {
    "AtRandom": "tryage.learning.cotraining.modes",
    "ByLabel": "tryage.learning.cotraining.modes",
    "CausalStudent": "tryage.learning.cotraining.student",
    "CotrainConfig": "tryage.learning.cotraining.loop",
    "Decoupled": "tryage.learning.cotraining.modes",
    "Joint": "tryage.learning.cotraining.modes",
    "Learner": "tryage.learning.cotraining.protocols",
    "MaskedStudent": "tryage.learning.cotraining.student",
    "Mode": "tryage.learning.cotraining.protocols",
    "PromptPool": "tryage.learning.cotraining.protocols",
    "PromptSplits": "tryage.learning.cotraining.pipeline",
    "Specialization": "tryage.learning.cotraining.specialization",
    "Student": "tryage.learning.cotraining.student",
    "TrainedSystem": "tryage.learning.cotraining.pipeline",
    "TrainingHistory": "tryage.learning.cotraining.loop",
    "constraint_penalties": "tryage.learning.cotraining.pipeline",
    "cotrain": "tryage.learning.cotraining.loop",
    "embed_pool": "tryage.learning.cotraining.protocols",
    "fit_router": "tryage.learning.cotraining.pipeline",
    "measure_losses": "tryage.learning.cotraining.specialization",
    "plot_specialization": "tryage.learning.cotraining.specialization",
    "split_prompts": "tryage.learning.cotraining.pipeline",
    "train": "tryage.learning.cotraining.pretrain",
    "train_system": "tryage.learning.cotraining.pipeline",
    "train_tokenizer": "tryage.learning.cotraining.pretrain",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
