"""The options that commands share: prompts from stdin, weights, requirements and routers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tryage import Preferences
from tryage.cli.options import format_count, format_value, parse_preferences, read_jsonl
from tryage.cli.terminal import format_table
from tryage.errors import InputError


def test_a_dash_stands_for_the_lines_of_stdin_that_are_not_blank(tryage, saved):
    piped = tryage("route", "--router", saved, "-", stdin="law oslo\n\n  \ncode paris\n")
    assert piped.stdout == tryage("route", "--router", saved, "law oslo", "code paris").stdout


def test_a_byte_order_mark_is_no_part_of_the_first_prompt(tryage, saved):
    piped = tryage("route", "--router", saved, "--json", "-", stdin="\ufefflaw oslo\n")
    assert json.loads(piped.stdout)["prompt"] == "law oslo"


def test_an_empty_stdin_is_refused_in_one_line(tryage, saved):
    done = tryage("route", "--router", saved, "-", stdin="\n")
    assert done.exit_code == 2
    assert done.stderr.startswith("tryage: No prompt was given.")


def test_a_requirement_is_written_as_in_a_flag(tryage, saved):
    for item, chosen in (
        ("size<3B", "tiny-1b"),
        ("license=apache-2.0|bsd", "code-7b"),
        ("context>=32k", "chat-70b"),
        ("since=2025", "tiny-1b"),
        ("model=CODE-7B", "code-7b"),
    ):
        done = tryage("route", "--router", saved, "prove oslo", "--require", item)
        assert done.stdout.split()[0] == chosen, item


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--require", "sise<3B"], "--require 'sise<3B' is not a requirement"),
        (["--require", "size=0.5"], "write --weight size=0.5"),
        (["--require", "smallest model"], "write --weight size=5"),
        (["--require", "most accurate"], "is not a requirement"),
        (["--weight", "size"], "'size' is not NAME=NUMBER"),
        (["--weight", "size=big"], "'size=big' is not NAME=NUMBER"),
        (["--weight", "size=-1"], "-1"),
        (["--weight", "colour=1"], "colour"),
    ],
)
def test_a_wrong_option_is_one_line_on_stderr_and_exit_code_2(tryage, saved, words, message):
    done = tryage("route", "--router", saved, "law oslo", *words)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("tryage: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_a_missing_router_is_refused_in_one_line(tryage, tmp_path):
    done = tryage("route", "--router", tmp_path / "nowhere", "law oslo")
    assert done.exit_code == 2
    assert "nowhere is not a folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_blank_lines_of_a_file_are_skipped(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n  \n{"a": 2}\n', "utf-8")
    assert read_jsonl(path) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{', "line 2 is not JSON"),
        (b"[1]", "line 1 is not a JSON object: .1."),
        (b"\xff", "is not text in UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_line_that_is_not_an_object_is_named(tmp_path, content, message):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_jsonl(path)


def test_counts_are_abbreviated_and_an_unknown_value_is_a_dash():
    assert [format_count(n) for n in (7e9, 1_234_567, 32_768, 12, None)] == [
        "7B", "1.23M", "32.8k", "12", "-",
    ]  # fmt: skip
    assert [format_value(v) for v in (0.25, "mit", None)] == ["0.25", "mit", "-"]


def test_a_table_has_left_columns_first_and_aligns_the_others_right():
    assert format_table([["a", "b"], ["long", "10"], ["c", "5"]]) == [
        "a      b",
        "long  10",
        "c      5",
    ]


def test_json_lines_end_at_a_newline_alone(tmp_path):
    rows = [{"prompt": "a\u2028b\x85c\x0b"}, {"prompt": "d"}]
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_bytes("\r\n".join(lines).encode())
    assert read_jsonl(path) == rows


WORDS = st.sampled_from(
    [
        "size",
        "cost",
        "<",
        "=",
        ">=",
        "3B",
        "0.5",
        "needs",
        "tools",
        "|",
        "since",
        "2025",
        "nan",
        "inf",
        "1e999",
        ",",
    ]
)


@given(
    st.lists(st.text(max_size=12) | st.lists(WORDS, max_size=5).map("".join), max_size=2),
    st.lists(st.text(max_size=12) | st.lists(WORDS, max_size=5).map("".join), max_size=2),
)
def test_any_weights_and_requirements_are_read_or_refused_in_words(weights, requirements):
    try:
        preferences = parse_preferences(weights, requirements)
    except InputError:
        return
    assert Preferences.from_dict(preferences.to_dict()) == preferences
