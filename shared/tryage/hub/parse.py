"""A raw record of the Hub becomes a `Model`: its own facts, before anything is inherited."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING

from tryage.errors import HubReplyError
from tryage.hub.evaluations import read_quality
from tryage.hub.licenses import read_license
from tryage.hub.lineage import read_bases
from tryage.hub.model import Model
from tryage.hub.parameters import read_parameters, weight_bytes
from tryage.hub.providers import read_providers
from tryage.hub.record import (
    Clues,
    Record,
    amount,
    flag,
    gather,
    items,
    mapping,
    moment,
    positive,
    text,
    texts,
    words,
)
from tryage.hub.security import read_security

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tryage.hub.model import Fact

# The Hub noted creation from this moment on; what is older carries it or an earlier one.
FLOOR = datetime.datetime(2022, 3, 3, tzinfo=datetime.timezone.utc)

_LENGTHS = (
    "max_position_embeddings",
    "n_positions",
    "max_sequence_length",
    "max_seq_len",
    "seq_length",
    "n_ctx",
)

_LONGEST = 1e9  # tokenizers write 1e30 for "no limit"

_FIXED_ROPE = frozenset(("default", "su", "longrope", "llama3", "mrope"))

# Their first two positions are padding, so 514 of them hold 512 tokens.
_PADDED = frozenset(("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "longformer"))

_VISION = words(
    "image-text-to-text visual-question-answering document-question-answering image-to-text"
    " video-text-to-text any-to-any"
)

_AUDIO = words("audio-text-to-text automatic-speech-recognition")

_TOOLS = words("function-calling function_calling tool-use tool-calling tool_use")

_TOOLS_IN_TEMPLATE = re.compile(r"\btools\b", re.ASCII)

_ISO_639_1 = words(
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy"
    " da de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu"
    " hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb"
    " lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om"
    " or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw"
    " ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
)


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


def read_abilities(clues: Clues) -> dict[str, Fact]:
    """Return `context_length`, `capabilities` and `languages`, as far as the record tells them."""
    facts = {
        "context_length": _context(clues),
        "capabilities": _capabilities(clues),
        "languages": _languages(clues),
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def _context(clues: Clues) -> Fact | None:
    """Return the tokens of prompt and answer together: config, GGUF, then the tokenizer's limit."""
    for name in _LENGTHS:
        length = positive(clues.nested(name))
        if length is not None and 1 <= length <= _LONGEST:
            return _stretched(clues, name, length)
    length = positive(mapping(clues.record.get("gguf")).get("context_length"))
    if length is not None and 1 <= length <= _LONGEST:
        return clues.fact(int(length), "gguf.context_length", 0.9)
    tokenizer = mapping(clues.config.get("tokenizer_config"))
    length = positive(tokenizer.get("model_max_length"))
    if length is not None and 1 <= length <= 1e7:
        return clues.fact(int(length), "model_max_length of the tokenizer", 0.6)
    return None


def _stretched(clues: Clues, name: str, length: float) -> Fact:
    """Apply the scaling of rotary positions, as vLLM does when it sets up a model."""
    kind = text(clues.config.get("model_type")) or ""
    if kind in _PADDED and length > 2 and int(length) % 2 == 0:
        return clues.fact(int(length) - 2, f"{name} of the config less padding", 0.9)
    scaling = mapping(clues.nested("rope_scaling")) or mapping(clues.nested("rope_parameters"))
    word = text(scaling.get("rope_type")) or text(scaling.get("type")) or "default"
    factor = positive(scaling.get("factor"))
    if factor is None or not 1 < factor <= 1024 or word in _FIXED_ROPE or "gemma3" in kind:
        return clues.fact(int(length), f"{name} of the config", 0.9)
    if word == "yarn":
        original = positive(scaling.get("original_max_position_embeddings")) or length
        stretched = min(max(original * factor, length), _LONGEST)
    else:
        stretched = min(length * factor, _LONGEST)
    return clues.fact(int(stretched), f"{name} of the config, {word} x {factor:g}", 0.8)


def _capabilities(clues: Clues) -> Fact | None:
    """Return what the model can do; None when nothing of the record speaks of it."""
    template = " ".join(_templates(clues))
    found: dict[str, bool] = {
        "chat": bool(template) or "conversational" in clues.marks,
        "tools": _takes_tools(template) or not _TOOLS.isdisjoint(clues.marks),
        "reasoning": "<think>" in template or "reasoning" in clues.marks,
        "vision": clues.task in _VISION or bool(mapping(clues.config.get("vision_config"))),
        "audio": clues.task in _AUDIO or bool(mapping(clues.config.get("audio_config"))),
    }
    able = frozenset(name for name, can in found.items() if can)
    if template:
        return clues.fact(able, "chat template, task and tags", 0.8)
    return clues.fact(able, "task and tags", 0.6) if able else None


def _templates(clues: Clues) -> Iterator[str]:
    """Yield the chat templates: one string, or a list of named ones."""
    places = (
        mapping(clues.config.get("tokenizer_config")).get("chat_template"),
        clues.config.get("chat_template_jinja"),
        mapping(clues.record.get("gguf")).get("chat_template"),
    )
    for place in places:
        for entry in items(place) or [place]:
            template = mapping(entry).get("template") if isinstance(entry, dict) else entry
            if isinstance(template, str) and template.strip():
                yield template


def _takes_tools(template: str) -> bool:
    return "tools" in template and _TOOLS_IN_TEMPLATE.search(template) is not None


def _languages(clues: Clues) -> Fact | None:
    """Return the languages of the card, or the two-letter tags that the Hub made of them."""
    declared = texts(clues.card.get("language"))
    if declared:
        return clues.fact(tuple(sorted({word.lower() for word in declared})), "model card", 0.7)
    tagged = tuple(sorted(clues.marks & _ISO_639_1))
    return clues.fact(tagged, "tags", 0.6) if tagged else None
