"""Changes of inputs that keep their form: of JSON, of JSON lines, of safetensors, and of text.

libFuzzer changes bytes, and most changes of a byte end at the first parser. These reach what stands
behind it: a value, a key or a level of JSON is changed, and the text is JSON again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    Mutation: TypeAlias = Callable[[bytes, Sequence[str], random.Random], bytes]

_DEEP = "\x00deep\x00"  # stands for many levels of brackets until the text is written
_LEVELS = (50, 300, 900, 3_000)

_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 7, 0.5, 1e308, -1e308, 10**30, 2**63, -(2**63), 1e-300),
    *(float("nan"), float("inf"), float("-inf"), "", "a", "\0", "\ud800", "\x1b]52;c;x\x07"),
    *([], {}, [[]], [{}], {"": None}, [None], ["a", "a"], [1] * 5, "a" * 600, _DEEP, _DEEP),
)


def change_json(data: bytes, words: Sequence[str], rng: random.Random) -> bytes:
    """Change one to four places of a JSON text; what is no JSON becomes a value of its own."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = rng.choice(_VALUES)
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = _changed(value, words, rng)
    return _dump(value, rng)


def change_labeled_json(data: bytes, words: Sequence[str], rng: random.Random) -> bytes:
    """Change a JSON text after its first letter, which says what the rest is."""
    return data[:1] + change_json(data[1:], words, rng)


def change_json_lines(data: bytes, words: Sequence[str], rng: random.Random) -> bytes:
    """Change, repeat or remove a line of JSON lines."""
    lines = data.split(b"\n")
    i = rng.randrange(len(lines))
    kind = rng.randrange(8)
    if kind == 0:
        del lines[i]
    elif kind == 1:
        lines.insert(i, rng.choice(lines))
    else:
        lines[i] = change_json(lines[i], words, rng)
    return b"\n".join(lines)


def change_safetensors(data: bytes, words: Sequence[str], rng: random.Random) -> bytes:
    """Change the header of safetensors, the length that stands before it, or a number."""
    length = int.from_bytes(data[:8], "little")
    header, numbers = data[8 : 8 + length], bytearray(data[8 + length :])
    if numbers and rng.random() < 0.4:
        for _ in range(rng.choice((1, 1, 4))):
            place = rng.randrange(len(numbers))
            width = rng.choice((1, 2, 4, 8))
            numbers[place : place + width] = (
                rng.choice((b"\x00", b"\xff", b"\x7f", b"\x80")) * width
            )
    else:
        header = change_json(header, words, rng)
    size = len(header) if rng.random() < 0.95 else rng.choice((0, 1, 2**31, 2**63, 2**64 - 1))
    return size.to_bytes(8, "little") + header + bytes(numbers)


def change_text(data: bytes, words: Sequence[str], rng: random.Random) -> bytes:
    """Insert, replace, repeat or remove a piece of a text, with words of its language."""
    text = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.choice((0, 0, 1, 4, 16)))
        piece = rng.choice(words).encode("utf-8", "surrogatepass") if words else b""
        kind = rng.randrange(6)
        if kind == 0:
            piece = bytes(text[end : end + rng.choice((4, 16, 64))])
        elif kind == 1:
            piece = b""
        elif kind == 2:
            piece *= rng.choice((2, 8, 64))
        text[start:end] = piece
    return bytes(text)


def change_lines(data: bytes, words: Sequence[str], rng: random.Random) -> bytes:
    """Change a text as `change_text`, or move, repeat or remove one of its lines."""
    if rng.random() < 0.6:
        return change_text(data, words, rng)
    lines = data.split(b"\n")
    line = lines.pop(rng.randrange(len(lines)))
    kind = rng.randrange(3)
    if kind:
        lines.insert(rng.randrange(len(lines) + 1), line)
    if kind == 2:
        lines.insert(rng.randrange(len(lines) + 1), line)
    return b"\n".join(lines)


def _changed(value: Any, words: Sequence[str], rng: random.Random) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value with a change at a random depth."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        return _changed_object(value, words, rng)
    if isinstance(value, list) and value and rng.random() < 0.85:
        i = rng.randrange(len(value))
        kind = rng.randrange(8)
        if kind == 0:
            return [*value[:i], *value[i + 1 :]]
        if kind == 1:
            return [*value, value[i]]
        return [*value[:i], _changed(value[i], words, rng), *value[i + 1 :]]
    return _new_value(value, words, rng)


def _changed_object(value: dict[str, Any], words: Sequence[str], rng: random.Random) -> Any:  # noqa: ANN401 - any JSON value
    key, kind = rng.choice(list(value)), rng.randrange(8)
    changed = dict(value)
    if kind == 0:
        del changed[key]
    elif kind == 1 and words:
        changed[rng.choice(words)] = rng.choice((_new_value(None, words, rng), value[key]))
    elif kind == 2:
        changed[key] = value[rng.choice(list(value))]
    else:
        changed[key] = _changed(value[key], words, rng)
    return changed


def _new_value(value: Any, words: Sequence[str], rng: random.Random) -> Any:  # noqa: ANN401 - any JSON value
    kind = rng.randrange(6)
    if kind == 0 and words:
        return rng.choice(words)
    if kind == 1:
        return [value]
    if kind == 2 and words:
        return {rng.choice(words): value}
    if kind == 3 and isinstance(value, int | float) and not isinstance(value, bool):
        return rng.choice((-value, value * 2, value * 1e6, value * 1e30, float(value), str(value)))
    return rng.choice(_VALUES)


def _dump(value: Any, rng: random.Random) -> bytes:  # noqa: ANN401 - any JSON value
    try:
        text = json.dumps(value, separators=(",", ":"))
    except (RecursionError, ValueError):  # it is nested too deeply, or has too long a number
        text = "[" * 900
    if json.dumps(_DEEP) in text:
        levels = rng.choice(_LEVELS)
        text = text.replace(json.dumps(_DEEP), "[" * levels + "]" * levels)
    return text.encode("ascii")
