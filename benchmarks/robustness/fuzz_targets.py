"""What is fuzzed: for each parser a function of bytes that checks what comes of them.

A target returns, whatever the bytes are: a parser may refuse them with an error of Tryage, and any
other exception is a finding, also that of an `assert`, which states what must hold of everything
that is accepted.
"""

from __future__ import annotations

import datetime
import functools
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from fuzz_files import (
    check_config,
    check_message,
    check_saved,
    check_table,
    saved_seeds,
    table_seeds,
)
from fuzz_hub import check_hub, hub_seeds, hub_words, texts_in
from fuzz_mutations import (
    change_json_lines,
    change_labeled_json,
    change_lines,
    change_safetensors,
    change_text,
)

from tryage.chat.efforts import join_effort, split_effort
from tryage.chat.model_names import bundled_library, find_model, resolve_model_name
from tryage.core import flags
from tryage.core.expert import Expert
from tryage.core.flag_items import closest_form
from tryage.core.flags import MAX_READ, extract_flags
from tryage.core.library import Library
from tryage.core.preferences import Preferences
from tryage.errors import FlagError, LibraryError
from tryage.models.lookup import canonical_name, look_up
from tryage.models.names import parse_model_name
from tryage.models.refresh import current_snapshot

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tryage.models.snapshot import ModelSnapshot

    Check: TypeAlias = Callable[[bytes], None]
    Seeds: TypeAlias = Callable[[], Iterable[bytes]]
    Mutation: TypeAlias = Callable[[bytes, Sequence[str], random.Random], bytes]


@dataclass(frozen=True, slots=True)
class Target:
    """A parser to fuzz.

    `words` are those of its language, from which libFuzzer and the mutation make inputs, and
    `max_length` is that of an input in bytes.
    """

    check: Check
    seeds: Seeds
    mutation: Mutation
    words: tuple[str, ...] = ()
    max_length: int = 4_096


# Flags -----------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def _experts() -> Library:
    """Return experts of which some meet each kind of requirement, and some say nothing."""
    return Library(
        [
            Expert("small", parameters=1e9, license="mit", input_price=0.1, output_price=0.1),
            Expert("large", parameters=70e9, input_price=5.0, output_price=15.0, security=1.0),
            Expert("seeing", capabilities=frozenset({"vision"}), context_length=128_000),
            Expert("new", released=datetime.date(2026, 1, 1), downloads=1e6, latency=0.5),
            Expert("unknown"),
        ]
    )


_LIMITS = Preferences({"size": 0.5, "cost": 0.3}, max_cost=0.01, licenses=["mit"], tolerance=0.02)
_COSTS = (0.001, 0.2, 0.005, None, 0.02)


def check_flags(data: bytes) -> None:
    """Extract flags: text stays, nothing is loosened, and a second time changes nothing.

    In one input of four only 40 letters are read at each end. The nearest valid form, which takes
    ten times as long as all the rest, is looked for in one of eight.
    """
    case = zlib.crc32(data) % 8
    flags.MAX_READ = 40 if case % 4 == 1 else MAX_READ
    flags.closest_form = closest_form if case == 0 else _no_form
    try:
        _check_flags(data.decode("utf-8", "surrogateescape"), flags.MAX_READ)
    finally:
        flags.MAX_READ, flags.closest_form = MAX_READ, closest_form


def _no_form(_: str) -> str:
    return "smallest model"


def _check_flags(prompt: str, max_read: int) -> None:
    found = extract_flags(prompt)
    assert _is_part("".join(found.text.split()), "".join(prompt.split()))
    assert found.flags or found.text == prompt
    assert all(flag.isprintable() and len(flag) <= 83 for flag in found.flags)
    if found.flags and len(prompt) <= 2 * max_read:
        again = extract_flags(found.text)
        assert (again.text, again.flags) == (found.text, ())
    if found.flags:
        known = extract_flags(prompt, library=_experts())
        assert (known.text, known.warnings) == (found.text, found.warnings)
        for limits in (_LIMITS, Preferences()):
            _check_tightened(limits, known.preferences)
    _check_strict(prompt, bool(found.warnings))


def _check_tightened(limits: Preferences, asked: Preferences) -> None:
    """Check that no expert is allowed that the limits reject, and that no weight is lowered."""
    costs = np.array(_COSTS, dtype=np.float64)
    tightened = limits.tightened(asked)
    met = tightened.satisfied(_experts(), costs)
    assert not (met & ~limits.satisfied(_experts(), costs)).any()
    assert all(tightened.weights[name] >= weight for name, weight in limits.weights.items())


def _check_strict(prompt: str, has_warnings: bool) -> None:
    try:
        extract_flags(prompt, strict=True)
    except FlagError:
        assert has_warnings
    else:
        assert not has_warnings


def _is_part(text: str, whole: str) -> bool:
    """Tell whether a text is what is left of another one when some of its letters are removed."""
    if text == whole:
        return True
    letters = iter(whole)
    return all(letter in letters for letter in text)


