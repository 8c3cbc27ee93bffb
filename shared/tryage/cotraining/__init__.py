"""Experts that learn: small language models of one's own, alone or together with their router."""

from __future__ import annotations

from tryage.cotraining.apart import AtRandom, ByLabel
from tryage.cotraining.causal import CausalStudent
from tryage.cotraining.decoupled import Decoupled
from tryage.cotraining.driver import train
from tryage.cotraining.finish import router_among, weighted
from tryage.cotraining.history import History
from tryage.cotraining.joint import Joint
from tryage.cotraining.learner import Learner, Mode, Pool, read_pool
from tryage.cotraining.loop import Settings, cotrain
from tryage.cotraining.masked import MaskedStudent
from tryage.cotraining.picture import plot_specialisation
from tryage.cotraining.specialisation import Specialisation, measured, specialisation
from tryage.cotraining.student import Student
from tryage.cotraining.system import Parts, System, develop, split
from tryage.cotraining.tokenizer import train_tokenizer

__all__ = [
    "AtRandom",
    "ByLabel",
    "CausalStudent",
    "Decoupled",
    "History",
    "Joint",
    "Learner",
    "MaskedStudent",
    "Mode",
    "Parts",
    "Pool",
    "Settings",
    "Specialisation",
    "Student",
    "System",
    "cotrain",
    "develop",
    "measured",
    "plot_specialisation",
    "read_pool",
    "router_among",
    "specialisation",
    "split",
    "train",
    "train_tokenizer",
    "weighted",
]
