"""Rules that read a model's name: the model, and the provider, date, effort and quantization on it.

"us.anthropic.claude-3-5-sonnet-20241022-v2:0", "openrouter/anthropic/claude-3.5-sonnet:beta" and
"Claude 3.5 Sonnet" name one model. The rules remove only words that never tell models apart. What
tells a model from its successor stays: a version, a size, and a date where there is no version.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import filterfalse, takewhile
from typing import TYPE_CHECKING

from tryage.errors import InputError
from tryage.models.families import family_of, generation_of, tier_of
from tryage.models.name_dates import take_date, without_date
from tryage.models.name_words import (
    AGENT_PREFIX,
    ALIAS_WORDS,
    BUDGET_FAMILIES,
    CHAT_FAMILIES,
    CLOSED_FAMILIES,
    DEPLOYMENT_TAGS,
    EFFORT_WORDS,
    HOST_WORDS,
    MAKER_PREFIX,
    MAX_EFFORT_FAMILIES,
    NO_EFFORT_WORDS,
    OLLAMA_SIZES,
    PROVIDERS,
    QUALIFIERS,
    RELEASE_WORDS,
    STATUS_WORDS,
    TIER_WORDS,
    TUNING_WORDS,
    WORDS_OF_MODELS,
)
from tryage.models.sizes import size_from_name

if TYPE_CHECKING:
    from collections.abc import Container

MAX_LENGTH = 300  # letters; a longer text is no name


@dataclass(frozen=True, slots=True)
class ModelName:
    """What a name says.

    Attributes:
        model: The model in lower case, without provider, effort and quantization: "gpt-5.4-mini".
        provider: What stands before the model: "openai", "openrouter/anthropic".
        date: An ISO date or month, or "05-06" where the name has no year.
        effort: The reasoning effort: "high", "none", "thinking", "16k".
        quantization: Such as "q4_k_m" or "fp8".
    """

    model: str
    provider: str | None = None
    date: str | None = None
    effort: str | None = None
    quantization: str | None = None

    @property
    def key(self) -> str:
        """The same text for all spellings of a model: "claude-sonnet-3-5"."""
        return name_key(self.model)

    @property
    def undated_key(self) -> str:
        """The key without a date that is the version, or a part of it: "gpt-4" of "gpt-4-0613"."""
        return name_key(without_date(self.model))

    @property
    def family(self) -> str | None:
        """The family: "gpt" of "gpt-5.4-mini", "o" of "o3"; None if the name tells none."""
        return family_of(self.model)

    @property
    def generation(self) -> tuple[int, ...]:
        """The version in the family: (5, 4) of "gpt-5.4-mini"; () if the name tells none."""
        return generation_of(self.model)

    @property
    def tier(self) -> tuple[str, ...]:
        """The words of the tier: ("flash", "lite") of "gemini-2.5-flash-lite"."""
        return tier_of(self.model)

    @property
    def size(self) -> float | None:
        """The number of parameters that the name states: 30e9 of "qwen3-30b-a3b"."""
        size = size_from_name(self.model)
        return None if size is None else size.total


def parse_model_name(text: str, known: Container[str] = frozenset()) -> ModelName | None:
    """Return what a name says; None if the text cannot be a name.

    Args:
        text: A name in the spelling of a provider, a framework, a hub or a leaderboard.
        known: Keys of models. A word that belongs to one of them is never read as an effort:
            "gpt-5.1-codex-max" is a model.

    Raises:
        InputError: `text` is not a string.
    """
    if not isinstance(text, str):
        raise InputError(f"A model's name must be a string, got {type(text).__name__}.")
    text = text.strip().lower()
    text = _MARKDOWN_LINK.sub(r"\1", text) if text.startswith("[") else text
    text = text.removesuffix("[1m]")  # Claude Code: with the long context
    if not text or len(text) > MAX_LENGTH or not _HAS_LETTER.search(text):
        return None
    text, effort = _take_notations(text)
    provider, text = _take_provider(text)
    text, quantization = _take_quantization(_untag(text, provider))
    text, date = take_date(_squash(text))
    words, found_effort = _take_effort(_words(text), known)
    words = _drop_status(_join_versions(words))
    if not words:
        return None
    return ModelName(
        "-".join(words), provider, date, _normal_effort(effort or found_effort), quantization
    )


def name_key(model: str) -> str:
    """Return the text under which all spellings of a model's name are the same.

    "qwen2.5-72b" and "qwen-2-5-72b" are; "claude-3.5-sonnet" and "claude-sonnet-3-5" are. A size
    keeps its point: "qwen3-1.7b" is not "qwen3.1-7b".
    """
    key = _GLUED_VERSION.sub(r"\1-\2", model.lower()).replace("_", "-")
    return _POINT_OF_VERSION.sub("-", key)


_POINT_OF_VERSION = re.compile(r"\.(?!\d+[bmt](?![a-z\d]))")


# --- notations around a name ------------------------------------------------------------------

_MARKDOWN_LINK = re.compile(r"^\[([^]]*)\]\(.*\)$", re.DOTALL)

_HAS_LETTER = re.compile(r"[a-z]", re.IGNORECASE)

_AT = re.compile(r"@(?:(?:reasoning|effort|thinking)=)?([a-z]+)$")

_PARENTHESES = re.compile(r"\s*\(([^()]*)\)\s*$")

_NOT_OF_THE_NAME = re.compile(r"^(?:n=\d+|.*\bharness)$")

_FALLBACK = re.compile(r",[^,]*\bfallback$")  # "max effort, opus 4.8 fallback"


def _take_notations(text: str) -> tuple[str, str | None]:
    """Remove "@reasoning=high" and "(high reasoning)", and return the effort that they tell."""
    effort = None
    found = _AT.search(text) if "@" in text else None
    if found is not None and (found[1] in EFFORT_WORDS or "=" in found[0]):
        text, effort = text[: found.start()], found[1]
    while text.endswith(")") and (found := _PARENTHESES.search(text)):
        note = _FALLBACK.sub("", found[1].strip())
        rest = text[: found.start()]
        if (noted := _effort_of_note(note)) is not None:
            effort = noted
        elif not _NOT_OF_THE_NAME.match(note):
            rest = f"{rest}-{note}"
        text = rest
    return text, effort


def _effort_of_note(note: str) -> str | None:
    """Return the effort that a note in parentheses tells: "high reasoning" is "high"."""
    words = re.split(r"[ ,-]+", note.replace("non-", "no ").replace("non ", "no "))
    words = [word for word in words if word not in QUALIFIERS]
    if not all(word in EFFORT_WORDS or word == "no" or _BUDGET.match(word) for word in words):
        return None
    if "no" in words:
        return "none"
    levels = [word for word in words if word not in _MODES]
    return next(iter([*levels[-1:], *words]), None)


_MODES = frozenset(("reasoning", "thinking", "think", "adaptive"))


# --- the provider -----------------------------------------------------------------------------

_ARN = re.compile(r"^arn:aws[a-z-]*:.*/")

_BEDROCK = re.compile(
    r"^(?:(?P<region>us|eu|au|jp|apac|ca|sa|in|global|regional|us-gov)\.)?"
    r"(?P<maker>[a-z0-9]+)\.(?=[a-z])"
)

_VERSION_ONLY = re.compile(r"[rv]\d")  # "deepseek.r1-v1:0"

# Amazon writes the revision of a deployment: "nova-pro-v1:0", "nova-pro-v1.0", "gpt-oss-20b-1:0".
_REVISIONS = (
    (re.compile(r"^claude-v2:1"), "claude-2.1"),
    (re.compile(r"^(claude-(?:instant-)?)v(?=\d)"), r"\1"),
    (re.compile(r"-v?\d+:\d+(?::\w+)?$"), ""),
    (re.compile(r"^(nova-.+?)-v1(?:\.0)?$"), r"\1"),
)

_SLASH_IN_DATE = re.compile(r"(?<=[ -]\d\d)/(?=\d\d(?!\d))")  # "DeepSeek R1 05/28"

# Mistral is a provider and a name in Ollama's library: "mistral:7b", "mistral:instruct".
_TAG_OF_MISTRAL = re.compile(r"^(?:\d|(?:latest|instruct|text)(?![a-z]))")


def _take_provider(text: str) -> tuple[str | None, str]:
    """Return the provider, None without one, and what follows it."""
    client, text = _take_client(text)
    path, slash, name = text.strip("/").rpartition("/")
    path = "vertex_ai" if path.startswith("projects/") else path
    provider = "/".join(part for part in (client, path) if slash and part) or client
    provider, name = _take_bedrock(provider, name or text)
    name = _DOUBLE_HYPHEN.sub("-", name)  # SAP: "anthropic--claude-4-opus"
    while found := AGENT_PREFIX.match(name) or MAKER_PREFIX.match(name):
        name, provider = name[found.end() :], provider or found[0].rstrip("-_ ")
    return provider or None, name


def _take_client(text: str) -> tuple[str, str]:
    """Return the provider before a colon, as LangChain writes it, and what follows it."""
    if (arn := _ARN.match(text)) is not None:
        return "bedrock", text[arn.end() :]
    text = _SLASH_IN_DATE.sub("-", text.replace("__", "/").replace("\\", "/")).lstrip("~@/")
    head, colon, tail = text.partition(":")
    is_tag = head == "mistral" and _TAG_OF_MISTRAL.match(tail) is not None
    if colon and "/" not in head and head in PROVIDERS and not is_tag:
        return head, tail
    return "", text


def _take_bedrock(provider: str, name: str) -> tuple[str, str]:
    """Return the provider with the region of "us.anthropic.claude-v2", and the name without it."""
    found = _BEDROCK.match(name)
    if found is None:
        return provider, name
    name = name[found.end() :].removesuffix("-v1")
    name = f"{found['maker']}-{name}" if _VERSION_ONLY.match(name) else name
    return "/".join(part for part in (provider or "bedrock", found["region"]) if part), name


_DOUBLE_HYPHEN = re.compile("-{2,}")

_FREE = re.compile(r"[-:]?free$")


def _untag(name: str, provider: str | None) -> str:
    """Join a tag such as ":8b" to the name, and drop one that says only how it is served.

    A name without a size in the spelling of Ollama means the size that Ollama serves.
    """
    name = _FREE.sub("", name)
    for pattern, replacement in _REVISIONS:
        name = pattern.sub(replacement, name)
    name, _, tag = name.partition(":")
    tag = tag.removesuffix("-cloud").replace(":", "-")
    if tag in DEPLOYMENT_TAGS or tag.isdigit():
        tag = ""
    is_ollama = provider is not None and provider.startswith("ollama")
    is_library_name = "-" not in name and _HAS_VERSION.search(name) is not None
    if not tag and (is_ollama or is_library_name):
        tag = OLLAMA_SIZES.get(name, "")
    return f"{name}-{tag}" if tag else name


# --- quantization -----------------------------------------------------------------------------

_QUANTIZATION = re.compile(
    r"[-_. ](i?q\d(?:_[k01](?:_[a-z]{1,2})?|_[a-z]{2,3})?|(?:nv|mx)?fp(?:4|8|16)|bf16|int[48]"
    r"|[2-8]-?bit|awq|gptq(?:-int[48])?|gguf|ggml|exl[23]|mlx|bnb(?:-4bit)?|w\da\d+|qat|dwq|ud)"
    r"(?=[-_. ]|$)"
)

_FORMATS = frozenset(("gguf", "ggml", "mlx", "qat", "ud"))


def _take_quantization(name: str) -> tuple[str, str | None]:
    found = _QUANTIZATION.findall(name)
    if not found:
        return name, None
    precise = [word for word in found if word not in _FORMATS]
    return _QUANTIZATION.sub("", name), (precise or found)[0]


# --- words ------------------------------------------------------------------------------------

_SEPARATORS = re.compile(r"[\s_/]+|-{2,}")

_DECIMAL = re.compile(r"(?<=\d)[p_](?=\d+(?![\da-z]))")

_SHORT_VERSION = re.compile(r"^(gpt|llama)-?(3)([1-5])(?![\db])")

# "gpt-54-mini", "claude-35-sonnet", "minimax-m25"
_TWO_DIGITS = re.compile(
    r"^((?:gpt|claude(?:-[a-z]+)?|gemini|qwen|llama|glm|openchat)-?|minimax-m|kimi-k|deepseek-v)"
    r"([2-6])(\d)(?=-|$)"
)

_TIER_ALONE = re.compile(r"^(?=(?:opus|sonnet|haiku)-?\d)")  # "sonnet-4.5"

_GLUED_LINE = re.compile(r"^command(?=[ar]\d)")  # "commandr7b"

_VERSION_LETTER = re.compile(r"^(llama|qwen)-v(?=\d)")  # Fireworks: "llama-v3p1-70b"

_PLUS = re.compile(r"(?<=[a-z])\+")

_GLUED_VERSION = re.compile(r"(?<![a-z])([a-z]{3,})(\d)")


def _squash(name: str) -> str:
    """Write a name with hyphens between its words and points in its versions."""
    if "_" in name or "p" in name or "+" in name:
        name = _PLUS.sub("-plus", _DECIMAL.sub(".", name))
    name = _SHORT_VERSION.sub(r"\1-\2.\3", _SEPARATORS.sub("-", name)).strip("-.: ")
    name = _TIER_ALONE.sub("claude-", _VERSION_LETTER.sub(r"\1-", name))
    return _GLUED_LINE.sub("command-", _TWO_DIGITS.sub(r"\1\2.\3", name))


_REVISION = re.compile(r"-00\d(?=-|$)")

_HAS_VERSION = re.compile(r"\d")


def _words(name: str) -> list[str]:
    """Return the words of a name, without a revision and without hosts between them."""
    found = _REVISION.search(name) if "-00" in name else None
    if found is not None and _HAS_VERSION.search(name[: found.start()]):
        name = name[: found.start()] + name[found.end() :]
    words = [word for word in re.split("[-,]", name) if word]
    return [word for i, word in enumerate(words) if i == 0 or word not in HOST_WORDS]


# --- effort -----------------------------------------------------------------------------------

_BUDGET = re.compile(r"^\d+k$")

_DATE_WORD = re.compile(r"[0-3]\d|\d{4,}")


def _take_effort(words: list[str], known: Container[str]) -> tuple[list[str], str | None]:
    """Remove the last words that tell an effort, until what is left is a known model."""
    effort: str | None = None
    date: list[str] = []
    if len(words) > 2 and words[0] in CLOSED_FAMILIES and not _is_known(words, known):
        words, date = _split_last_date(words)
    while len(words) > 1:
        n_words, found = _last_effort(words)
        is_effort = n_words > 0 and _HAS_VERSION.search("".join(words[:-n_words])) is not None
        if not is_effort or _is_known([*words, *date], known):
            break
        words, effort = words[:-n_words], _stronger(found, effort)
    return [*words, *date], effort


def _split_last_date(words: list[str]) -> tuple[list[str], list[str]]:
    """Divide "deepseek-v3.2-reasoning-0925" before the date, so that the effort is the last."""
    n_words = len(list(takewhile(_DATE_WORD.fullmatch, reversed(words))))
    return words[: len(words) - n_words], words[len(words) - n_words :]


def _is_known(words: list[str], known: Container[str]) -> bool:
    return name_key("-".join(_drop_status(_join_versions(words)))) in known


_CHAT_WORDS = frozenset(("chat", "instant"))

_REASONS = re.compile(r"[5-9]|k2\.[5-9]|k[3-9]")  # "gpt-5-chat", unlike "gpt-3.5-chat"


def _last_effort(words: list[str]) -> tuple[int, str]:
    """Return how many words at the end tell an effort, and which effort."""
    last = words[-1]
    if last in _MODES and words[-2] in {"no", "non"}:
        return 2, "none"
    if last in _CHAT_WORDS and words[0] in CHAT_FAMILIES and _REASONS.match(words[1]):
        return 1, "none"
    if last in STATUS_WORDS or last in QUALIFIERS:  # "high-preview", "high-effort"
        n_words, found = _last_effort(words[:-1]) if len(words) > 2 else (0, "")
        return (n_words + 1, found) if n_words else (0, "")
    if last == "base" and words[0] == "claude":  # LiveBench: without thinking
        return 1, "none"
    return (1, last) if _is_effort(last, words[-2], words[0]) else (0, "")


def _is_effort(word: str, before: str, family: str) -> bool:
    """Return whether a word is an effort after another word, in a family."""
    if word == "max":
        return before != "codex" and family in MAX_EFFORT_FAMILIES
    if _BUDGET.match(word):
        return family in BUDGET_FAMILIES or before == "thinking"
    return word in EFFORT_WORDS and (family, word) not in WORDS_OF_MODELS and before != "deep"


def _stronger(found: str, effort: str | None) -> str:
    """Return the level of "thinking-high": "high"."""
    if effort is None or effort in _MODES or effort == "default":
        return found
    return effort


_LEVELS = {"reasoning": "thinking", "adaptive": "thinking", "ing": "thinking", "med": "medium"}


def _normal_effort(effort: str | None) -> str | None:
    """Return an effort in one spelling; None if the model's own default is meant."""
    if effort is None or effort in {"default", "unknown"}:
        return None
    if effort in NO_EFFORT_WORDS:
        return "none"
    level = effort.removesuffix("thinking").removeprefix("think") or "thinking"
    return _LEVELS.get(level, level)


