"""The fingerprint of a perception: the same in every process, another after any change."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from tryage.perception.model import LearnedPerception
from tryage.perception.serialization import serialize

if TYPE_CHECKING:
    from tryage.core.perception import Perception
    from tryage.perception.serialization import ArrayDict

# What predictions from a position depend on, and the head that makes positions. Not the encoder,
# which is large: a head is trained on one encoder alone.
_PARTS = (
    *("experts", "head", "abilities", "soft_threshold", "link", "metadata_prior"),
    "observed_experts",
)


def perception_fingerprint(perception: Perception) -> str:
    """Return 16 hexadecimal digits that stand for what a perception knows.

    Two perceptions with one fingerprint give a prompt the same position and predict the same losses
    there. Feedback changes the fingerprint, and so does an expert that is added.
    """
    digest = blake2b(type(perception).__name__.encode(), digest_size=8)
    if isinstance(perception, LearnedPerception):
        _add_parts(digest, perception)
    else:
        digest.update(repr(perception.experts).encode())
    return digest.hexdigest()


def _add_parts(digest: blake2b, perception: LearnedPerception) -> None:
    for name in _PARTS:
        arrays: ArrayDict = {}
        digest.update(repr(serialize(getattr(perception, name), name, arrays)).encode())
        for key, array in arrays.items():
            digest.update(f"{key} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
