"""Makes logic puzzles with exactly one solution, found by trying every arrangement."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMES = {
    "en": ("Priya", "Tom", "Wei", "Olga", "Sam", "Nia", "Leo"),
    "de": ("Jonas", "Mia", "Emre", "Lena", "Paul"),
    "fr": ("Chloé", "Hugo", "Inès", "Louis", "Zoé"),
    "es": ("Lucía", "Mateo", "Sara", "Diego", "Pilar"),
    "zh": ("小王", "小李", "小张", "小陈", "小赵"),
    "ru": ("Аня", "Борис", "Вера", "Глеб", "Дина"),
}

# Before, beside, not beside, the place itself, not the place: {0} and {1} are names, {n} a place.
CLUES = {
    "en": ("{0} is somewhere left of {1}", "{0} and {1} sit next to each other", "{0} and {1} are not neighbors", "{0} isn't in seat {n}", "exactly one person sits between {0} and {1}"),
    "de": ("{0} kommt vor {1} ins Ziel", "{0} und {1} kommen direkt hintereinander an", "{0} und {1} kommen nicht direkt hintereinander an", "{0} wird nicht {n}.", "zwischen {0} und {1} kommt genau eine Person an"),
    "fr": ("{0} passe avant {1}", "{0} et {1} passent l'un juste après l'autre", "{0} et {1} ne passent pas l'un juste après l'autre", "{0} ne passe pas en position {n}", "il y a exactement une personne entre {0} et {1}"),
    "es": ("{0} va delante de {1}", "{0} y {1} van seguidos", "{0} y {1} no van seguidos", "{0} no está en el puesto {n}", "entre {0} y {1} hay exactamente una persona"),
    "zh": ("{0}排在{1}前面", "{0}和{1}相邻", "{0}和{1}不相邻", "{0}不是第{n}个", "{0}和{1}之间正好隔一个人"),
    "ru": ("{0} стоит раньше, чем {1}", "{0} и {1} стоят рядом", "{0} и {1} не стоят рядом", "{0} не на месте номер {n}", "{0} и {1} стоят ровно через одного человека"),
}  # fmt: skip

FRAMES = {
    "en": (
        "{k} friends sit in a row of {k} cinema seats, numbered from left to right: {names}. {clues}. Who sits in seat {n}?",
        "Seating plan for a panel, seats 1 to {k} from the left. People: {names}.\n- {list}\nWho is in seat {n}?",
        "please solve: {names} sit in a row, seat 1 is the leftmost. {clues}. who's in seat {n}",
    ),
    "de": (
        "Bei einem Lauf starten {names}. Alle kommen nacheinander ins Ziel. {clues}. Wer wird {n}.?",
    ),
    "fr": ("Passent à l'oral, chacun à son tour : {names}. {clues}. Qui passe en position {n} ?",),
    "es": (
        "En una cola están {names}; el puesto 1 es el primero. {clues}. ¿Quién está en el puesto {n}?",
    ),
    "zh": ("{names}排成一队。{clues}。排在第{n}个的是谁?",),
    "ru": ("В очереди стоят {names}, место 1 — первое. {clues}. Кто на месте номер {n}?",),
}

LISTS = {"zh": ("、", ";")}  # what divides names and clues, where not a comma and a semicolon


def make_items() -> Iterator[dict[str, Any]]:
    """Yield rows of people, people who lie, and tables of properties."""
    sizes = (("easy", 4), ("easy", 4), ("middle", 5), ("middle", 5), ("middle", 5), ("hard", 7), ("hard", 7), ("hard", 7))  # fmt: skip
    for number, (level, size) in enumerate(sizes):
        yield _item("en", level, *_row("en", size, number))
    for language in ("de", "fr", "es", "zh", "ru"):
        for number, (level, size) in enumerate((("easy", 4), ("middle", 5), ("hard", 5))):
            yield _item(language, level, *_row(language, size, number, short=level == "hard"))
    for number, (level, size) in enumerate((("easy", 3), ("middle", 4), ("middle", 4), ("hard", 6), ("hard", 6), ("hard", 7))):  # fmt: skip
        yield _item("en", level, *_liars(size, number))
    for number in range(4):
        yield _item("en", "hard", *_table(number))


def _item(language: str, level: str, prompt: str, choices: list[str]) -> dict[str, Any]:
    return {
        "kind": "logic",
        "language": language,
        "level": level,
        "scorer": "multiple_choice",
        "prompt": prompt,
        "choices": choices,
        "computed": True,
        "origin": "logic.py",
    }


def _row(language: str, size: int, number: int, short: bool = False) -> tuple[str, list[str]]:
    """Return a puzzle about the order of people, and the names, the right one first.

    With `short` only the weakest clues are used, so that the order must be searched for.
    """
    chance = random.Random(f"row {language} {size} {number}")  # noqa: S311 - not for secrets
    names = chance.sample(NAMES[language], size)
    orders = [dict(zip(order, range(1, size + 1), strict=True)) for order in itertools.permutations(names)]  # fmt: skip
    truth = chance.choice(orders)
    every_order = orders
    clues: dict[str, Callable[[dict[str, int]], bool]] = {}
    kinds = (2, 3, 4) if short or size > 5 else (0, 1, 2, 3, 4)
    while len(orders) > 1:
        kind = chance.choice(kinds)
        a, b = chance.sample(names, 2)
        n = chance.randrange(1, size + 1)
        tests: tuple[Callable[[dict[str, int]], bool], ...] = (
            lambda p, a=a, b=b: p[a] < p[b],
            lambda p, a=a, b=b: abs(p[a] - p[b]) == 1,
            lambda p, a=a, b=b: abs(p[a] - p[b]) != 1,
            lambda p, a=a, n=n: p[a] != n,
            lambda p, a=a, b=b: abs(p[a] - p[b]) == 2,
        )
        kept = [order for order in orders if tests[kind](order)]
        if tests[kind](truth) and len(kept) < len(orders):
            orders = kept
            clues[CLUES[language][kind].format(a, b, n=n)] = tests[kind]
    clues = _without_needless(clues, every_order)
    place = chance.randrange(1, size + 1)
    right = next(name for name, position in truth.items() if position == place)
    clues = [clue[0].upper() + clue[1:] if i == 0 else clue for i, clue in enumerate(clues)]
    between, after = LISTS.get(language, (", ", "; "))
    text = chance.choice(FRAMES[language]).format(
        k=size, names=between.join(names), clues=after.join(clues), list="\n- ".join(clues), n=place
    )
    return text, [right, *(name for name in names if name != right)]


def _without_needless(
    clues: dict[str, Callable[[dict[str, int]], bool]], orders: list[dict[str, int]]
) -> dict[str, Callable[[dict[str, int]], bool]]:
    """Return the clues without those that the others make needless."""
    for text in list(clues):
        others = {other: test for other, test in clues.items() if other != text}
        if sum(all(test(order) for test in others.values()) for order in orders) == 1:
            clues = others
    return clues


def _liars(size: int, number: int) -> tuple[str, list[str]]:
    """Return a puzzle about people who always lie or never do, and how many of them lie."""
    chance = random.Random(f"liars {size} {number}")  # noqa: S311 - not for secrets
    names = NAMES["en"][:size]
    while True:
        says = [_statement(chance, names, i) for i in range(size)]
        solutions = [
            world
            for world in itertools.product((True, False), repeat=size)
            if all(honest == test(world) for honest, (_, test) in zip(world, says, strict=True))
        ]
        distinct = len({text for text, _ in says}) == size
        if distinct and len(solutions) == 1 and 0 < sum(solutions[0]) < size:
            break
    quotes = "\n".join(f'{name}: "{text}"' for name, (text, _) in zip(names, says, strict=True))
    lying = size - sum(solutions[0])
    opening = (
        "On this island everyone either always tells the truth or always lies.",
        "Each of these people is either a knight (only true statements) or a knave (only false ones).",
        "Every one of them always lies or never lies.",
    )[number % 3]
    wrong = [n for n in range(size + 1) if n != lying]
    return f"{opening}\n{quotes}\nHow many of them are liars?", [str(lying), *map(str, chance.sample(wrong, 3))]  # fmt: skip


World = tuple[bool, ...]


def _statement(
    chance: random.Random, names: tuple[str, ...], speaker: int
) -> tuple[str, Callable[[World], bool]]:
    """Return what a person says, and whether it is true in a world of honest (True) people."""
    a, b = chance.sample([i for i in range(len(names)) if i != speaker], 2)
    k = chance.randrange(1, len(names))
    return chance.choice(
        (
            (f"{names[a]} is a liar.", lambda w: not w[a]),
            (f"{names[a]} and {names[b]} are of the same kind.", lambda w: w[a] == w[b]),
            (f"Exactly one of {names[a]} and {names[b]} is honest.", lambda w: w[a] != w[b]),
            (f"If {names[a]} is honest, then {names[b]} is, too.", lambda w: not w[a] or w[b]),
            (f"At least {k} of us {len(names)} lie.", lambda w: w.count(False) >= k),
            (f"An odd number of us {len(names)} lie.", lambda w: w.count(False) % 2 == 1),
        )
    )


TABLE_TEXTS = (
    ("Five engineers are on call Monday to Friday, one per day. Each uses another editor and drinks something else.", ("Ida", "Raj", "Kim", "Lou", "Max"), ("vim", "emacs", "nano", "helix", "zed"), ("tea", "coffee", "mate", "water", "cola"), ("the {} user", "whoever drinks {}")),
    ("Five boats lie in a row at a pier, berths 1 to 5. Each has another owner, another color and another cargo.", ("Ann's boat", "Bob's boat", "Cat's boat", "Dan's boat", "Eve's boat"), ("red", "blue", "green", "white", "black"), ("fish", "salt", "wool", "tea", "iron"), ("the {} boat", "the boat with {}")),
)  # fmt: skip


def _table(number: int) -> tuple[str, list[str]]:
    """Return a puzzle in which people, things and drinks are in one order each."""
    chance = random.Random(f"table {number}")  # noqa: S311 - not for secrets
    opening, *groups, phrases = TABLE_TEXTS[number % 2]
    terms = [list(groups[0]), *([p.format(v) for v in g] for p, g in zip(phrases, groups[1:], strict=True))]  # fmt: skip
    unit = "day" if number % 2 == 0 else "berth"
    clues: list[str] = []
    permutations = [dict(enumerate(p)) for p in itertools.permutations(range(5))]
    chosen = [chance.randrange(120) for _ in range(3)]
    # A world holds, for each group, the number of the permutation {item: place}.
    worlds = list(itertools.product(range(120), repeat=3))
    while len(worlds) > 1:
        kind, g, h = chance.randrange(3), *chance.sample(range(3), 2)
        i, j = chance.randrange(5), chance.randrange(5)
        text, test = (
            (f"{terms[g][i]} and {terms[h][j]} are one {unit} apart", lambda x, y: abs(x - y) == 1),
            (f"{terms[g][i]} comes at least two {unit}s before {terms[h][j]}", lambda x, y: y - x >= 2),
            (f"{terms[g][i]} comes directly after {terms[h][j]}", lambda x, y: x - y == 1),
        )[kind]  # fmt: skip
        if not test(permutations[chosen[g]][i], permutations[chosen[h]][j]):
            continue
        fine = {
            (p, q) for p in range(120) for q in range(120)
            if test(permutations[p][i], permutations[q][j])
        }  # fmt: skip
        kept = [world for world in worlds if (world[g], world[h]) in fine]
        if len(kept) < 0.75 * len(worlds) or (len(worlds) < 20 and len(kept) < len(worlds)):
            worlds = kept
            clues.append(text[0].upper() + text[1:])
    person, drink = chance.randrange(5), groups[2]
    place = permutations[chosen[0]][person]
    right = next(k for k in range(5) if permutations[chosen[2]][k] == place)
    asked = f"Which of these goes with {groups[0][person]}?"
    choices = [drink[right], *(d for k, d in enumerate(drink) if k != right)]
    listing = "; ".join(", ".join(group) for group in groups)
    return f"{opening} ({listing}.)\n" + "\n".join(f"- {clue}." for clue in clues) + f"\n{asked}", choices  # fmt: skip