# --- status words and the order of words ------------------------------------------------------


def _drop_status(words: list[str]) -> list[str]:
    """Drop words such as "preview" and "instruct", if a version is left to name the model."""
    if STATUS_WORDS.isdisjoint(words):
        return words
    kept = [word for word in words if word not in ALIAS_WORDS] or words
    if _HAS_VERSION.search("".join(kept)):
        tuning_words = TUNING_WORDS - TIER_WORDS.get(words[0], frozenset())
        kept = [word for word in kept if word not in tuning_words]
    if any(map(_HAS_VERSION.search, filterfalse(_DATE_WORD.fullmatch, kept))):
        kept = [word for word in kept if word not in RELEASE_WORDS]
    return kept


_NUMBER = re.compile(r"\d\d?(?:\.\d+)?")


def _join_versions(words: list[str]) -> list[str]:
    """Put tier and version in one order: "claude-3.5-sonnet" is "claude-sonnet-3-5"."""
    tiers = TIER_WORDS.get(words[0]) if words else None
    if tiers is None:
        return words
    family, *others = words
    tier = list(takewhile(tiers.__contains__, others))
    numbers = list(takewhile(_NUMBER.fullmatch, others[len(tier) :]))
    rest = others[len(tier) + len(numbers) :]
    if numbers and not tier:
        tier = list(takewhile(tiers.__contains__, rest))
        rest = rest[len(tier) :]
    if family == "claude":
        ordered = [*tier, *_claude_version(numbers)]
    else:
        ordered = [".".join(numbers), *tier] if numbers else tier
    return [family, *ordered, *rest]


def _claude_version(numbers: list[str]) -> list[str]:
    """Return the parts of a version; Anthropic serves Claude Opus 4 as "claude-opus-4-0", too."""
    parts = [part for number in numbers for part in number.split(".")]
    return parts[:1] if parts[1:] == ["0"] else parts
