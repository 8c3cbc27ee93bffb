"""Which licence is declared, and which of two holds when one model was made from the other."""

from __future__ import annotations

import pytest

from tryage.hub.licenses import LICENSES, Strictness, normalize_license, stricter, strictest


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"tags": ["license:apache-2.0"]}, "apache-2.0"),
        ({"tags": ["license:Apache-2.0", "en"]}, "apache-2.0"),
        ({"cardData": {"license": "mit"}}, "mit"),
        ({"cardData": {"license": ["mit", "cc-by-nc-4.0"]}}, "cc-by-nc-4.0"),
        ({"tags": ["license:mit", "license:gpl-3.0"]}, "gpl-3.0"),
        ({"tags": ["license:other"], "cardData": {"license_name": "llama3.1"}}, "llama3.1"),
        ({"tags": ["license:other"], "cardData": {"license_name": "tongyi-qianwen"}}, "qwen"),
        ({"tags": ["license:mit"], "cardData": {"license": "gpl-3.0"}}, "mit"),  # tags are newer
    ],
)
def test_a_declared_licence_is_read(parse, fields, found):
    assert parse(**fields).value("license") == found


@pytest.mark.parametrize("word", ["other", "unknown", "cc", "???", "my-own-license"])
def test_a_word_that_names_no_licence_is_unknown_for_a_reason(parse, word):
    fact = parse(tags=[f"license:{word}"]).facts["license"]
    assert fact.value is None
    assert fact.source == f"license tag says {word!r}, which names no licence"


def test_one_unknown_licence_beside_a_known_one_leaves_both_unknown(parse):
    assert parse(tags=["license:mit", "license:other"]).value("license") is None


@pytest.mark.parametrize("fields", [{}, {"tags": ["mit"]}, {"cardData": {"license": 7}}])
def test_without_a_declared_licence_there_is_no_fact(parse, fields):
    assert "license" not in parse(**fields).facts


@pytest.mark.parametrize(
    ("own", "base", "holds"),
    [
        ("apache-2.0", "apache-2.0", "apache-2.0"),
        ("apache-2.0", "mit", "apache-2.0"),  # both are permissive: the author chooses
        ("mit", "cc0-1.0", "mit"),
        ("cc0-1.0", "mit", "mit"),
        ("apache-2.0", "llama3", "llama3"),  # the mislabelled derivative
        ("llama3", "apache-2.0", "llama3"),
        ("mit", "gpl-3.0", "gpl-3.0"),
        ("lgpl-3.0", "gpl-3.0", "gpl-3.0"),
        ("gpl-3.0", "lgpl-3.0", "gpl-3.0"),
        ("cc-by-nc-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
        ("llama3", "llama3.1", "llama3.1"),  # equally strict: the derivative cannot change it
        ("qwen", "qwen-research", "qwen-research"),
        ("openrail", "creativeml-openrail-m", "creativeml-openrail-m"),
        ("gemma", "llama3", None),  # both apply
        ("cc-by-nc-4.0", "llama2", None),
        ("gpl-3.0", "mpl-2.0", None),
        (None, "mit", None),
        ("mit", None, None),
        ("mit", "invented", None),
    ],
)
def test_the_stricter_licence_holds_and_two_that_both_apply_give_none(own, base, holds):
    assert stricter(own, base) == holds


def test_the_result_is_as_strict_as_the_stricter_licence_in_either_order():
    for own, mine in LICENSES.items():
        for base, theirs in LICENSES.items():
            held = stricter(own, base)
            assert (held is None) == (stricter(base, own) is None)
            if held is not None:
                assert LICENSES[held].strictness == max(mine.strictness, theirs.strictness)


def test_the_order_of_strictness_is_the_documented_one():
    order = ("cc0-1.0", "mit", "mpl-2.0", "gpl-3.0", "llama3", "cc-by-nc-4.0", "cc-by-nc-nd-4.0")
    assert [LICENSES[name].strictness for name in order] == list(Strictness)


def test_the_strictest_of_several_licences_holds_and_of_none_none():
    assert strictest([]) is None
    assert strictest(["mit", "llama2", "apache-2.0"]) == "llama2"


@pytest.mark.parametrize("value", [None, 3, "", " ", "x" * 600, "mit\0", ["mit"]])
def test_a_value_that_is_not_a_name_is_no_licence(value):
    assert normalize_license(value) is None