_FLAG_WORDS = (
    *("[Flag: ", "[flag:", "]", "[", ",", "|", "=", "<", ">=", "smallest model", "most accurate"),
    *("size<3B", "cost<=0.002", "cost=5", "license=mit|apache-2.0", "needs=tools|vision", "1e999"),
    *("model=large", "model=?", "since=2025-02-30", "context>=32k", "latency<2ms", "\x1b]0;x\x07"),
    *("\u200b", "\u202e", "\uff3b", "\ufb02ag", "\u0130", "\n\n", " ", "a" * 250, "[" * 40),
)


def _flag_seeds() -> Iterable[bytes]:
    yield b"Sum it up [Flag: smallest model, size<3B] please."
    yield b"[Flag: cost<=$0.01 usd, needs=vision|tools][FLAG : since=2025-01][flag: cost=5] x"
    yield b"a [Flag: [Flag: newest] cheapest model] b\n[Flag: nonsense]"
    yield b"[Flag: security>=0.9, readability>60, downloads>10k, context>=1m, latency<=500ms] y"


# Names of models -------------------------------------------------------------------------------


def check_names(data: bytes) -> None:
    """Read a name: all of its parts, and the same answer twice and with blanks around it."""
    text = data.decode("utf-8", "surrogateescape")
    first = _read_name(text)
    case = zlib.crc32(data) % 32  # of an unknown name all spellings are looked up, then near names
    if case % 4 == 0:
        first = (*first, _resolve(text))
    if case % 16 == 0:
        assert first == (*_read_name(text), _resolve(text))
        assert first == (*_read_name(f" {text}\n"), _resolve(f" {text}\n"))
    if case == 0:
        _find(text)
    name, effort = split_effort(text)
    if effort is not None and name:
        assert split_effort(join_effort(text, effort))[1] == effort


def _read_name(text: str) -> tuple[object, ...]:
    parsed = parse_model_name(text)
    parts: tuple[object, ...] = ()
    if parsed is not None:
        parts = (parsed.key, parsed.undated_key, parsed.family, parsed.generation)
        parts += (parsed.tier, parsed.size)
        assert parsed.model == parsed.model.lower()
    return (parsed, *parts)


def _resolve(text: str) -> tuple[object, ...]:
    """Return which model and which expert a name means."""
    snapshot = _snapshot()
    known, canonical = look_up(text, snapshot=snapshot), canonical_name(text, snapshot=snapshot)
    expert = resolve_model_name(bundled_library(), text)
    return (known and known.name, canonical, expert and expert.name)


@functools.lru_cache(maxsize=1)
def _snapshot() -> ModelSnapshot:
    """Return the facts that every call asks the disk for."""
    return current_snapshot()


def _find(text: str) -> None:
    try:
        assert find_model(bundled_library(), text) in bundled_library()
    except LibraryError as error:
        check_message(error)


_NAME_WORDS = (
    *(
        "gpt",
        "-5.4",
        "-mini",
        "claude",
        "-sonnet",
        "-4-5",
        "@high",
        "@reasoning=",
        "(high)",
        ":free",
    ),
    *(
        "openai:",
        "openrouter/",
        "us.anthropic.",
        "arn:aws:bedrock:x/",
        "-v2:0",
        "-20241022",
        "-0613",
    ),
    *(
        "llama",
        "3.1",
        "-70b",
        "-8x7b",
        "-a3b",
        "-instruct",
        "-it",
        "q4_k_m",
        "-fp8",
        "-gguf",
        "-awq",
    ),
    *(
        "[a](b)",
        "[1m]",
        "__",
        "--",
        "\\",
        "~",
        "projects/",
        "qwen2.5",
        "deepseek-r1",
        "05/28",
        "-16k",
    ),
    *(
        "-thinking",
        "non-reasoning",
        "-preview",
        "-latest",
        "mistral",
        "(",
        ")",
        "@",
        "\u0130",
        "9" * 40,
    ),
)


def _name_seeds() -> Iterable[bytes]:
    yield from (name.encode() for name in bundled_library().names)
    yield b"us.anthropic.claude-3-5-sonnet-20241022-v2:0"
    yield b"openrouter/qwen/qwen-2.5-7b-instruct:free"
    yield b"Claude 3.5 Sonnet (Oct) (high reasoning)"
    yield b"arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-v2:1"
    yield b"DeepSeek R1 05/28 (non-reasoning)"
    yield b"ollama:qwen3:30b-a3b-q4_K_M"


# All -------------------------------------------------------------------------------------------

_CONFIG_WORDS = (
    *(
        "[[models]]",
        "[[rules]]",
        "[[policies]]",
        "[router]",
        "[preferences]",
        "[traffic]",
        "[chat]",
    ),
    *(
        "kind = ",
        '"Budget"',
        '"Threshold"',
        '"Cascade"',
        '"Rules"',
        "name = ",
        "model = ",
        "only = ",
    ),
    *(
        "efforts = ",
        '["low"]',
        "usd_per_day = 5",
        "timezone = ",
        '"../../x"',
        "pattern = ",
        '"(a+)+"',
    ),
    *(
        "max_cost = 0.05",
        "weights = {size = 1}",
        "released = 2025-01-01",
        "url = ",
        '"${A}"',
        "nan",
    ),
    *("inf", "true", "'''", '"""', "\\u0000", "[[", "]]", "{", "}", "=", ".", "#", "\n", "9" * 30),
    *("requirements = [{field = ", "op = ", "value = ", "language = ", "time = ", '"22:00-06:00"'),
    *(
        "include = ",
        '["more.toml"]',
        "steps = ",
        "verify = ",
        "by = ",
        "path = ",
        "default = ",
        '"\\u0000"',
    ),
)


