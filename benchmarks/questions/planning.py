"""Makes planning questions, solved by exhaustive search: meetings, budgets, routes, schedules."""

from __future__ import annotations

import itertools
import random
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOT_TEXTS = {
    "en": "Find the earliest time for a {n}-minute meeting between 9:00 and 17:00. Everyone must be free, and we only start at full or half hours.\n{busy}\nAnswer with the start as HH:MM only.",
    "de": "Wann ist der früheste gemeinsame Termin von {n} Minuten zwischen 9:00 und 17:00 Uhr? Beginn nur zur vollen oder halben Stunde.\n{busy}\nAntworte nur mit der Anfangszeit als HH:MM.",
    "fr": "Trouve le premier créneau commun de {n} minutes entre 9:00 et 17:00 (début à l'heure pile ou à la demie).\n{busy}\nRéponds seulement par l'heure de début, HH:MM.",
    "es": "¿Cuál es el primer hueco común de {n} minutos entre las 9:00 y las 17:00? Solo se empieza a la hora en punto o y media.\n{busy}\nResponde solo con la hora de inicio, HH:MM.",
    "zh": "在 9:00 到 17:00 之间找出最早的 {n} 分钟共同空闲时间，只能整点或半点开始。\n{busy}\n只回答开始时间，格式 HH:MM。",
    "ru": "Найдите самое раннее время для встречи на {n} минут с 9:00 до 17:00, начало только в :00 или :30. Все должны быть свободны.\n{busy}\nОтветьте только временем начала в виде ЧЧ:ММ.",
}

BUSY = {
    "en": "{who} is busy: {times}", "de": "{who} ist belegt: {times}", "fr": "{who} est pris·e : {times}",
    "es": "{who}, ocupado: {times}", "zh": "{who}忙：{times}", "ru": "{who} — занято: {times}",
}  # fmt: skip

BUDGET_TEXTS = {
    "en": "I have ${budget} for gear. Each item once at most, I want the highest total usefulness:\n{items}\nWhat's the highest total I can get?",
    "de": "Budget {budget} Euro, jedes Teil höchstens einmal. Wie hoch ist der größte erreichbare Gesamtnutzen?\n{items}\n",
    "fr": "Avec {budget} €, chaque objet une fois au plus, quel est le plus grand total de points possible ?\n{items}\n",
    "es": "Tengo {budget} euros y cada cosa se compra como mucho una vez. ¿Cuál es la mayor utilidad total posible?\n{items}\n",
    "zh": "预算 {budget} 元，每样最多买一件，总评分最高能到多少？\n{items}\n",
    "ru": "Бюджет {budget} рублей, каждую вещь можно взять один раз. Какую наибольшую суммарную пользу можно получить?\n{items}\n",
}

ITEM = {
    "en": "- {name}: ${price}, usefulness {value}", "de": "- {name}: {price} Euro, Nutzen {value}",
    "fr": "- {name} : {price} €, {value} points", "es": "- {name}: {price} euros, utilidad {value}",
    "zh": "- {name}：{price} 元，评分 {value}", "ru": "- {name}: {price} руб., польза {value}",
}  # fmt: skip

NAMES = {
    "en": ("Ana", "Raj", "Kim", "Lou"), "de": ("Anna", "Emre", "Mia"), "fr": ("Luc", "Zoé", "Paul"),
    "es": ("Juan", "Pilar", "Ana"), "zh": ("小王", "小李", "小陈"), "ru": ("Аня", "Олег", "Вера"),
}  # fmt: skip

ITEMS = {
    "en": ("tent", "stove", "lamp", "boots", "rope", "map", "filter", "knife", "radio"),
    "de": ("Zelt", "Kocher", "Lampe", "Stiefel", "Seil", "Karte", "Filter", "Messer"),
    "fr": ("tente", "réchaud", "lampe", "bottes", "corde", "carte", "filtre", "couteau"),
    "es": ("tienda", "hornillo", "linterna", "botas", "cuerda", "mapa", "filtro", "navaja"),
    "zh": ("帐篷", "炉子", "手电", "靴子", "绳子", "地图", "水壶", "刀"),
    "ru": ("палатка", "горелка", "фонарь", "ботинки", "верёвка", "карта", "фильтр", "нож"),
}


