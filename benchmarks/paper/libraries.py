"""The libraries of the experiment: own experts and those of packages, by kind of loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import own
import shipped
from ngrams import NGramExpert, NGrams
from sources import SOURCES

from tryage import Expert
from tryage.scoring.losses import MaskedLM

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from corpora import Corpus

    from tryage.scoring.measurement import Measurer

SPECIALIST, GENERALIST = 600, 300  # passages per domain
LONG, SHORT = 5, 3  # bytes of context


def quick_libraries(corpora: Sequence[Corpus]) -> dict[str, list[Measurer]]:
    """Return a library that trains in seconds and without torch."""
    return {"N-gram experts": [*ngrams({corpus.name: corpus for corpus in corpora})]}


def libraries(corpora: Sequence[Corpus], out: Path) -> dict[str, list[Measurer]]:
    """Train the missing experts, and return the experts of each library by its name.

    Masked and causal losses are not comparable, because a masked model sees both sides of a token.
    The causal experts are also judged without SmolLM2: it is a hundred times larger than the
    others, best in most domains, and the model that chooses.
    """
    domains = {corpus.name: corpus for corpus in corpora}
    for recipe in own.recipes():
        if recipe.base is None or recipe.part in domains:
            own.make(recipe, domains, out)
    experts = [*own.measurers(out), *shipped.measurers(out)]
    masked = [one for one in experts if isinstance(one, MaskedLM)]
    causal = [one for one in experts if not isinstance(one, MaskedLM)]
    causal += ngrams(domains)
    small = [one for one in causal if one.identify().expert.name != shipped.CHOOSER]
    return {"Masked experts": masked, "Causal experts": causal, "Small causal experts": small}


def ngrams(domains: Mapping[str, Corpus]) -> Iterator[NGramExpert]:
    """Yield n-gram experts, which train in seconds: one per speciality and two generalists."""
    about = {source.name: source.about for source in SOURCES}
    for name in own.SPECIALITIES:
        if name in domains:
            yield _train(name, domains[name].texts["experts"][:SPECIALIST], LONG, about[name])
    for name, order in (("generalist", LONG), ("generalist-small", SHORT)):
        texts = [
            text for corpus in domains.values() for text in corpus.texts["experts"][:GENERALIST]
        ]
        yield _train(name, texts, order, "code, prose, chemistry")


def _train(name: str, texts: Sequence[str], order: int, subject: str) -> NGramExpert:
    model = NGrams.train(texts, order)
    about = f"Counts of up to {order + 1} bytes, {model.parameters / 1e6:.1f}M of them: {subject}."
    facts = {"description": about}
    return NGramExpert(Expert(f"ngram-{name}", parameters=model.parameters, metadata=facts), model)


def chooser_folder(out: Path) -> Path:
    """Return the folder of SmolLM2-135M-Instruct, the model that chooses, for transformers."""
    shipped.measurers(out)  # adds the loader to the path
    from experts.smollm import convert

    convert(out / "smollm2")
    return out / "smollm2"
