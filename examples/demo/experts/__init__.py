"""Four real language models of different kinds, read from installed packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experts.base import LocalLLM, LocalModel
from experts.masked import AntiBerty, RxnMapper
from experts.smollm import SmolLM
from experts.titles import TitleLSTM

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LocalLLM", "LocalModel", "load_models"]


def load_models(work: Path) -> list[LocalModel]:
    """Return the four models; each reads its weights when it is first used."""
    return [SmolLM(work / "smollm2"), RxnMapper(), AntiBerty(), TitleLSTM()]
