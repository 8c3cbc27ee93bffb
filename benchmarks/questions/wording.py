"""How a question is put: lettered choices in their order, and the form in which to answer."""

from __future__ import annotations

import random
import re
import string
from hashlib import blake2b
from typing import Any

LABELS = ("{}. ", "{}) ", "({}) ")

LETTER_REQUESTS = {
    "en": ("Letter only.", "Reply with just the letter.", "Which one? Give the letter.", "Answer:"),
    "de": ("Nur den Buchstaben bitte.", "Antworte nur mit dem Buchstaben.", "Antwort:"),
    "fr": ("Réponds juste par la lettre.", "Donnez uniquement la lettre.", "Réponse :"),
    "es": ("Responde solo con la letra.", "Solo la letra, por favor.", "Respuesta:"),
    "zh": ("只回答字母。", "请直接给出选项字母。", "答案:"),
    "ru": ("Ответьте только буквой.", "Нужна только буква.", "Ответ:"),
}

NUMBER_REQUESTS = {
    "en": (
        "Just the number.",
        "Only the number please.",
        "End with the number, nothing after it.",
        "Give the final number on the last line.",
        "Reply with a number only.",
    ),
    "de": ("Nur die Zahl.", "Bitte nur die Zahl, ohne Tausenderpunkt.", "Zahl genügt."),
    "fr": ("Juste le nombre.", "Réponds par un nombre seul, sans espaces.", "Le nombre suffit."),
    "es": (
        "Solo el número.",
        "Responde con el número, sin separador de miles.",
        "Dame solo el número.",
    ),
    "zh": ("只要数字。", "只回答一个数字。", "直接给数字就行。"),
    "ru": ("Только число.", "Ответьте одним числом без пробелов.", "Достаточно числа."),
}


def digest(text: str) -> str:
    """Return eight hex digits that stand for a text."""
    return blake2b(text.encode(), digest_size=4).hexdigest()


def full_prompt(item: dict[str, Any]) -> str:
    """Return all that is sent: the text, its choices, and the form of the answer.

    The choices of the item, the right one first, are put into an order that depends on the text.
    """
    chance = random.Random(digest(item["prompt"]))  # noqa: S311 - not for secrets
    text = item["prompt"].strip()
    if item["language"] == "zh" and "program" not in item and "query" not in item:
        text = _with_wide_punctuation(text)
    if item["scorer"] == "multiple_choice":
        return _with_choices(item, text, chance)
    if item["scorer"] == "numeric" and not item.get("plain"):
        return f"{text}{chance.choice((' ', chr(10)))}{chance.choice(NUMBER_REQUESTS[item['language']])}"
    return text


def _with_choices(item: dict[str, Any], text: str, chance: random.Random) -> str:
    if not item.get("ordered"):
        right = item["choices"][0]
        item["choices"] = chance.sample(item["choices"], len(item["choices"]))
        item["references"] = [string.ascii_uppercase[item["choices"].index(right)]]
        item["answer"] = item["references"][0]
    label = chance.choice(LABELS)
    lines = [
        label.format(letter) + choice
        for letter, choice in zip(string.ascii_uppercase, item["choices"], strict=False)
    ]
    return "\n".join([text, *lines, chance.choice(LETTER_REQUESTS[item["language"]])])


def _with_wide_punctuation(text: str) -> str:
    """Return a Chinese text with Chinese commas and the like where a Chinese character is before."""
    return re.sub(
        r"(?<=[\u4e00-\u9fff\u201d])[,;:?!](?! )",
        lambda match: chr(ord(match.group()) + 0xFEE0),
        text,
    )
