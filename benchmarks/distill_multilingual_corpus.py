"""Sentences with their translations, from the message catalogues and manuals of free software."""

from __future__ import annotations

import gettext
import io
import json
import re
import subprocess
import tarfile
import zipfile
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from distill_multilingual_dictionaries import dictionary_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Translations = dict[str, dict[str, str]]
"""English sentence -> language -> translation."""

MIN_LENGTH, MAX_LENGTH = 12, 600  # characters of an English sentence

_LANGUAGE = re.compile(r"^([a-z]{2,3})(?:[_@-](\w+))?(?:[@.].*)?$")
_DEBIAN_FILES = (".mo", ".page", ".index", ".dict.dz")
_CATALOGUE_FOLDERS = ("LC_MESSAGES", "translations")
_MARKUP = re.compile(r"<[^<>]{1,80}>")
_PLACEHOLDER = re.compile(
    r"%\(\w+\)[sd]|%[-\d.]*[sdifuc]|\{[\w .:!]*\}|\$\{?\w+\}?|&(?=\w)|_(?=\w)"
)
_SPACE = re.compile(r"\s+")


def read_translations(packages: Path) -> tuple[Translations, list[tuple[str, str, str]]]:
    """Read every wheel, Debian package and Debian index of descriptions under a folder.

    Returns sentences, and the words of dictionaries as English, language, translation.
    """
    found: Translations = defaultdict(dict)
    words: set[tuple[str, str, str]] = set()
    for path in sorted(packages.rglob("*.whl")):
        _add(found, _pairs(_wheel_files(path)))
    for path in sorted(packages.rglob("*.deb")):
        files = _debian_files(path)
        _add(found, _pairs(files))
        words.update(dictionary_pairs(files))
    _add(found, _descriptions(sorted(packages.rglob("*i18n_Translation-*"))))
    return found, sorted(words)


def _add(found: Translations, pairs: Iterable[tuple[str, str, str]]) -> None:
    for english, language, text in pairs:
        source, target = clean(english), clean(text)
        if MIN_LENGTH <= len(source) <= MAX_LENGTH and target and target != source:
            found[source].setdefault(language, target)


def clean(text: str) -> str:
    """Return a message without markup, placeholders, keys of menus and line breaks."""
    return _SPACE.sub(" ", _PLACEHOLDER.sub("", _MARKUP.sub(" ", text))).strip()


def base_language(name: str) -> str | None:
    """Return the language of a folder such as `pt_BR`, None where it is none or English."""
    match = _LANGUAGE.match(name)
    if match is None or match[1] == "en":
        return None
    is_latin = (match[2] or "").lower().startswith("lat")
    return f"{match[1]}-latn" if is_latin else match[1]


# Files of packages ------------------------------------------------------------------------------


def _wheel_files(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n.endswith((".mo", ".json")) and _is_message(n)]
        return {name: archive.read(name) for name in names}


def _debian_files(path: Path) -> dict[str, bytes]:
    packed = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", str(path)],  # noqa: S607 - the one in the PATH
        check=True,
        capture_output=True,
    ).stdout
    files = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            is_read = member.isfile() and member.name.endswith(_DEBIAN_FILES)
            file = archive.extractfile(member) if is_read else None
            if file is not None:
                files[member.name] = file.read()
    return files


def _is_message(name: str) -> bool:
    return any(f"/{folder}/" in name for folder in _CATALOGUE_FOLDERS) or "/locale/" in name


def _pairs(files: Mapping[str, bytes]) -> Iterator[tuple[str, str, str]]:
    yield from _gettext_pairs(files)
    yield from _json_pairs(files)
    yield from _page_pairs(files)


