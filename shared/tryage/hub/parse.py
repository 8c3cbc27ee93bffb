"""`parse_model`: from a record of the Hub to a `Model` with its own facts, before inheritance."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING

from tryage.errors import HubReplyError
from tryage.hub.evaluations import parse_quality
from tryage.hub.licenses import parse_license
from tryage.hub.lineage import parse_base_models
from tryage.hub.model import Model
from tryage.hub.parameters import parse_parameters, weight_bytes
from tryage.hub.providers import parse_providers
from tryage.hub.record import (
    HubRecord,
    ParsedRecord,
    as_bool,
    as_datetime,
    as_list,
    as_mapping,
    as_model_name,
    as_nonnegative_float,
    as_positive_float,
    as_str,
    as_strings,
    parse_record,
    split_words,
)
from tryage.hub.security import parse_security

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tryage.hub.model import Fact

# The Hub stores creation times since this day; older repositories have this time or an earlier one.
FIRST_CREATION_TIME = datetime.datetime(2022, 3, 3, tzinfo=datetime.timezone.utc)

_CONTEXT_LENGTH_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_sequence_length",
    "max_seq_len",
    "seq_length",
    "n_ctx",
)

_MAX_CONTEXT_LENGTH = 1e9  # tokens; tokenizers write 1e30 for "no limit"

_UNSCALED_ROPE_TYPES = frozenset(("default", "su", "longrope", "llama3", "mrope"))

# The first two positions of these models are padding, so 514 positions hold 512 tokens.
_PADDED_MODEL_TYPES = frozenset(
    ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "longformer")
)

_VISION_TASKS = split_words(
    "image-text-to-text visual-question-answering document-question-answering image-to-text"
    " video-text-to-text any-to-any"
)

_AUDIO_TASKS = split_words("audio-text-to-text automatic-speech-recognition")

_TOOL_TAGS = split_words("function-calling function_calling tool-use tool-calling tool_use")

_TOOLS_IN_TEMPLATE = re.compile(r"\btools\b", re.ASCII)

_ISO_639_1 = split_words(
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy"
    " da de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu"
    " hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb"
    " lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om"
    " or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw"
    " ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"
)


def parse_model(record: HubRecord, fetched_at: datetime.datetime) -> Model:
    """Return the model of one record, from a listing or from the model's own page.

    A field of a wrong type is unknown and does not affect other fields. `inherit` adds the facts of
    bases. `fetched_at` is in UTC.

    Raises:
        HubReplyError: the record has no `_id`, or no `id` that can be the name of a model.
    """
    fields = as_mapping(record)
    key = as_str(fields.get("_id"))
    name = as_model_name(fields.get("id")) or as_model_name(fields.get("modelId"))
    if key is None or name is None:
        raise HubReplyError(
            f"A record of a model needs `_id` and `id`, which is a name, got {record!r:.200}. "
            "Ask the Hub for both; a listing with `expand` always has them."
        )
    parsed_record = parse_record(fields, name, fetched_at)
    return Model(
        key=key,
        name=name,
        fetched_at=fetched_at,
        author=as_str(fields.get("author")) or (name.split("/")[0] if "/" in name else None),
        task=parsed_record.task,
        library=parsed_record.library,
        sha=as_str(fields.get("sha")),
        tags=parsed_record.tags,
        created=as_datetime(fields.get("createdAt")),
        modified=as_datetime(fields.get("lastModified")),
        downloads=as_nonnegative_float(fields.get("downloads")),
        likes=as_nonnegative_float(fields.get("likes")),
        gated=_parse_gated(fields.get("gated")),
        private=as_bool(fields.get("private")),
        disabled=as_bool(fields.get("disabled")),
        bases=parse_base_models(parsed_record),
        facts=_parse_facts(parsed_record),
    )


def parse_model_or_none(record: HubRecord, fetched_at: datetime.datetime) -> Model | None:
    """Return the model of one record, None when it has no `_id` or no `id`."""
    try:
        return parse_model(record, fetched_at)
    except HubReplyError:
        return None


def _parse_facts(record: ParsedRecord) -> dict[str, Fact]:
    facts = {
        **parse_parameters(record),
        **parse_license(record),
        **parse_security(record),
        **parse_capabilities(record),
        **parse_quality(record),
        **parse_providers(record),
    }
    created_at = as_datetime(record.raw.get("createdAt"))
    # `lastModified` says nothing about the age: every edit of a README changes it.
    if created_at is not None and created_at >= FIRST_CREATION_TIME:
        facts["released"] = record.fact(created_at.date(), "createdAt", 0.8)
    size = weight_bytes(record)
    if size is not None:
        facts["weight_bytes"] = record.fact(size, "size of the weight files", 0.9)
    return facts


def _parse_gated(value: object) -> str | bool | None:
    """Return False, "auto" or "manual"; an older Hub says True for manual."""
    if value is True:
        return "manual"
    if value is False:
        return False
    word = as_str(value)
    return word if word in ("auto", "manual") else None


def parse_capabilities(record: ParsedRecord) -> dict[str, Fact]:
    """Return `context_length`, `capabilities` and `languages`, where the record has them."""
    facts = {
        "context_length": _context_length(record),
        "capabilities": _capabilities(record),
        "languages": _languages(record),
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def _context_length(record: ParsedRecord) -> Fact | None:
    """Return the tokens of prompt and answer together, by config, GGUF or the tokenizer's limit."""
    for name in _CONTEXT_LENGTH_KEYS:
        length = as_positive_float(record.config_value(name))
        if length is not None and 1 <= length <= _MAX_CONTEXT_LENGTH:
            return _rope_scaled(record, name, length)
    length = as_positive_float(as_mapping(record.raw.get("gguf")).get("context_length"))
    if length is not None and 1 <= length <= _MAX_CONTEXT_LENGTH:
        return record.fact(int(length), "gguf.context_length", 0.9)
    tokenizer = as_mapping(record.config.get("tokenizer_config"))
    length = as_positive_float(tokenizer.get("model_max_length"))
    if length is not None and 1 <= length <= 1e7:
        return record.fact(int(length), "model_max_length of the tokenizer", 0.6)
    return None


