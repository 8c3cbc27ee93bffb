"""Makes arithmetic questions: the numbers are drawn with a seed, the answers computed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

Template = Callable[[random.Random], "tuple[str, object]"]


def make_items() -> Iterator[dict[str, Any]]:
    """Yield the items of every template, with other numbers in each."""
    for number, (level, language, count, template) in enumerate(TEMPLATES):
        for repetition in range(count):
            chance = random.Random(f"{number} {repetition}")  # noqa: S311 - not for secrets
            prompt, answer = template(chance)
            yield {
                "kind": "arithmetic",
                "language": language,
                "level": level,
                "scorer": "numeric",
                "prompt": prompt,
                "answer": str(answer),
                "also": [f"{answer}%"] if template is _change else [],
                "computed": True,
                "origin": "arithmetic.py",
            }


def _receipt(c: random.Random) -> tuple[str, object]:
    prices = [c.randrange(99, 2000) for _ in range(5)]
    lines = "\n".join(f"{n:<12}{p / 100:>7.2f}" for n, p in zip(_GOODS, prices, strict=True))
    return f"{lines}\n\ntotal of this receipt?", sum(prices) / 100


_GOODS = ("bread", "olive oil", "2x butter", "wine", "bag")


def _remainder(c: random.Random) -> tuple[str, object]:
    n, k = c.randrange(300, 999), c.randrange(6, 19)
    return f"{n} divided by {k}, what's the remainder", n % k


def _percent(c: random.Random) -> tuple[str, object]:
    p, n = c.choice((5, 15, 20, 35, 60, 85)), c.randrange(2, 60) * 20
    return f"{p}% of {n}?", p * n // 100


def _change(c: random.Random) -> tuple[str, object]:
    old = c.randrange(10, 60) * 20
    change = c.choice((-35, -15, 5, 30, 45))
    new = old * (100 + change) // 100
    return f"Our sales went from {old} to {new}. By how many percent did they {'rise' if change > 0 else 'fall'}?", abs(change)  # fmt: skip


def _product(digits: tuple[int, int], text: str) -> Template:
    def template(c: random.Random) -> tuple[str, object]:
        a, b = (c.randrange(10 ** (d - 1) + 1, 10**d) for d in digits)
        return text.format(a=a, b=b), a * b

    return template


def _expression(c: random.Random) -> tuple[str, object]:
    a, b, d, e = (c.randrange(12, 99) for _ in range(4))
    return f"calculate {a} - {b} * ({d} - {e}) + {a} % 7 (% is modulo)", a - b * (d - e) + a % 7


def _fractions(c: random.Random) -> tuple[str, object]:
    a, b, d = (Fraction(c.randrange(1, 9), c.randrange(3, 13)) for _ in range(3))
    return f"What's {a} + {b} × {d}? As a fraction in lowest terms.", a + b * d


def _hexadecimal(c: random.Random) -> tuple[str, object]:
    n = c.randrange(0x1000, 0xFFFF)
    return f"convert 0x{n:X} to decimal", n


def _divisors(c: random.Random) -> tuple[str, object]:
    n = c.choice((360, 756, 1260, 1344, 2100)) * c.choice((1, 2, 3, 5, 11))
    return f"How many positive divisors does {n} have?", sum(n % k == 0 for k in range(1, n + 1))


def _seconds(c: random.Random) -> tuple[str, object]:
    d, h, m = c.randrange(2, 7), c.randrange(2, 24), c.randrange(1, 60)
    return f"{d} days {h} hours and {m} minutes in seconds?", ((d * 24 + h) * 60 + m) * 60


def _bits(c: random.Random) -> tuple[str, object]:
    a, b = c.randrange(100, 255), c.randrange(100, 255)
    return f"In C, what is ({a} ^ {b}) & ~(1 << 3) as a decimal number?", (a ^ b) & ~8


def _days(c: random.Random) -> tuple[str, object]:
    start = date(2023, 1, 1) + timedelta(days=c.randrange(300))
    end = start + timedelta(days=c.randrange(400, 900))
    text = f"How many days from {start:%B} {start.day}, {start.year} to {end:%B} {end.day}, {end.year} (not counting the first day)?"  # fmt: skip
    return text, (end - start).days


def _power(c: random.Random) -> tuple[str, object]:
    a, n, m = c.randrange(11, 99), c.randrange(101, 999), c.choice((97, 101, 1009, 143))
    return f"{a}^{n} mod {m} = ?", pow(a, n, m)


def _inverse(c: random.Random) -> tuple[str, object]:
    m = c.choice((997, 1009, 2027))
    a = c.randrange(100, m - 100)
    return f"Give the smallest positive x with {a}·x ≡ 1 (mod {m}).", pow(a, -1, m)


def _determinant(c: random.Random) -> tuple[str, object]:
    m = [[c.randrange(-5, 8) for _ in range(4)] for _ in range(4)]
    rows = "\n".join(" ".join(f"{v:3d}" for v in row) for row in m)
    return f"determinant of\n\n{rows}", _det(m)


def _det(m: list[list[int]]) -> int:
    """Return a determinant by expansion along the first row."""
    if len(m) == 1:
        return m[0][0]
    minors = ([row[:j] + row[j + 1 :] for row in m[1:]] for j in range(len(m)))
    return sum((-1) ** j * m[0][j] * _det(minor) for j, minor in enumerate(minors))


def _digits_of_power(c: random.Random) -> tuple[str, object]:
    n = c.randrange(45, 70)
    return f"Sum of the decimal digits of 2^{n}?", sum(map(int, str(2**n)))


def _alternating(c: random.Random) -> tuple[str, object]:
    numbers = [c.randrange(1000, 9999) for _ in range(9)]
    text = " - ".join(map(str, numbers[:3])) + " + " + " - ".join(map(str, numbers[3:6]))
    text += " + " + " + ".join(map(str, numbers[6:]))
    signs = (1, -1, -1, 1, -1, -1, 1, 1, 1)
    value = sum(s * n for s, n in zip(signs, numbers, strict=True))
    return f"no calculator: ({text}) * 17", value * 17


def _coprime(c: random.Random) -> tuple[str, object]:
    n = c.choice((1980, 2310, 3640, 4095))
    low, high = c.randrange(90, 300), c.randrange(500, 900)
    text = f"How many integers k with {low} ≤ k ≤ {high} have no common factor with {n} other than 1?"  # fmt: skip
    return text, sum(math.gcd(k, n) == 1 for k in range(low, high + 1))


def _base(c: random.Random) -> tuple[str, object]:
    a, b = c.randrange(200, 2000), c.randrange(20, 340)
    return f"Multiply {_in_base(a, 7)} by {_in_base(b, 7)}, both written in base 7, and give the result in base 7.", _in_base(a * b, 7)  # fmt: skip


def _in_base(n: int, base: int) -> str:
    """Return the digits of a number in a base up to 10."""
    return (_in_base(n // base, base) if n >= base else "") + str(n % base)


def _sum(text: str, low: int, high: int, count: int) -> Template:
    def template(c: random.Random) -> tuple[str, object]:
        numbers = [c.randrange(low, high) for _ in range(count)]
        return text.format(", ".join(map(str, numbers))), sum(numbers)

    return template


def _mean(text: str) -> Template:
    def template(c: random.Random) -> tuple[str, object]:
        numbers = [c.randrange(10, 45) for _ in range(4)]
        numbers.append(5 * c.randrange(40, 60) - sum(numbers))
        return text.format(", ".join(map(str, numbers))), sum(numbers) // 5

    return template


def _gcd(text: str) -> Template:
    def template(c: random.Random) -> tuple[str, object]:
        g = c.choice((6, 12, 14, 18, 21))
        a, b = g * c.randrange(11, 40), g * c.randrange(41, 70)
        return text.format(a, b), math.gcd(a, b)

    return template


def _remainder_of_power(text: str) -> Template:
    def template(c: random.Random) -> tuple[str, object]:
        a, n, m = c.randrange(3, 19), c.randrange(50, 300), c.choice((29, 37, 53, 101))
        return text.format(a, n, m), pow(a, n, m)

    return template


def _digit_count(text: str) -> Template:
    def template(c: random.Random) -> tuple[str, object]:
        high, digit = c.randrange(300, 999), c.randrange(1, 10)
        return text.format(high, digit), "".join(map(str, range(1, high + 1))).count(str(digit))

    return template


# level, language, how many, template
TEMPLATES: tuple[tuple[str, str, int, Template], ...] = (
    ("easy", "en", 2, _receipt),
    ("easy", "en", 2, _remainder),
    ("easy", "en", 2, _percent),
    ("easy", "en", 2, _product((2, 2), "{a} times {b}")),
    ("easy", "en", 1, _product((3, 1), "quick q whats {a}*{b}")),
    ("easy", "en", 2, _change),
    ("middle", "en", 2, _expression),
    ("middle", "en", 2, _fractions),
    ("middle", "en", 2, _hexadecimal),
    ("middle", "en", 1, _divisors),
    ("middle", "en", 2, _seconds),
    ("middle", "en", 2, _bits),
    ("middle", "en", 2, _product((4, 3), "{a} x {b} = ? no thousands separators please.")),
    ("hard", "en", 2, _days),
    ("hard", "en", 3, _power),
    ("hard", "en", 2, _inverse),
    ("hard", "en", 2, _determinant),
    ("hard", "en", 2, _digits_of_power),
    ("hard", "en", 2, _alternating),
    ("hard", "en", 2, _coprime),
    ("hard", "en", 2, _base),
    ("hard", "en", 3, _product((7, 6), "Compute {a} * {b} exactly.")),
    ("easy", "de", 1, _sum("Summe von {}?", 12, 99, 4)),
    ("middle", "de", 1, _mean("Was ist der Durchschnitt von {}?")),
    ("hard", "de", 1, _remainder_of_power("Welchen Rest lässt {} hoch {} bei Division durch {}?")),
    ("hard", "de", 1, _digit_count("Ich schreibe alle ganzen Zahlen von 1 bis {} auf. Wie oft kommt dabei die Ziffer {} vor?")),
    ("easy", "fr", 1, _sum("Combien font {} additionnés ?", 12, 99, 4)),
    ("middle", "fr", 1, _gcd("PGCD de {} et {} ?")),
    ("hard", "fr", 1, _remainder_of_power("Reste de la division de {}^{} par {} ?")),
    ("hard", "fr", 1, _digit_count("On écrit tous les entiers de 1 à {}. Combien de fois écrit-on le chiffre {} ?")),
    ("easy", "es", 1, _mean("media de {}?")),
    ("middle", "es", 1, _gcd("¿Cuál es el máximo común divisor de {} y {}?")),
    ("hard", "es", 1, _remainder_of_power("¿Qué resto da {} elevado a {} entre {}?")),
    ("hard", "es", 1, _product((6, 5), "Calcula exactamente {a} por {b}.")),
    ("easy", "zh", 1, _sum("{} 加起来是多少?", 12, 99, 5)),
    ("middle", "zh", 1, _gcd("{} 和 {} 的最大公约数是多少?")),
    ("hard", "zh", 1, _remainder_of_power("{} 的 {} 次方除以 {} 的余数是多少?")),
    ("hard", "zh", 1, _digit_count("把 1 到 {} 的整数全部写出来,数字 {} 一共出现多少次?")),
    ("easy", "ru", 1, _mean("Среднее арифметическое чисел {}?")),
    ("middle", "ru", 1, _gcd("Найди НОД чисел {} и {}")),
    ("hard", "ru", 1, _remainder_of_power("Остаток от деления {}^{} на {}?")),
    ("hard", "ru", 1, _product((6, 5), "Сколько будет {a} умножить на {b}? Нужно точное значение.")),
)  # fmt: skip
