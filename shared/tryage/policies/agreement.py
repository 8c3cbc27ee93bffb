"""Whether two answers say the same: the same statement, the same number or the same choice."""

from __future__ import annotations

import math

from tryage.scoring.formats import stated_answer
from tryage.scoring.scorers import announced_choice, final_number

_MAX_STATEMENT = 80  # characters; a number inside a longer one is not what it states


def same_answer(first: str, second: str) -> bool:
    """Return whether two answers end in the same result.

    It is what follows the last "the answer is", else the last fenced block or marked text, else the
    last line; case, spaces and outer punctuation do not count. Two letters of a choice, "(B)" and
    "B) Paris", are the same, and so are two numbers, "1,000" and "$1000".
    """
    statements = stated_answer(first), stated_answer(second)
    if statements[0] == statements[1]:
        return bool(statements[0])
    letters = announced_choice(first), announced_choice(second)
    if None not in letters:
        return letters[0] == letters[1]
    if max(map(len, statements)) > _MAX_STATEMENT:
        return False
    numbers = [final_number(statement) for statement in statements]
    if numbers[0] is None or numbers[1] is None:
        return False
    return math.isclose(numbers[0], numbers[1], rel_tol=1e-6, abs_tol=1e-12)
