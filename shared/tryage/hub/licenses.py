"""Licences: which is declared, how strict it is, and which one holds for a derived model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from tryage.hub.record import as_str, as_strings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tryage.hub.model import Fact
    from tryage.hub.record import ParsedRecord


def parse_license(record: ParsedRecord) -> dict[str, Fact]:
    """Return the strictest declared licence of the tags, else of the model card.

    `license: other` is unknown, unless `license_name` is in the table.
    """
    declarations = [tag[len("license:") :] for tag in record.tags if tag.startswith("license:")]
    source = "license tag"
    if not declarations:
        declarations, source = (
            list(as_strings(record.card.get("license"))),
            "license of the model card",
        )
    if not declarations:
        return {}
    names = [
        normalize_license(name) or _license_name(record) for name in dict.fromkeys(declarations)
    ]
    text = ", ".join(declarations)[:200]
    license_ = strictest(names)
    if license_ is None:
        return {
            "license": record.fact(None, f"{source} says {text!r}, which names no licence", 0.0)
        }
    return {"license": record.fact(license_, f"{source} {text!r}", 0.9)}


def _license_name(record: ParsedRecord) -> str | None:
    """Return the licence in `license_name` of the model card, for `license: other`."""
    return normalize_license(record.card.get("license_name"))


class Strictness(IntEnum):
    """How much a licence demands of users, least first."""

    PUBLIC_DOMAIN = 0  # no conditions
    PERMISSIVE = 1  # keep the notices
    WEAK_COPYLEFT = 2  # changes of the licensed part stay open
    STRONG_COPYLEFT = 3  # everything made from it stays open
    USE_RESTRICTED = 4  # a list of acceptable uses, or a limit on the size of the business
    NONCOMMERCIAL = 5  # no commercial use, or research only
    NO_DERIVATIVES = 6  # no derivatives at all


@dataclass(frozen=True, slots=True)
class LicenseTerms:
    """Strictness and family of a licence: within a family, the stricter one contains the other."""

    strictness: Strictness
    family: str


def _license_table() -> dict[str, LicenseTerms]:
    """Return the licences that the Hub has a name for, with strictness and family.

    A model under a permissive licence may be passed on under a stricter one. Stricter terms of two
    families do not contain each other: both apply, and no single licence says so.
    """
    rows: tuple[tuple[Strictness, str, str], ...] = (
        (Strictness.PUBLIC_DOMAIN, "", "cc0-1.0 pddl unlicense wtfpl"),
        (
            Strictness.PERMISSIVE,
            "",
            "afl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear"
            " bsl-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cdla-permissive-1.0"
            " cdla-permissive-2.0 c-uda ecl-2.0 etalab-2.0 isc lppl-1.3c mit ms-pl ncsa odc-by"
            " ofl-1.1 openmdw-1.0 postgresql zlib apple-ascl",
        ),
        (Strictness.WEAK_COPYLEFT, "gnu", "lgpl lgpl-2.1 lgpl-3.0 lgpl-lr"),
        (Strictness.WEAK_COPYLEFT, "mpl", "mpl-2.0"),
        (Strictness.WEAK_COPYLEFT, "epl", "epl-1.0 epl-2.0"),
        (Strictness.WEAK_COPYLEFT, "cdla", "cdla-sharing-1.0"),
        (Strictness.STRONG_COPYLEFT, "gnu", "gpl gpl-2.0 gpl-3.0 agpl-3.0 gfdl"),
        (Strictness.STRONG_COPYLEFT, "cc", "cc-by-sa-3.0 cc-by-sa-4.0"),
        (Strictness.STRONG_COPYLEFT, "eupl", "eupl-1.1 eupl-1.2"),
        (Strictness.STRONG_COPYLEFT, "osl", "osl-3.0"),
        (Strictness.STRONG_COPYLEFT, "odbl", "odbl"),
        (
            Strictness.USE_RESTRICTED,
            "rail",
            "openrail openrail++ creativeml-openrail-m bigscience-openrail-m bigcode-openrail-m"
            " bigscience-bloom-rail-1.0",
        ),
        (Strictness.USE_RESTRICTED, "llama", "llama2 llama3 llama3.1 llama3.2 llama3.3 llama4"),
        (Strictness.USE_RESTRICTED, "gemma", "gemma"),
        (Strictness.USE_RESTRICTED, "qwen", "qwen"),
        (Strictness.USE_RESTRICTED, "deepseek", "deepseek"),
        (Strictness.USE_RESTRICTED, "nvidia", "nvidia-open-model-license"),
        (Strictness.USE_RESTRICTED, "grok", "grok2-community"),
        (Strictness.NONCOMMERCIAL, "qwen", "qwen-research"),
        (Strictness.NONCOMMERCIAL, "mistral", "mrl mnpl"),
        (Strictness.NONCOMMERCIAL, "exaone", "exaone"),
        (Strictness.NONCOMMERCIAL, "apple", "apple-amlr"),
        (Strictness.NONCOMMERCIAL, "deepfloyd", "deepfloyd-if-license"),
        (Strictness.NONCOMMERCIAL, "h-research", "h-research"),
        (Strictness.NONCOMMERCIAL, "intel", "intel-research"),
        (Strictness.NONCOMMERCIAL, "fair", "fair-noncommercial-research-license"),
        (
            Strictness.NONCOMMERCIAL,
            "cc",
            "cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0"
            " cc-by-nc-sa-4.0",
        ),
        (Strictness.NO_DERIVATIVES, "cc", "cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0"),
    )
    return {
        name: LicenseTerms(level, family) for level, family, names in rows for name in names.split()
    }


LICENSES: Mapping[str, LicenseTerms] = _license_table()

# Other spellings: in `license_name` next to `license: other`, or instead of the Hub's name.
_LICENSE_ALIASES: Mapping[str, str] = {
    "apache-2": "apache-2.0",
    "apache2": "apache-2.0",
    "apache 2.0": "apache-2.0",
    "apache license 2.0": "apache-2.0",
    "academic free license v3.0": "afl-3.0",
    "bsd-3": "bsd-3-clause",
    "cc-by-nc": "cc-by-nc-4.0",
    "exaone-license": "exaone",
    "deepseek-license": "deepseek",
    "gemma-terms-of-use": "gemma",
    "llama-2": "llama2",
    "llama2-community": "llama2",
    "llama-3": "llama3",
    "llama3-community": "llama3",
    "llama-3-community": "llama3",
    "llama-3.1": "llama3.1",
    "llama-3.1-community": "llama3.1",
    "llama-3.2": "llama3.2",
    "llama-3.2-community": "llama3.2",
    "llama-3.3": "llama3.3",
    "mistral-ai-research-license": "mrl",
    "mistral-ai-non-production-license": "mnpl",
    "mit license": "mit",
    "open-mdw": "openmdw-1.0",
    "qwen-license": "qwen",
    "qwen-research-license": "qwen-research",
    "tongyi-qianwen": "qwen",
    "tongyi-qianwen-license-agreement": "qwen",
    "tongyi-qianwen-research": "qwen-research",
}


def normalize_license(name: object) -> str | None:
    """Return the Hub's name of a licence; None for `other`, `unknown`, `cc` and invalid names."""
    word = as_str(name)
    if word is None:
        return None
    word = word.lower()
    word = _LICENSE_ALIASES.get(word, word)
    return word if word in LICENSES else None


def stricter(own_name: str | None, base_name: str | None) -> str | None:
    """Return the licence that holds for a model under `own_name` made from one under `base_name`.

    None where either is unknown, or where both apply and neither contains the other. If two
    licences of one family are equally strict, the base's holds: a derived model cannot change it.
    """
    if own_name is None or base_name is None:
        return None
    own_terms, base_terms = LICENSES.get(own_name), LICENSES.get(base_name)
    if own_terms is None or base_terms is None:
        return None
    most_permissive = Strictness.PERMISSIVE
    if (
        min(own_terms.strictness, base_terms.strictness) > most_permissive
        and own_terms.family != base_terms.family
    ):
        return None
    if own_terms.strictness == base_terms.strictness:
        return own_name if own_terms.strictness <= most_permissive else base_name
    return own_name if own_terms.strictness > base_terms.strictness else base_name


def strictest(names: Iterable[str | None]) -> str | None:
    """Return the licence that holds where all of these apply, None if no single licence does."""
    result: str | None = None
    for i, name in enumerate(names):
        result = name if i == 0 else stricter(result, name)
    return result