def _config_seeds() -> Iterable[bytes]:
    yield (
        b'[[models]]\nmodel = "openai:gpt-5.6"\nefforts = ["low", "high"]\nreleased = 2025-01-01\n'
        b'[[models]]\nname = "ours"\nmodel = "openai:ours-8b"\nbase_url = "http://${A}/v1"\n'
        b'settings = {temperature = 0.2}\n[preferences]\npreset = "balanced"\nmax_cost = 0.05\n'
        b'weights = {size = 0.5}\n[[preferences.requirements]]\nfield = "cost"\nop = "<="\n'
        b"value = 1\n"
    )
    yield (
        b'[router]\ndefault = "a"\n[[rules]]\nname = "x"\ntag = "t"\nonly = "ours"\n'
        b'[[rules]]\nban = ["a"]\ntime = "22:00-06:00"\nweekday = ["sat"]\n'
        b'timezone = "Europe/Berlin"\n'
        b'pattern = "a+"\nlanguage = "de"\nrequire = {max_cost = 0.01}\nkey = {user_id = ["ann"]}\n'
    )
    yield (
        b'[[policies]]\nkind = "QualityGap"\ngap = 0.02\n[[policies]]\nkind = "Budget"\n'
        b'usd_per_month = 500\nby = "team"\n[[policies]]\nkind = "Threshold"\nstrong = "a"\n'
        b'weak = ["b"]\nshare = 0.2\n[[policies]]\nkind = "Cascade"\nsteps = ["a", "b"]\n'
        b'verify = {kind = "Agreement"}\n'
    )
    yield (
        b'include = ["more.toml"]\n[traffic]\nurl = "sqlite:///${A}.db"\n'
        b"[exploration]\nbudget = 0.02\n"
        b'[chat]\nsticky = "turn"\ndeadline = 60\n[server]\nport = 8000 # here\n'
        b'router.path = """x\ny"""\n'
    )


_TABLE_WORDS = (
    *("prompt", "expert", "loss", "score", "prompt_id", "category", "source", "cost", "latency"),
    *(
        "output_tokens",
        "readability",
        "0.5",
        "1",
        "-1",
        "nan",
        "inf",
        "1e999",
        "null",
        "",
        "a",
        "b",
    ),
)
_CSV_WORDS = (
    *_TABLE_WORDS,
    ",",
    '"',
    '""',
    "\r\n",
    "\n",
    "\r",
    "\0",
    "=1+1",
    "\ufeff",
    "2025-01-01",
)


_JSON_KINDS, _SAFETENSORS_KINDS = b"rpekq", b"wtv"  # first letters of inputs, see fuzz_files.py


def _saved_words() -> tuple[str, ...]:
    """Return the words of the headers of saved folders."""
    headers = [json.loads(seed[1:]) for seed in saved_seeds() if seed[:1] in _JSON_KINDS]
    dtypes = ("F64", "F32", "F16", "BF16", "I64", "I8", "U8", "BOOL", "F8_E4M3", "__metadata__")
    return tuple(sorted({*texts_in(headers), *dtypes, "dtype", "shape", "data_offsets"}))


def _change_saved(data: bytes, words: Sequence[str], rng: random.Random) -> bytes:
    if data[:1] in _SAFETENSORS_KINDS:
        return data[:1] + change_safetensors(data[1:], words, rng)
    return change_labeled_json(data, words, rng)


def _table_target(suffix: str, mutation: Mutation, words: tuple[str, ...], length: int) -> Target:
    check = functools.partial(check_table, suffix)
    return Target(check, functools.partial(table_seeds, suffix), mutation, words, length)


TARGETS: Mapping[str, Callable[[], Target]] = {
    "flags": lambda: Target(check_flags, _flag_seeds, change_text, _FLAG_WORDS, 512),
    "names": lambda: Target(check_names, _name_seeds, change_text, _NAME_WORDS, 160),
    "hub": lambda: Target(check_hub, hub_seeds, change_labeled_json, hub_words()),
    "config": lambda: Target(check_config, _config_seeds, change_lines, _CONFIG_WORDS, 1_024),
    "csv": lambda: _table_target("csv", change_lines, _CSV_WORDS, 512),
    "jsonl": lambda: _table_target("jsonl", change_json_lines, _TABLE_WORDS, 1_024),
    "parquet": lambda: _table_target("parquet", change_text, _TABLE_WORDS, 4_096),
    "checkpoint": lambda: Target(check_saved, saved_seeds, _change_saved, _saved_words(), 65_536),
}
"""What makes each target; `fuzz.py` has the same names."""
