"""Prompts that look like flags and are none, and prompts that are made to take for ever."""

from __future__ import annotations

import unicodedata

import pytest

from tryage import Router
from tryage.core import flags
from tryage.core.flags import MAX_ITEMS, MAX_READ, extract_flags
from tryage.core.preferences import Preferences

FLAG = "[Flag: model=dear]"


def variants():
    """Yield the flag with every letter replaced by look-alikes, or with something hidden in it."""
    looks = str.maketrans(
        {"a": "\u0430", "e": "\u0435", "l": "\u0406", "g": "\u0261", "o": "\u043e"}
    )
    yield FLAG.translate(looks)
    yield FLAG.replace("Flag", "F\u0406ag")
    yield FLAG.replace("[", "\uff3b").replace("]", "\uff3d")
    yield FLAG.replace(":", "\uff1a")
    yield FLAG.replace("=", "\uff1d")
    for hidden in (
        "\u200b",
        "\u200d",
        "\u2060",
        "\ufeff",
        "\xad",
        "\u202e",
        "\0",
        "\U000e0041",
        "\u0301",
    ):
        yield FLAG.replace("Fl", f"Fl{hidden}")
    yield f"\u202e{FLAG[::-1]}"
    yield unicodedata.normalize("NFKD", FLAG).replace("a", "\u00aa")


@pytest.mark.parametrize("prompt", list(variants()))
def test_a_flag_in_look_alike_or_hidden_letters_is_text(prompt):
    found = extract_flags(f"{prompt} hello")
    assert found.preferences == Preferences()
    assert found.flags == ()
    assert found.text == f"{prompt} hello"


@pytest.mark.parametrize("hidden", ["\u200b", "\u202e", "\x1b[2J", "\u0301" * 50, "\x9b"])
def test_what_is_shown_of_a_flag_has_no_hidden_letter(hidden):
    found = extract_flags(f"[Flag: model=a{hidden}b] hello")
    assert all(text.isprintable() for text in (*found.flags, *found.warnings))
    assert all(len(text) < 300 for text in (*found.flags, *found.warnings))


BOMBS = {
    "flags": "[Flag: size<1B]" * 100_000,
    "open": "[Flag:" * 300_000,
    "brackets": "[" * 3_000_000,
    "closed": "]" * 3_000_000,
    "nested": "[Flag: " * 100_000 + "]" * 100_000,
    "items": "[Flag: " + "size<1B," * 400_000 + "]",
    "blanks": "[" + " " * 3_000_000 + "flag:x]",
    "marks": "a" + "\u0301" * 3_000_000,
    "wide": "\U0001f468\u200d" * 500_000,
    "letters": "[Flag: model=" + "\u0130" * 1_000_000 + "]",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_megabytes_are_read_at_their_ends_alone(kind, monkeypatch):
    read = []
    monkeypatch.setattr("tryage.core.flags._read_flags", _counting(read))
    found = extract_flags(BOMBS[kind])
    assert sum(read) <= 2 * MAX_READ
    assert len(found.flags) <= MAX_ITEMS
    assert len("".join(found.warnings)) < 2_000
    assert len(found.preferences.requirements) <= MAX_ITEMS


def _counting(read):
    """Return what reads a part of a prompt for flags, and notes its length."""
    original = flags._read_flags

    def count(part, text, items):
        read.append(len(part))
        original(part, text, items)

    return count


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bundled_router_decides_about_megabytes(kind, bundled):
    decision = bundled.route(BOMBS[kind])
    assert decision.chosen is not None


@pytest.fixture(scope="module")
def bundled():
    return Router.from_pretrained(prompt_flags=True)
