"""Flags: what they mean, what stays in the text, and that no string can break them."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tryage.core.expert import Expert
from tryage.core.flag_items import (
    CAPABILITIES,
    MAX_WEIGHT,
    NATURAL_PHRASES,
    NATURAL_WEIGHT,
    closest_form,
    parse_item,
)
from tryage.core.flags import MAX_ITEMS, extract_flags
from tryage.core.library import Library
from tryage.core.preferences import Preferences, Requirement
from tryage.errors import FlagError, InputError

GOOD = [
    "smallest model", "the newest model", "Cheapest", "low-cost", "most accurate", "concise",
    "size=0.5", "size<3B", "license=apache-2.0|mit", "since=2025-01-01", "cost<=0.002",
    "model=gpt-4", "latency<=500ms", "context>=32k", "downloads>=10k", "needs=tools|vision",
]  # fmt: skip
BAD = ["smalest", "size=3B", "size=-1", "size<", "since=2025-13-01", "needs=magic", "", "a=b", "<"]

blanks = st.sampled_from(["", " ", "\n", "\t", "  ", "\n\n  "])
openings = st.sampled_from(["[Flag:", "[flag :", "[ FLAG: ", "[fl", "ag:", "[", "[[Flag:"])
items = st.sampled_from([*GOOD, *BAD])
pieces = st.one_of(blanks, openings, items, st.sampled_from([",", "]", "|", "=", "a.", "(x)"]))
flags = st.builds("[Flag: {}]".format, st.lists(st.sampled_from(GOOD), min_size=1).map(",".join))
prompts = st.one_of(
    st.text(), st.lists(st.one_of(pieces, flags, st.text(max_size=3)), max_size=25).map("".join)
)


@given(prompts)
@settings(max_examples=300)
def test_any_string_is_parsed_or_refused_with_a_flag_error(prompt: str) -> None:
    extract_flags(prompt)
    try:
        extracted = extract_flags(prompt, strict=True)
    except FlagError as error:
        assert str(error)  # noqa: PT017 - either outcome is right
    else:
        assert extracted == extract_flags(prompt)
        assert not extracted.warnings


@given(st.text())
@example("[Flag smallest model]")
@example("a  b \r\n\t [x] flag: small]")
@example("\ud800 [flags: small]")
def test_text_without_flags_is_identical(prompt: str) -> None:
    assert extract_flags(prompt).text == prompt


@given(prompts)
@example("[[Flag: small]Flag: small]")
@example("[Fla[Flag: small]g: small]")
@example("[flag: small [flag: newest] ]")
@example("[ [Flag: small]\n flag: small]")
@settings(max_examples=500)
def test_extracting_from_the_output_changes_nothing(prompt: str) -> None:
    once = extract_flags(prompt)
    again = extract_flags(once.text)
    assert again.text == once.text
    assert again.flags == ()
    assert again.preferences == Preferences()


@given(st.lists(st.sampled_from(["Prove", "that", "two.", "x=1"]), min_size=1), st.data())
def test_a_flag_between_words_leaves_single_spaces(words: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(words)))
    flag = data.draw(flags)
    prompt = " ".join([*words[:at], flag, *words[at:]])
    assert extract_flags(prompt).text == " ".join(words)


@given(st.lists(st.sampled_from(GOOD), max_size=6))
def test_brackets_and_commas_mean_the_same(wanted: list[str]) -> None:
    apart = extract_flags("x" + "".join(f" [flag:{item}]" for item in wanted))
    together = extract_flags("x" + (f" [FLAG: {' , '.join(wanted)} ]" if wanted else ""))
    assert apart == together


@given(prompts, prompts)
def test_flags_never_admit_what_the_operator_rejected(operator: str, user: str) -> None:
    rules = extract_flags(operator).preferences
    library = Library(
        [
            Expert("gpt-4", parameters=1e12, license="other", input_price=30),
            Expert("tiny", parameters=1e8, license="mit", released=datetime.date(2025, 6, 1)),
            Expert(
                "tool", latency=0.1, context_length=64_000, capabilities=frozenset(CAPABILITIES)
            ),
            Expert("bare"),
        ]
    )
    cost = library.column("input_price")
    both = rules.tightened(extract_flags(user).preferences)
    assert not (both.satisfied(library, cost) & ~rules.satisfied(library, cost)).any()
    assert all(both.weights[name] >= weight for name, weight in rules.weights.items())


@pytest.mark.parametrize(
    ("item", "constraint"),
    [
        ("smallest model", "size"), ("newest", "recency"), ("cheapest", "cost"),
        ("fastest", "latency"), ("safest", "security"), ("most popular", "popularity"),
        ("concise", "verbosity"), ("readable", "readability"), ("the Latest  MODEL", "recency"),
        ("low-cost", "cost"),
    ],
)  # fmt: skip
def test_a_natural_wish_sets_the_documented_weight(item: str, constraint: str) -> None:
    assert extract_flags(f"[Flag: {item}]").preferences == Preferences({constraint: NATURAL_WEIGHT})


@pytest.mark.parametrize(
    ("item", "field", "op", "value"),
    [
        ("size<3B", "parameters", "<", 3e9),
        ("SIZE <= 350 m", "parameters", "<=", 350e6),
        ("license=apache-2.0|MIT", "license", "in", ("apache-2.0", "mit")),
        ("licence=mit", "license", "in", ("mit",)),
        ("since=2025-01-31", "released", ">=", datetime.date(2025, 1, 31)),
        ("since=2025", "released", ">=", datetime.date(2025, 1, 1)),
        ("cost<=$0.002", "cost", "<=", 0.002),
        ("model=Org/Name-7B", "name", "in", ("Org/Name-7B",)),
        ("latency<=500ms", "latency", "<=", 0.5),
        ("context>=32k", "context_length", ">=", 32e3),
        ("downloads>=1e4", "downloads", ">=", 1e4),
        ("needs=Tools | vision", "capabilities", "has", ("tools", "vision")),
        ("security>=0.9", "security", ">=", 0.9),
        ("verbosity<=200", "output_tokens", "<=", 200),
        ("readability>=60", "readability", ">=", 60),
    ],
)
def test_an_exact_form_is_a_requirement(item: str, field: str, op: str, value: object) -> None:
    assert extract_flags(f"[flag:{item}]").preferences.requirements == (
        Requirement(field, op, value),
    )


@pytest.mark.parametrize("name", NATURAL_PHRASES)
def test_every_constraint_takes_an_exact_weight(name: str) -> None:
    assert extract_flags(f"[Flag: {name} = 0.25]").preferences == Preferences({name: 0.25})


def test_the_largest_weight_of_a_constraint_counts() -> None:
    assert extract_flags("[Flag: size=0.2][Flag: size=0.7, size=0.1]").preferences.weights == {
        "size": 0.7
    }


def test_most_accurate_drops_the_weights_of_other_flags_but_no_requirement() -> None:
    wanted = extract_flags("[Flag: smallest, size<3B] [Flag: most accurate]").preferences
    assert wanted == Preferences(requirements=[Requirement("parameters", "<", 3e9)])


def test_most_accurate_keeps_the_weights_of_the_operator() -> None:
    operator = Preferences({"cost": 0.3})
    assert operator.tightened(extract_flags("[Flag: most accurate]").preferences) == operator


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("Prove it. [Flag: small]", "Prove it."),
        ("[Flag: small] Prove it.", "Prove it."),
        ("[Flag: small]\n    code", "    code"),
        ("one\n[Flag: small]\ntwo", "one\ntwo"),
        ("one\r\n[Flag: small]\r\ntwo", "one\r\ntwo"),
        ("one\n\n[Flag: small]\n\ntwo", "one\n\ntwo"),
        ("one [Flag: small]\n    two", "one\n    two"),
        ("one\n\n[Flag: small]\n    two", "one\n\n    two"),
        ("one\n  [Flag: small] two", "one\n  two"),
        ("one\n[Flag: small]\n", "one\n"),
        ("one[Flag: small]two", "one two"),
        ("use the [Flag: small], please", "use the, please"),
        ("(see [Flag: small])", "(see)"),
        ("a [Flag: small] [Flag: newest] b", "a b"),
        ("see [1] [Flag: small] [2]", "see [1] [2]"),
        ("keep  these   blanks [Flag: small]", "keep  these   blanks"),
        ("[Flag: small]", ""),
    ],
)
def test_a_flag_is_taken_out_tidily(prompt: str, text: str) -> None:
    assert extract_flags(prompt).text == text


@pytest.mark.parametrize("item", BAD)
def test_a_malformed_flag_stays_in_the_text_with_a_warning(item: str) -> None:
    prompt = f"a [Flag: small, {item}]  b"
    extracted = extract_flags(prompt)
    assert extracted.text == prompt
    assert extracted.preferences == Preferences()
    assert "nearest valid form" in extracted.warnings[0]


@pytest.mark.parametrize(
    ("item", "form"),
    [
        ("smalest model", "smallest model"),
        ("size=3B", "size<=3B"),
        ("siez<3B", "size<3B"),
        ("since=last year", "since=2025-01-01"),
        ("licens=mit", "license=apache-2.0|mit"),
        ("needs=tols", "needs=tools|vision"),
        ("", "smallest model"),
    ],
)
def test_strict_mode_names_the_nearest_valid_form(item: str, form: str) -> None:
    with pytest.raises(FlagError) as caught:
        extract_flags(f"[Flag: {item}]", strict=True)
    assert f"The nearest valid form is [Flag: {form}]." in str(caught.value)


@given(st.text(st.characters(exclude_characters="[],"), max_size=40))
def test_the_form_that_is_suggested_is_valid(item: str) -> None:
    assert parse_item(closest_form(item)) is not None


@pytest.mark.parametrize(
    "prompt", ["[Flag: small", "[Flag: small [1] ]", f"[Flag: {'small, ' * 80}small]"]
)
def test_an_unclosed_or_endless_flag_is_refused(prompt: str) -> None:
    assert extract_flags(prompt).text == prompt
    with pytest.raises(FlagError):
        extract_flags(prompt, strict=True)


@pytest.mark.parametrize(
    "weight", ["-1", "nan", "inf", "1e999", f"{MAX_WEIGHT + 1}", "0x", "\u0661"]
)
def test_a_weight_that_is_no_number_from_0_to_the_maximum_is_refused(weight: str) -> None:
    assert parse_item(f"size={weight}") is None


@pytest.mark.parametrize("item", ["security>=2", "size<1e999", "readability<1e999"])
def test_a_bound_outside_the_range_of_its_field_is_refused(item: str) -> None:
    assert parse_item(item) is None


def test_items_over_the_limit_are_dropped_with_a_warning() -> None:
    prompt = "a " + "".join(f"[Flag: size<{n + 1}B]" for n in range(MAX_ITEMS + 9))
    extracted = extract_flags(prompt)
    assert extracted.text == "a"
    assert len(extracted.preferences.requirements) == MAX_ITEMS
    assert str(MAX_ITEMS) in extracted.warnings[0]
    with pytest.raises(FlagError):
        extract_flags(prompt, strict=True)


@pytest.mark.parametrize(
    "prompt",
    [
        "[Flag:" * 170_000,
        "[Flag: small]" * 80_000,
        "[flag: small " * 40_000 + "]" * 40_000,
        "[flag" + " " * 1_000_000,
        "[flag:" + "," * 1_000_000 + "]",
        "[flag: x]" * 110_000,
        " " * 500_000 + "[flag:small]" * 40_000,
        "[ " * 300_000 + "[flag: small]" + " ]" * 300_000,
    ],
    ids=["opened", "valid", "nested", "blanks", "commas", "malformed", "tail", "brackets"],
)
def test_an_adversarial_megabyte_ends_soon_with_few_warnings(prompt: str) -> None:
    extracted = extract_flags(prompt)  # quadratic work would take many minutes here
    assert len(extracted.warnings) <= 7
    assert extract_flags(extracted.text).text == extracted.text


@pytest.mark.parametrize("prompt", [["a"], None, b"[Flag: small]", 3])
def test_a_prompt_that_is_not_a_string_is_refused(prompt: object) -> None:
    with pytest.raises(InputError, match="A prompt is a string"):
        extract_flags(prompt)  # type: ignore[arg-type]