def make_items() -> Iterator[dict[str, Any]]:
    """Yield every planning question."""
    for number, (level, people, meetings) in enumerate((("easy", 2, 2), ("easy", 2, 3), ("middle", 3, 4), ("hard", 4, 6))):  # fmt: skip
        yield _item("en", level, "final_answer", *_slot("en", people, meetings, number))
    for number, (level, count) in enumerate((("easy", 4), ("middle", 6), ("hard", 9), ("hard", 9))):
        yield _item("en", level, "numeric", *_budget("en", count, number))
    for language in ("de", "fr", "es", "zh", "ru"):
        yield _item(language, "easy", "final_answer", *_slot(language, 2, 2, 0))
        yield _item(language, "middle", "final_answer", *_slot(language, 3, 4, 1))
        yield _item(language, "hard", "numeric", *_budget(language, 8, 0))
    for number, (level, tasks, workers) in enumerate((("middle", 5, 9), ("middle", 6, 9), ("hard", 7, 2), ("hard", 7, 2), ("hard", 8, 2))):  # fmt: skip
        yield _item("en", level, "numeric", *_schedule(tasks, workers, number))
    for number, (level, size) in enumerate((("easy", 5), ("middle", 6), ("hard", 8), ("hard", 9))):
        yield _item("en", level, "numeric", *_grid(size, number))
    for number, (level, stops) in enumerate((("middle", 4), ("hard", 6), ("hard", 7))):
        yield _item("en", level, "numeric", *_tour(stops, number))


def _item(language: str, level: str, scorer: str, prompt: str, answer: str) -> dict[str, Any]:
    return {
        "kind": "planning",
        "language": language,
        "level": level,
        "scorer": scorer,
        "prompt": prompt,
        "answer": answer,
        "computed": True,
        "origin": "planning.py",
    }


def _clock(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02d}"


def _slot(language: str, people: int, meetings: int, number: int) -> tuple[str, str]:
    """Return a question for the first slot in which everyone is free, and its time."""
    for attempt in itertools.count():
        chance = random.Random(f"slot {language} {people} {number} {attempt}")  # noqa: S311 - not for secrets
        length = chance.choice((30, 45, 60))
        busy = [sorted(_meetings(chance, meetings)) for _ in range(people)]
        starts = [
            t
            for t in range(540, 1020 - length + 1, 30)
            if all(t + length <= a or b <= t for person in busy for a, b in person)
        ]
        if starts and starts[0] >= 600:
            break
    lines = "\n".join(
        BUSY[language].format(who=who, times=", ".join(f"{_clock(a)}-{_clock(b)}" for a, b in day))
        for who, day in zip(NAMES[language], busy, strict=False)
    )
    return SLOT_TEXTS[language].format(n=length, busy=lines), f"{starts[0] // 60:02d}:{starts[0] % 60:02d}"  # fmt: skip


def _meetings(chance: random.Random, count: int) -> list[tuple[int, int]]:
    """Return meetings of one day that do not overlap, in minutes."""
    found, time = [], 540 + 15 * chance.randrange(4)
    for _ in range(count):
        end = time + chance.choice((30, 45, 75, 90))
        found.append((time, end))
        time = end + 15 * chance.randrange(1, 5)
    return [(start, end) for start, end in found if end <= 1020]


def _budget(language: str, count: int, number: int) -> tuple[str, str]:
    """Return a question for the best choice within a budget, and its total value."""
    chance = random.Random(f"budget {language} {count} {number}")  # noqa: S311 - not for secrets
    goods = [(name, chance.randrange(11, 60), chance.randrange(10, 99)) for name in ITEMS[language][:count]]  # fmt: skip
    budget = sum(price for _, price, _ in goods) * chance.choice((45, 55)) // 100
    best = max(
        sum(value for _, _, value in chosen)
        for size in range(count + 1)
        for chosen in itertools.combinations(goods, size)
        if sum(price for _, price, _ in chosen) <= budget
    )
    lines = "\n".join(ITEM[language].format(name=n, price=p, value=v) for n, p, v in goods)
    return BUDGET_TEXTS[language].format(budget=budget, items=lines), str(best)


