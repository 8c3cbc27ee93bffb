"""Makes questions about long documents: logs, tables and texts in which facts must be joined."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE_TEXTS = {
    "en": ("Stock list:\n\n{table}\n\nWhich {unit} has the highest total value (pieces × price)? Name only.", ("warehouse", "item", "pieces", "price"), ("North", "South", "East", "West")),
    "de": ("Bestandsliste:\n\n{table}\n\nWelches Lager hat den höchsten Gesamtwert (Stück × Preis)? Nur den Namen.", ("Lager", "Artikel", "Stück", "Preis"), ("Nord", "Süd", "Ost", "West")),
    "fr": ("Inventaire :\n\n{table}\n\nQuel dépôt a la plus grande valeur totale (pièces × prix) ? Le nom seulement.", ("dépôt", "article", "pièces", "prix"), ("Lyon", "Lille", "Nantes", "Metz")),
    "es": ("Inventario:\n\n{table}\n\n¿Qué almacén tiene el mayor valor total (piezas × precio)? Solo el nombre.", ("almacén", "artículo", "piezas", "precio"), ("Norte", "Sur", "Este", "Oeste")),
    "zh": ("库存表：\n\n{table}\n\n哪个仓库的总价值（件数 × 单价）最高？只写名称。", ("仓库", "商品", "件数", "单价"), ("北仓", "南仓", "东仓", "西仓")),
    "ru": ("Складская ведомость:\n\n{table}\n\nНа каком складе самая большая общая стоимость (штуки × цена)? Только название.", ("склад", "товар", "штуки", "цена"), ("Север", "Юг", "Восток", "Запад")),
}  # fmt: skip

KEEPERS = {
    "en": ("{a} gave the {thing} to {b}.", "{a} put the {thing} into the {place}.", "{b} took the {thing} out of the {place}.", "{story}\n\nWho has the {thing} at the end? First name only.", ("Ida", "Omar", "June", "Felix", "Rosa"), ("red key", "blue key", "letter", "coin"), ("drawer", "safe", "bag")),
    "de": ("{a} gibt {b} {thing}.", "{a} legt {thing} in {place}.", "{b} nimmt {thing} aus {place}.", "{story}\n\nWer hat am Ende {thing}? Nur der Vorname.", ("Ida", "Omar", "Jule", "Felix", "Rosa"), ("den Schlüssel", "den Brief", "das Foto", "die Münze"), ("Schrank 1", "Schrank 2", "Schrank 3")),
    "fr": ("{a} donne {thing} à {b}.", "{a} met {thing} dans {place}.", "{b} prend {thing} dans {place}.", "{story}\n\nQui a {thing} à la fin ? Seulement le prénom.", ("Inès", "Omar", "Jules", "Félix", "Rose"), ("la clé", "la lettre", "la photo", "la pièce"), ("le tiroir", "le coffre", "le sac")),
    "es": ("{a} le da {thing} a {b}.", "{a} mete {thing} en {place}.", "{b} saca {thing} de {place}.", "{story}\n\n¿Quién tiene {thing} al final? Solo el nombre.", ("Ida", "Omar", "Julia", "Félix", "Rosa"), ("la llave", "la carta", "la foto", "la moneda"), ("la caja", "la mochila", "la mesa")),
    "zh": ("{a}把{thing}给了{b}。", "{a}把{thing}放进{place}。", "{b}从{place}里拿走{thing}。", "{story}\n\n最后{thing}在谁手里？只写名字。", ("小明", "小红", "小刚", "小丽", "小华"), ("钥匙", "信", "照片", "硬币"), ("抽屉", "柜子", "书包")),
    "ru": ("{a}: отдаёт {thing} ({b}).", "{a}: кладёт {thing} в {place}.", "{b}: забирает {thing} из {place}.", "Протокол передач (в скобках — кому):\n{story}\n\nУ кого в конце {thing}? Только имя.", ("Аня", "Олег", "Юля", "Марк", "Роза"), ("ключ", "письмо", "снимок", "жетон"), ("ящик 1", "ящик 2", "ящик 3")),
}  # fmt: skip


def make_items() -> Iterator[dict[str, Any]]:
    """Yield every question about a document."""
    for language in ("en", "de", "fr", "es", "zh", "ru"):
        yield _item(language, "middle", "final_answer", *_table(language, 6, 0))
        yield _item(language, "hard", "final_answer", *_keeper(language, 30, 0))
    yield _item("en", "hard", "final_answer", *_table("en", 24, 1))
    yield _item("en", "easy", "final_answer", *_keeper("en", 6, 1))
    yield _item("en", "hard", "final_answer", *_keeper("en", 60, 2))
    for number, (level, lines) in enumerate((("easy", 10), ("middle", 25), ("hard", 80), ("hard", 120))):  # fmt: skip
        yield _item("en", level, "numeric", *_log(lines, number))
    for number in range(3):
        yield _item("en", "hard", "numeric", *_sessions(40, number))


def _item(language: str, level: str, scorer: str, prompt: str, answer: object) -> dict[str, Any]:
    return {
        "kind": "reading",
        "language": language,
        "level": level,
        "scorer": scorer,
        "prompt": prompt,
        "answer": str(answer),
        "computed": True,
        "origin": "reading.py",
    }


def _table(language: str, rows: int, number: int) -> tuple[str, str]:
    """Return a table of goods in several places, and the place of the highest value."""
    chance = random.Random(f"table {language} {number}")  # noqa: S311 - not for secrets
    text, head, places = TABLE_TEXTS[language]
    while True:
        goods = [(chance.choice(places), f"K-{chance.randrange(100, 999)}", chance.randrange(2, 40), chance.randrange(3, 60)) for _ in range(rows)]  # fmt: skip
        totals: Counter[str] = Counter()
        for place, _, pieces, price in goods:
            totals[place] += pieces * price
        (best, first), *rest = totals.most_common()
        if rest and rest[0][1] < first < 1.25 * rest[0][1]:
            break
    lines = [" | ".join(head), *(" | ".join(map(str, row)) for row in goods)]
    return text.format(table="\n".join(lines), unit="warehouse"), best


def _keeper(language: str, moves: int, number: int) -> tuple[str, str]:
    """Return a story in which things change hands, and who has one of them at the end."""
    chance = random.Random(f"keeper {language} {number}")  # noqa: S311 - not for secrets
    give, put, take, frame, people, things, places = KEEPERS[language]
    where = {thing: chance.choice(people) for thing in things}
    story = [take.format(b=where[t], thing=t, place=chance.choice(places)) for t in things]
    while len(story) < moves or where[things[0]] not in people:
        thing = chance.choice(things)
        if where[thing] in places:
            b = chance.choice(people)
            story.append(take.format(b=b, thing=thing, place=where[thing]))
            where[thing] = b
        elif chance.random() < 0.3:
            place = chance.choice(places)
            story.append(put.format(a=where[thing], thing=thing, place=place))
            where[thing] = place
        else:
            b = chance.choice([person for person in people if person != where[thing]])
            story.append(give.format(a=where[thing], thing=thing, b=b))
            where[thing] = b
    separator = "" if language == "zh" else "\n" if language == "ru" else " "
    return frame.format(story=separator.join(story), thing=things[0]), where[things[0]]


def _log(lines: int, number: int) -> tuple[str, int]:
    """Return a log, and how many of its requests failed slowly."""
    chance = random.Random(f"log {number}")  # noqa: S311 - not for secrets
    time, entries = datetime(2026, 4, 1, 8, 0), []  # noqa: DTZ001 - a time in a text
    for _ in range(lines):
        time += timedelta(seconds=chance.randrange(1, 90))
        entries.append((time, chance.choice(("GET", "GET", "POST", "PUT")), chance.choice(("/cart", "/pay", "/img", "/login")), chance.choice((200, 200, 200, 304, 404, 500, 502, 503)), chance.randrange(20, 2400)))  # fmt: skip
    text = "\n".join(f"{t:%H:%M:%S} {m} {p} {s} {ms}ms" for t, m, p, s, ms in entries)
    answer = sum(m != "GET" and s >= 500 and ms > 1000 for _, m, _, s, ms in entries)
    question = (
        "How many requests other than GET failed with a 5xx status AND took longer than 1000ms?"
    )
    return f"{text}\n\n{question}", answer


def _sessions(lines: int, number: int) -> tuple[str, int]:
    """Return door events, and the longest time that one person was inside, in minutes."""
    chance = random.Random(f"sessions {number}")  # noqa: S311 - not for secrets
    minute, since, longest, entries = 420, {}, 0, []
    while len(entries) < lines or since:
        minute += chance.randrange(1, 14)
        name = chance.choice("ABCDEFG")
        if len(entries) >= lines:
            name = next(iter(since))
        clock = f"{minute // 60:02d}:{minute % 60:02d}"
        if name in since:
            longest = max(longest, minute - since.pop(name))
            entries.append(f"{clock} badge {name} out")
        else:
            since[name] = minute
            entries.append(f"{clock} badge {name} in")
    text = "\n".join(entries)
    return f"Door log of one day, people come and go several times:\n{text}\n\nWhat's the longest single stay of anyone, in minutes?", longest  # fmt: skip
