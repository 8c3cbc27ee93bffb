"""A raw record of the Hub becomes a `Model`: its own facts, before anything is inherited."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from tryage.errors import HubReplyError
from tryage.hub.facts.abilities import read_abilities
from tryage.hub.facts.bases import read_bases
from tryage.hub.facts.clues import Clues, gather
from tryage.hub.facts.licenses import read_license
from tryage.hub.facts.model import Model
from tryage.hub.facts.parameters import read_parameters, weight_bytes
from tryage.hub.facts.quality import read_quality
from tryage.hub.facts.security import read_security
from tryage.hub.facts.serving import read_providers
from tryage.hub.facts.wire import Record, amount, flag, mapping, moment, text

if TYPE_CHECKING:
    from tryage.hub.facts.fact import Fact

# The Hub noted creation from this moment on; what is older carries it or an earlier one.
FLOOR = datetime.datetime(2022, 3, 3, tzinfo=datetime.timezone.utc)


def read_model(record: Record, seen: datetime.datetime) -> Model:
    """Return what one record of a listing or of a model's page says; `seen` is in UTC.

    A field of an odd type is unknown and spoils no other. Facts of bases are added by `inherit`.

    Raises:
        HubReplyError: the record has no `_id` or no `id`.
    """
    fields = mapping(record)
    key, name = text(fields.get("_id")), text(fields.get("id")) or text(fields.get("modelId"))
    if key is None or name is None:
        raise HubReplyError(
            f"A record of a model needs `_id` and `id`, got {record!r:.200}. "
            "Ask the Hub for both; a listing with `expand` always has them."
        )
    clues = gather(fields, name, seen)
    return Model(
        key=key,
        name=name,
        seen=seen,
        author=text(fields.get("author")) or (name.split("/")[0] if "/" in name else None),
        task=clues.task,
        library=clues.library,
        sha=text(fields.get("sha")),
        tags=clues.tags,
        created=moment(fields.get("createdAt")),
        modified=moment(fields.get("lastModified")),
        downloads=amount(fields.get("downloads")),
        likes=amount(fields.get("likes")),
        gated=_gated(fields.get("gated")),
        private=flag(fields.get("private")),
        disabled=flag(fields.get("disabled")),
        bases=read_bases(clues),
        facts=_facts(clues),
    )


def _facts(clues: Clues) -> dict[str, Fact]:
    facts = {
        **read_parameters(clues),
        **read_license(clues),
        **read_security(clues),
        **read_abilities(clues),
        **read_quality(clues),
        **read_providers(clues),
    }
    created = moment(clues.record.get("createdAt"))
    # Never by `lastModified`, which moves with every edit of a README.
    if created is not None and created >= FLOOR:
        facts["released"] = clues.fact(created.date(), "createdAt", 0.8)
    size = weight_bytes(clues)
    if size is not None:
        facts["weight_bytes"] = clues.fact(size, "size of the weight files", 0.9)
    return facts


def _gated(value: object) -> str | bool | None:
    """Return False, "auto" or "manual"; an older Hub says True for manual."""
    if value is True:
        return "manual"
    return (
        False if value is False else word if (word := text(value)) in ("auto", "manual") else None
    )