def _schedule(count: int, workers: int, number: int) -> tuple[str, str]:
    """Return a question for the shortest schedule of tasks that wait for each other, in hours."""
    chance = random.Random(f"schedule {count} {workers} {number}")  # noqa: S311 - not for secrets
    names = "ABCDEFGH"[:count]
    hours = {name: chance.randrange(1, 7) for name in names}
    needs = {name: chance.sample(names[:i], min(i, chance.choice((0, 1, 1, 2)))) for i, name in enumerate(names)}  # fmt: skip
    lines = "\n".join(
        f"{name}: {hours[name]} h" + (f", after {' and '.join(sorted(needs[name]))}" if needs[name] else "")
        for name in names
    )  # fmt: skip
    crew = "Any number of people can work in parallel" if workers > count else f"There are {workers} workers"  # fmt: skip
    text = f"{crew}; a task is done by one person without a break and starts only when the tasks it waits for are finished.\n{lines}\nHow many hours does the whole project take at least?"
    return text, str(shortest(names, hours, needs, workers))


def shortest(names: str, hours: dict[str, int], needs: dict[str, list[str]], workers: int) -> int:
    """Return the length of the shortest schedule: the best of all orders of the tasks."""
    best = sum(hours.values())
    for order in itertools.permutations(names):
        free, end = [0] * min(workers, len(names)), {}
        for name in order:
            if any(other not in end for other in needs[name]):
                break
            ready = max((end[other] for other in needs[name]), default=0)
            # The worker that is free last among those who can start at once, else the first free.
            able = [i for i, time in enumerate(free) if time <= ready]
            worker = max(able, key=free.__getitem__) if able else free.index(min(free))
            end[name] = max(free[worker], ready) + hours[name]
            free[worker] = end[name]
        else:
            best = min(best, max(end.values()))
    return best


def _grid(size: int, number: int) -> tuple[str, str]:
    """Return a question for the shortest way through a maze, and its number of steps."""
    for attempt in itertools.count():
        chance = random.Random(f"grid {size} {number} {attempt}")  # noqa: S311 - not for secrets
        rows = [[chance.choice("...##") for _ in range(size)] for _ in range(size)]
        rows[0][0], rows[-1][-1] = "S", "G"
        steps = _steps(rows)
        if steps is not None and steps >= 2 * size:
            break
    text = "\n".join("".join(row) for row in rows)
    return f"A robot moves up, down, left or right, one cell per step, never into # and never off the map. Fewest steps from S to G?\n\n{text}\n", str(steps)  # fmt: skip


def _steps(rows: list[list[str]]) -> int | None:
    """Return the number of steps of the shortest way; None if there is none."""
    size, distance, queue = len(rows), {(0, 0): 0}, deque([(0, 0)])
    while queue:
        y, x = queue.popleft()
        for v, u in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
            if 0 <= v < size and 0 <= u < size and rows[v][u] != "#" and (v, u) not in distance:
                distance[v, u] = distance[y, x] + 1
                queue.append((v, u))
    return distance.get((size - 1, size - 1))


def _tour(stops: int, number: int) -> tuple[str, str]:
    """Return a question for the shortest round trip, and its minutes."""
    chance = random.Random(f"tour {stops} {number}")  # noqa: S311 - not for secrets
    places = ("depot", "mill", "pier", "dairy", "forge", "abbey", "quarry")[:stops]
    minutes = {pair: chance.randrange(8, 60) for pair in itertools.combinations(places, 2)}
    best = min(
        sum(minutes[min(a, b, key=places.index), max(a, b, key=places.index)] for a, b in itertools.pairwise(("depot", *order, "depot")))
        for order in itertools.permutations(places[1:])
    )  # fmt: skip
    lines = "\n".join(f"{a}-{b}: {m}" for (a, b), m in minutes.items())
    return f"Delivery round: start at the depot, visit every place exactly once, return. Minutes between places (same in both directions):\n{lines}\nShortest possible round trip in minutes?", str(best)  # fmt: skip
