"""Flags in prompts: which text stays, how flags combine, and that no string can break them."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tryage.core.expert import Expert
from tryage.core.flag_items import CAPABILITIES, FlagItem, parse_item
from tryage.core.flags import MAX_ITEMS, MAX_READ, FlagExtraction, extract_flags
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
def test_every_string_is_parsed_or_refused_with_a_flag_error(prompt: str) -> None:
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
def test_flags_never_admit_an_expert_that_the_operator_rejected(operator: str, user: str) -> None:
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


def test_the_largest_weight_of_a_constraint_counts() -> None:
    assert extract_flags("[Flag: size=0.2][Flag: size=0.7, size=0.1]").preferences.weights == {
        "size": 0.7
    }


def test_most_accurate_drops_the_weights_of_other_flags_but_keeps_requirements() -> None:
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
def test_the_gap_of_a_removed_flag_is_closed(prompt: str, text: str) -> None:
    assert extract_flags(prompt).text == text


@pytest.mark.parametrize("item", BAD)
def test_a_malformed_flag_stays_in_the_text_with_a_warning(item: str) -> None:
    prompt = f"a [Flag: small, {item}]  b"
    extracted = extract_flags(prompt)
    assert extracted.text == prompt
    assert extracted.preferences == Preferences()
    assert "nearest valid form" in extracted.warnings[0]


def test_strict_mode_raises_with_the_nearest_valid_form() -> None:
    with pytest.raises(FlagError) as caught:
        extract_flags("[Flag: size=3B]", strict=True)
    assert "The nearest valid form is [Flag: size<=3B]." in str(caught.value)


@pytest.mark.parametrize(
    "prompt", ["[Flag: small", "[Flag: small [1] ]", f"[Flag: {'small, ' * 80}small]"]
)
def test_an_unclosed_or_endless_flag_is_refused(prompt: str) -> None:
    assert extract_flags(prompt).text == prompt
    with pytest.raises(FlagError):
        extract_flags(prompt, strict=True)


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
def test_of_an_adversarial_megabyte_only_the_ends_are_read(
    prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def parse_and_count(item: str) -> FlagItem | None:
        read.append(item)
        return parse_item(item)

    monkeypatch.setattr("tryage.core.flags.parse_item", parse_and_count)
    extracted = extract_flags(prompt)
    assert sum(map(len, read)) <= 4 * MAX_READ
    assert len(extracted.warnings) <= 4
    assert len(extracted.flags) <= MAX_ITEMS
    assert prompt[MAX_READ:-MAX_READ] in extracted.text


def test_flags_at_both_ends_of_a_long_prompt_are_read_and_those_between_are_text() -> None:
    filler = "word " * 3_000
    prompt = f"[Flag: newest] {filler}[Flag: cheapest] {filler}end [Flag: fastest]"
    extracted = extract_flags(prompt, strict=True)
    assert extracted.flags == ("newest", "fastest")
    assert extracted.text == f"{filler}[Flag: cheapest] {filler}end"


@pytest.mark.parametrize("shift", range(-20, 3))
def test_a_flag_that_the_limit_would_cut_stays_text_as_a_whole(shift: int) -> None:
    start = MAX_READ + shift
    prompt = "a" * start + "[Flag: newest]" + "b" * 3 * MAX_READ
    extracted = extract_flags(prompt, strict=True)
    if start + len("[Flag: newest]") <= MAX_READ:
        assert extracted.flags == ("newest",)
        assert extracted.text == prompt.replace("[Flag: newest]", " ")
    else:
        assert extracted == FlagExtraction(prompt)


def test_a_removed_flag_at_the_limit_joins_no_words() -> None:
    flag = "[Flag: newest]"
    for padding in range(MAX_READ - 20, MAX_READ + 1):
        prompt = "a" * padding + f" {flag} " + "b" * 3 * MAX_READ + f" {flag} end"
        assert "ab" not in extract_flags(prompt).text
        assert "b" * 3 * MAX_READ + " end" in extract_flags(prompt).text


def test_items_are_shown_without_control_characters_and_shortened() -> None:
    (shown,) = extract_flags(f"[Flag: model=\x1bc\x07{'long' * 50}] hi").flags
    assert shown.startswith("model=?c?long")
    assert len(shown) == 83
    assert shown.endswith("...")


def test_words_that_no_expert_has_are_left_out_and_shown_as_a_question_mark() -> None:
    library = Library([Expert("small", license="mit"), Expert("large", aliases=("big",))])
    prompt = "[Flag: model=BIG|my secret, license=mit|my secret, model=other, license=mit] hi"
    extracted = extract_flags(prompt, library=library)
    assert extracted.flags == ("model=BIG|?", "license=mit|?", "model=?", "license=mit")
    assert "secret" not in repr(extracted)
    words = [requirement.words for requirement in extracted.preferences.requirements]
    assert words == [("BIG",), ("mit",), ()]


@pytest.mark.parametrize("prompt", [["a"], None, b"[Flag: small]", 3])
def test_a_prompt_that_is_not_a_string_is_refused(prompt: object) -> None:
    with pytest.raises(InputError, match="A prompt is a string"):
        extract_flags(prompt)  # type: ignore[arg-type]