def _rope_scaled(record: ParsedRecord, name: str, length: float) -> Fact:
    """Apply the scaling of rotary positions, as vLLM does when it loads a model."""
    model_type = as_str(record.config.get("model_type")) or ""
    if model_type in _PADDED_MODEL_TYPES and length > 2 and int(length) % 2 == 0:
        return record.fact(int(length) - 2, f"{name} of the config less padding", 0.9)
    scaling = as_mapping(record.config_value("rope_scaling")) or as_mapping(
        record.config_value("rope_parameters")
    )
    rope_type = as_str(scaling.get("rope_type")) or as_str(scaling.get("type")) or "default"
    factor = as_positive_float(scaling.get("factor"))
    if (
        factor is None
        or not 1 < factor <= 1024
        or rope_type in _UNSCALED_ROPE_TYPES
        or "gemma3" in model_type
    ):
        return record.fact(int(length), f"{name} of the config", 0.9)
    if rope_type == "yarn":
        original_length = (
            as_positive_float(scaling.get("original_max_position_embeddings")) or length
        )
        scaled_length = min(max(original_length * factor, length), _MAX_CONTEXT_LENGTH)
    else:
        scaled_length = min(length * factor, _MAX_CONTEXT_LENGTH)
    return record.fact(int(scaled_length), f"{name} of the config, {rope_type} x {factor:g}", 0.8)


def _capabilities(record: ParsedRecord) -> Fact | None:
    """Return what the model can do; None when the record does not mention it."""
    template = " ".join(_chat_templates(record))
    flags: dict[str, bool] = {
        "chat": bool(template) or "conversational" in record.lowercase_tags,
        "tools": _mentions_tools(template) or not _TOOL_TAGS.isdisjoint(record.lowercase_tags),
        "reasoning": "<think>" in template or "reasoning" in record.lowercase_tags,
        "vision": record.task in _VISION_TASKS
        or bool(as_mapping(record.config.get("vision_config"))),
        "audio": record.task in _AUDIO_TASKS or bool(as_mapping(record.config.get("audio_config"))),
    }
    capabilities = frozenset(name for name, flag in flags.items() if flag)
    if template:
        return record.fact(capabilities, "chat template, task and tags", 0.8)
    return record.fact(capabilities, "task and tags", 0.6) if capabilities else None


def _chat_templates(record: ParsedRecord) -> Iterator[str]:
    """Yield the chat templates; a place holds one string, or a list of named templates."""
    places = (
        as_mapping(record.config.get("tokenizer_config")).get("chat_template"),
        record.config.get("chat_template_jinja"),
        as_mapping(record.raw.get("gguf")).get("chat_template"),
    )
    for place in places:
        for entry in as_list(place) or [place]:
            template = as_mapping(entry).get("template") if isinstance(entry, dict) else entry
            if isinstance(template, str) and template.strip():
                yield template


def _mentions_tools(template: str) -> bool:
    return "tools" in template and _TOOLS_IN_TEMPLATE.search(template) is not None


def _languages(record: ParsedRecord) -> Fact | None:
    """Return the languages of the model card, else the two-letter tags."""
    card_languages = as_strings(record.card.get("language"))
    if card_languages:
        return record.fact(
            tuple(sorted({word.lower() for word in card_languages})), "model card", 0.7
        )
    tag_languages = tuple(sorted(record.lowercase_tags & _ISO_639_1))
    return record.fact(tag_languages, "tags", 0.6) if tag_languages else None
