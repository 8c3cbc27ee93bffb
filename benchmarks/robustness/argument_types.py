"""Types of arguments of the commands: what is no positive number is refused in words."""

from __future__ import annotations

import argparse
import math


def positive_int(text: str) -> int:
    """Return a whole number of at least 1.

    Raises:
        argparse.ArgumentTypeError: it is another text.
    """
    number = int(text) if text.replace("_", "").isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return number


def positive_float(text: str) -> float:
    """Return a finite number above 0.

    Raises:
        argparse.ArgumentTypeError: it is another text.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number


def fraction(text: str) -> float:
    """Return a number above 0 and up to 1.

    Raises:
        argparse.ArgumentTypeError: it is another text.
    """
    number = positive_float(text)
    if number > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is more than 1")
    return number