def _gettext_pairs(files: Mapping[str, bytes]) -> Iterator[tuple[str, str, str]]:
    """Read compiled catalogues: they hold the English message and its translation."""
    for name, content in files.items():
        parts = PurePosixPath(name).parts
        if not name.endswith(".mo"):
            continue
        folder = parts[-3] if parts[-2] == "LC_MESSAGES" else parts[-2]
        language = base_language(folder)
        if language is None:
            continue
        try:
            catalogue = gettext.GNUTranslations(io.BytesIO(content))._catalog  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public way to list the messages
        except (OSError, ValueError, IndexError):
            continue  # a catalogue in another format is no translation
        for key, text in catalogue.items():
            message = key[0] if isinstance(key, tuple) else key
            yield message.rpartition("\x04")[2], language, text


def _json_pairs(files: Mapping[str, bytes]) -> Iterator[tuple[str, str, str]]:
    """Read files of keys and messages: `.../en.json` has the English of `.../de.json`."""
    by_catalogue: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    for name, content in files.items():
        if name.endswith(".json"):
            place, language = _json_place(PurePosixPath(name))
            if language:
                by_catalogue[place][language] = dict(_flat(json.loads(content)))
    for catalogues in by_catalogue.values():
        english = catalogues.get("en", {})
        for folder, messages in catalogues.items():
            language = base_language(folder)
            for key in english.keys() & messages.keys() if language else ():
                yield english[key], str(language), messages[key]


def _json_place(path: PurePosixPath) -> tuple[str, str | None]:
    if path.parts[-2] == "LC_MESSAGES":
        return f"{path.parent.parent.parent}/{path.name}", path.parts[-3]
    match = re.match(r"([a-z]{2,3}(?:-\w{2,4})?)(?:-[0-9a-f]{32})?\.json$", path.name)
    return str(path.parent), match[1].replace("-", "_") if match else None


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flat(part, f"{prefix}.{key}")
    elif isinstance(value, str):
        yield prefix, value


def _page_pairs(files: Mapping[str, bytes]) -> Iterator[tuple[str, str, str]]:
    """Read pages of the GNOME help, whose paragraphs are in the same order in every language."""
    pages: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for name, content in files.items():
        parts = PurePosixPath(name).parts
        if name.endswith(".page") and "help" in parts:
            index = parts.index("help")
            pages["/".join(parts[index + 2 :])][parts[index + 1]] = _paragraphs(content)
    for languages in pages.values():
        english = languages.get("C", [])
        for folder, paragraphs in languages.items():
            language = base_language(folder)
            if language and len(paragraphs) == len(english):
                for source, text in zip(english, paragraphs, strict=True):
                    yield source, language, text


def _paragraphs(content: bytes) -> list[str]:
    kinds = ("p", "title", "desc")
    return [
        "".join(node.itertext())
        for node in ElementTree.fromstring(content).iter()  # noqa: S314 - a file of Debian
        if node.tag.rpartition("}")[2] in kinds
    ]


# Descriptions of Debian's packages --------------------------------------------------------------


def _descriptions(paths: Iterable[Path]) -> Iterator[tuple[str, str, str]]:
    """Read the descriptions of packages, which a checksum of the English text links."""
    tables = {path.name.rpartition("-")[2].split(".")[0]: _descriptions_of(path) for path in paths}
    english = tables.get("en", {})
    for folder, texts in tables.items():
        language = base_language(folder)
        for digest in english.keys() & texts.keys() if language else ():
            sources, targets = english[digest], texts[digest]
            if len(sources) == len(targets):
                for source, text in zip(sources, targets, strict=True):
                    yield source, str(language), text


def _descriptions_of(path: Path) -> dict[str, list[str]]:
    """Return the paragraphs of each description by its checksum."""
    raw = subprocess.run(
        ["/usr/lib/apt/apt-helper", "cat-file", str(path)], check=True, capture_output=True
    ).stdout.decode("utf-8", "replace")
    found = {}
    for entry in raw.split("\n\n"):
        match = re.search(r"Description-md5: (\w+)\nDescription-\w+: (.*)", entry, re.DOTALL)
        if match:
            text = re.sub(r"\n \.\n", "\0", match[2]).replace("\n", "\0", 1)
            found[match[1]] = [_SPACE.sub(" ", part) for part in text.split("\0")]
    return found
