"""The libraries of the experiment: experts trained here and those of packages, by kind of loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import own
import shipped
from ngrams import NGramExpert, NGrams
from sources import SOURCES

from tryage import Expert
from tryage.learning.scoring.losses import MaskedLM

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from corpora import Corpus

    from tryage.learning.scoring.measurement import Measurer

SPECIALIST, EVERY = 600, 300  # passages: of its domain for a specialist, of each for a generalist
LONG, SHORT = 5, 3  # bytes back


def quick(corpora: Sequence[Corpus]) -> dict[str, list[Measurer]]:
    """Return a library that takes seconds to train and no torch."""
    return {"N-gram experts": [*ngrams({corpus.name: corpus for corpus in corpora})]}


def libraries(corpora: Sequence[Corpus], out: Path) -> dict[str, list[Measurer]]:
    """Train what is not trained yet, and return the experts of each library by its name.

    Masked and causal losses do not compare, as one kind sees both sides of what it predicts. The
    causal experts are judged without SmolLM2, too: it is a hundred times larger than the others,
    best in most domains, and the one that is asked to choose.
    """
    domains = {corpus.name: corpus for corpus in corpora}
    for recipe in own.recipes():
        if recipe.base is None or recipe.part in domains:
            own.make(recipe, domains, out)
    everyone = [*own.measurers(out), *shipped.measurers(out)]
    masked = [one for one in everyone if isinstance(one, MaskedLM)]
    causal = [one for one in everyone if not isinstance(one, MaskedLM)]
    causal += ngrams(domains)
    small = [one for one in causal if one.identify().expert.name != shipped.ASKED]
    return {"Masked experts": masked, "Causal experts": causal, "Small causal experts": small}


def ngrams(domains: Mapping[str, Corpus]) -> Iterator[NGramExpert]:
    """Yield n-gram experts: one for each speciality and two for everything; seconds of training."""
    about = {source.name: source.about for source in SOURCES}
    for name in own.SPECIALITIES:
        if name in domains:
            yield _counted(name, domains[name].texts["experts"][:SPECIALIST], LONG, about[name])
    for name, order in (("generalist", LONG), ("generalist-small", SHORT)):
        texts = [text for corpus in domains.values() for text in corpus.texts["experts"][:EVERY]]
        yield _counted(name, texts, order, "code, prose, chemistry")


def _counted(name: str, texts: Sequence[str], order: int, subject: str) -> NGramExpert:
    model = NGrams.trained(texts, order)
    about = f"Counts of up to {order + 1} bytes, {model.parameters / 1e6:.1f}M of them: {subject}."
    facts = {"description": about}
    return NGramExpert(Expert(f"ngram-{name}", parameters=model.parameters, metadata=facts), model)


def chooser(out: Path) -> Path:
    """Return the folder of SmolLM2-135M-Instruct, which is asked, as transformers reads it."""
    shipped.measurers(out)  # knows where its loader is
    from experts.smollm import convert

    convert(out / "smollm2")
    return out / "smollm2"
