"""How many forms of credentials are masked, and how many harmless texts are changed.

    python benchmarks/redaction.py                       # this revision
    PYTHONPATH=OTHER/shared python benchmarks/redaction.py  # another revision
    pip install detect-secrets logfire                   # two libraries, measured if installed

A form counts as masked if no credential of it is left, not even in part (six characters).
"""

from __future__ import annotations

import base64
import json
import random
import re
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTS = Path(__file__).resolve().parents[1] / "tests" / "fixtures" / "credential_texts.json"
ALPHABETS = {
    "a": "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
    "w": "abcdefghijklmnopqrstuvwxyz",
    "u": "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
    "x": "0123456789abcdef",
    "b": "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
}
PLACEHOLDER = re.compile(r"\{([awuxb])(\d+)\}|\{([jv])\}")
CREDENTIAL = re.compile("«(.*?)»", re.DOTALL)
VISIBLE_PART = 6  # so many characters of a credential in a row are a leak


def expand(text: str, seed: int = 0) -> str:
    """Fill in placeholders: no text of the file looks like a key to a scanner of repositories."""
    rng = random.Random(f"{seed} {text}")  # noqa: S311 - no secret depends on it

    def fill(match: re.Match[str]) -> str:
        if match[3] == "j":
            head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
            return f"{head}.{head}." + "".join(rng.choices(ALPHABETS["a"], k=43))
        if match[3] == "v":
            digits = "".join(rng.choices(ALPHABETS["x"], k=32))
            return "-".join(digits[a:b] for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))
        return "".join(rng.choices(ALPHABETS[match[1]], k=int(match[2])))

    return PLACEHOLDER.sub(fill, text)


def read_texts() -> tuple[list[tuple[str, list[str]]], list[str]]:
    """Return the forms, each with its credentials, and the harmless texts."""
    texts = json.loads(TEXTS.read_text("utf-8"))
    marked = [expand(text) for text in texts["credentials"]]
    forms = [(re.sub("[«»]", "", text), CREDENTIAL.findall(text)) for text in marked]
    return forms, [expand(text) for text in texts["harmless"]]


def leaks(redacted: str, secrets: list[str]) -> bool:
    """Return whether a part of a credential is left."""
    for secret in secrets:
        size = min(VISIBLE_PART, len(secret))
        parts = {secret[i : i + size] for i in range(len(secret) - size + 1)}
        if any(part in redacted for part in parts):
            return True
    return False


def with_detect_secrets() -> Callable[[str], str]:
    """Mask what the plugins of detect-secrets find in a file with the text."""
    from detect_secrets.core.scan import scan_file
    from detect_secrets.settings import default_settings

    def redact(text: str) -> str:
        with TemporaryDirectory() as folder, default_settings():
            path = Path(folder) / "text.log"
            path.write_text(text, "utf-8")
            found = {secret.secret_value for secret in scan_file(str(path))}
        for secret in found - {None, ""}:
            text = text.replace(secret, "***")
        return text

    return redact


def with_logfire() -> Callable[[str], str]:
    """Mask what logfire's scrubber matches: it drops a value in which a word as "auth" is."""
    from logfire._internal.scrubbing import Scrubber

    scrubber = Scrubber(None)
    return lambda text: str(scrubber.scrub_value(("message",), text)[0])


def with_tryage() -> Callable[[str], str]:
    """Mask with this revision, or one from before redaction had a file of its own."""
    try:
        from tryage.core.redaction import redact
    except ImportError:
        from tryage.core.client_errors import redact
    return redact


def main() -> None:
    """Print the table."""
    forms, harmless = read_texts()
    print(f"{len(forms)} forms of credentials, {len(harmless)} harmless texts\n")
    print("| | masked whole | harmless texts changed | ms for 10 kB |")
    print("|---|---|---|---|")
    for make in (with_tryage, with_detect_secrets, with_logfire):
        name = make.__name__.removeprefix("with_")
        try:
            redact = make()
        except ImportError:
            print(f"| {name} | not installed | | |")
            continue
        missed = [text for text, secrets in forms if leaks(redact(text), secrets)]
        changed = [text for text in harmless if redact(text) != text]
        text = " ".join(harmless)[:10_000]
        start = time.process_time()
        redact(text)
        milliseconds = (time.process_time() - start) * 1e3
        print(f"| {name} | {len(forms) - len(missed)} | {len(changed)} | {milliseconds:.1f} |")
        if "--verbose" in sys.argv:
            print("\n".join(f"    missed: {line!r} -> {redact(line)!r}" for line in missed))
            print("\n".join(f"    changed: {line!r} -> {redact(line)!r}" for line in changed))


if __name__ == "__main__":
    main()
