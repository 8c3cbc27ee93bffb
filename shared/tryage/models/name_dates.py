"""Dates in names of models: which date a name tells, and whether it tells two models apart."""

from __future__ import annotations

import re

_FULL_DATES = (
    re.compile(r"[-@.](?P<y>20\d\d)[-.]?(?P<m>0[1-9]|1[0-2])[-.]?(?P<d>[0-3]\d)(?!\d)"),
    re.compile(r"-(?P<m>0[1-9]|1[0-2])-(?P<d>[0-3]\d)-(?P<y>20\d\d)(?!\d)"),
    re.compile(r"-(?P<y>2\d)-(?P<m>0[1-9]|1[0-2])-(?P<d>[0-3]\d)(?!\d)"),
)

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

# "Oct '24", "May' 25", "March 2025", "dec-2024".
_MONTH_NAME = re.compile(rf"-(?P<name>{'|'.join(_MONTHS)})[a-z]*['-]*(?P<y>(?:20)?2\d)(?=[-,]|$)")

# A day without a year. Google and OpenAI tell builds apart by it, never versions.
_DAY = re.compile(
    r"(?P<before>^(?:gemini|chatgpt)-.*?|-(?:preview|exp|experimental|beta))"
    r"-(?P<m>0[1-9]|1[0-2])-(?P<d>[0-3]\d)(?!\d|-\d{4}|-\d\d(?:-|$))"
)

_BUILD_DAY = re.compile(
    r"(?P<before>^(?:gemini|claude)-.*)-(?P<m>0[1-9]|1[0-2])(?P<d>[0-3]\d)(?=-|$)"
)

_SHORT_DATES = (
    re.compile(r"-(?P<m>0[1-9]|1[0-2])-(?P<y>20\d\d)(?!\d)"),
    re.compile(r"-(?P<y>20\d\d)(?P<m>0[1-9]|1[0-2])(?!\d)"),
    re.compile(r"[-.](?P<y>2[3-9])[.-]?(?P<m>0[1-9]|1[0-2])(?![\d.bm])"),
    re.compile(r"-(?P<m>0[1-9]|1[0-2])-?(?P<d>[0-3]\d)(?![\d.bm])"),
)

_MAY_BE_DATE = re.compile(r"\d\d[-.]?\d\d|['-]\d\d")

_VERSION = re.compile(r"\d")

_WRITES_MONTH_FIRST = re.compile(r"command-")  # Cohere: "command-r-08-2024"


def take_date(name: str) -> tuple[str, str | None]:
    """Return a name without a date that tells only builds of one version apart, and the date.

    A full date does, and so does a month in words, unless the rest of the name has no number: then
    it is the version and stays, in one spelling. A short date always stays: "mistral-large-2512"
    succeeds "mistral-large-2411".
    """
    if not _MAY_BE_DATE.search(name):
        return name, None
    if found := _MONTH_NAME.search(name):
        return _take_month(name, found)
    for pattern in (*_FULL_DATES, _DAY, _BUILD_DAY):
        if found := pattern.search(name):
            parts = found.groupdict()
            date = _iso_date(parts)
            before = name[: found.start()] + parts.get("before", "")
            rest = before + name[found.end() :]
            if _VERSION.search(rest):
                return rest, date
            return (f"{before}-{date}{name[found.end() :]}" if "y" in parts else name), date
    for pattern in _SHORT_DATES:
        if found := pattern.search(name):
            return _in_one_spelling(name, found), _iso_date(found.groupdict())
    return name, None


def without_date(name: str) -> str:
    """Return a name without any date: "mistral-large" of "mistral-large-2512"."""
    for pattern in (*_FULL_DATES, *_SHORT_DATES) if _MAY_BE_DATE.search(name) else ():
        if found := pattern.search(name):
            return name[: found.start()] + name[found.end() :]
    return name


def _take_month(name: str, found: re.Match[str]) -> tuple[str, str]:
    month = f"{_MONTHS.index(found['name']) + 1:02}"
    year = found["y"][-2:]
    before, after = name[: found.start()], name[found.end() :]
    if not _VERSION.search(before + after):
        is_month_first = _WRITES_MONTH_FIRST.match(name) is not None
        before += f"-{month}-20{year}" if is_month_first else f"-{year}{month}"
    return before + after, f"20{year}-{month}"


def _in_one_spelling(name: str, found: re.Match[str]) -> str:
    """Write "12-12" as "1212" and "25.07" as "2507", but leave "08-2024" as Cohere writes it."""
    text = found[0]
    if len(text) != len("-12-12"):
        return name
    return (
        f"{name[: found.start()]}-{text[1:].replace('-', '').replace('.', '')}{name[found.end() :]}"
    )


def _iso_date(parts: dict[str, str]) -> str:
    year = parts.get("y") or ""
    year = f"20{year}" if len(year) == 2 else year
    return "-".join(part for part in (year, parts.get("m"), parts.get("d")) if part)
