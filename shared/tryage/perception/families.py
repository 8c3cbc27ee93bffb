"""Which family of models an expert belongs to, read from its base models, name and tags."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

# Makers reuse these words, so derived models tell whence they come.
SERIES = (
    *("mixtral", "ministral", "mistral", "codestral", "zephyr", "openchat", "solar", "starling"),
    *("tinyllama", "open_llama", "codellama", "llama", "vicuna", "alpaca", "wizard", "nemotron"),
    *("codeqwen", "qwen", "codegemma", "gemma", "gemini", "falcon", "deepseek", "internlm"),
    *("baichuan", "chatglm", "minimax", "kimi", "hunyuan", "claude", "chatgpt", "gpt-oss"),
    *("gpt-neox", "gptneox", "gpt-neo", "gptneo", "gpt-j", "gptj", "gpt2", "gpt", "command"),
    *("jamba", "mamba", "rwkv", "dbrx", "arctic", "grok", "pythia", "bloom", "olmo", "dolly"),
    *("stablelm", "smollm", "granite", "redpajama", "xglm", "starcoder", "codegen", "flan"),
    *("roberta", "deberta", "electra", "exaone", "guanaco"),
)
# Words so short that others contain them: they count only where they stand alone.
SHORT = (
    *("phi", "yi", "glm", "qwq", "aya", "reka", "nova", "opt", "mpt", "mt0", "t5", "bart"),
    *("bert", "orca", "o1", "o3", "o4"),
)
_VERSION = r"(?:[-_ ]?v?([1-9](?:\.\d)?)(?![\d.]*x?\d*[bmk](?![a-z]))(?!\d))?"
_WORDS = "|".join(re.escape(word) for word in sorted(SERIES, key=len, reverse=True))
_SERIES = re.compile(rf"(?<![a-z])({_WORDS}|(?:{'|'.join(SHORT)})(?![a-z])){_VERSION}")
_BASES, _REST = ("bases", "base_model"), ("model_type", "architectures", "tags")


def family(name: str, metadata: Mapping[str, Any] | None = None) -> tuple[str, str]:
    """Return the series and the generation, such as `("llama", "llama-3.1")`; `""` if unknown.

    The base model tells more than the own name, that more than the owner and the tags.
    `metadata["family"]` overrules all.
    """
    facts = metadata or {}
    hub = facts.get("hub")
    hub = hub if isinstance(hub, Mapping) else {}
    owner, _, own = name.rpartition("/")
    bases, rest = ([hub.get(key) for key in keys] for keys in (_BASES, _REST))
    for text in (facts.get("family"), *bases, own, owner, *rest):
        found = _SERIES.search(_flat(text).lower()) if text else None
        if found:
            series, version = found.groups()
            return series, f"{series}-{version}" if version else series
    return "", ""


def _flat(value: object) -> str:
    """Bring names, lists of names and objects with a name to one text."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return _flat(value.get("name") or value.get("id") or "")
    if isinstance(value, Sequence):
        return " ".join(_flat(item) for item in value)
    return ""
