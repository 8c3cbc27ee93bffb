"""The sources of the texts: each yields documents, or says why this machine has none."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


class UnavailableError(Exception):
    """Raised if this machine cannot get a source; the message says what is missing."""


@dataclass(frozen=True)
class Source:
    """A domain of real text: `documents` yields `(name, text)`, given a folder to download to.

    `about` describes the texts. A `whole` document is one passage of any length, such as a question
    or a molecule.
    """

    name: str
    about: str
    origin: str
    licence: str
    documents: Callable[[Path], Iterator[tuple[str, str]]]
    whole: bool = False


def _library(_: Path) -> Iterator[tuple[str, str]]:
    root = Path(sysconfig.get_path("stdlib"))
    left_out = ("site-packages", "test", "tests", "idle_test", "lib2to3")
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if not any(part in left_out for part in relative.parts):
            yield str(relative), path.read_text("utf-8", errors="replace")


def _files(packages: Iterable[str], *patterns: str) -> Callable[[Path], Iterator[tuple[str, str]]]:
    """Return the documents that are files of Debian packages."""

    def documents(work: Path) -> Iterator[tuple[str, str]]:
        for package in packages:
            root = _unpack(package, work)
            for path in sorted({path for pattern in patterns for path in root.glob(pattern)}):
                if path.is_file() and not path.is_symlink():
                    yield f"{package}/{path.relative_to(root)}", _read(path)

    return documents


def _manual(package: str, folder: str) -> Callable[[Path], Iterator[tuple[str, str]]]:
    pages = _files([package], f"usr/share/man/{folder}man*/*.gz")
    return lambda work: ((name, prose(page)) for name, page in pages(work))


def _quips(work: Path) -> Iterator[tuple[str, str]]:
    for name, text in _files(["fortunes"], "usr/share/games/fortunes/*")(work):
        if not name.endswith(".dat"):  # the index of another file
            for i, quip in enumerate(text.split("\n%\n")):
                yield f"{name}/{i}", quip


def _molecules(work: Path) -> Iterator[tuple[str, str]]:
    paths = "NCI/first_5K.smi", "Pains/test_data/wehi_mols.csv"
    files = _files(["rdkit-data"], *(f"usr/share/RDKit/Data/{path}" for path in paths))
    for name, text in files(work):
        for i, line in enumerate(text.splitlines()):
            if molecule := re.match(r'"?([^\s"]+)', line):
                yield f"{name}/{i}", molecule[1]


def _questions(keep: Callable[[str], bool], *sets: str) -> Callable[..., Iterator[tuple[str, str]]]:
    """Return the prompts of stored sets whose category or data set is kept."""

    def documents(_: Path) -> Iterator[tuple[str, str]]:
        from pyarrow import parquet

        for name in sets:
            path = DATA / name / "prompts.parquet"
            if not path.exists():
                raise UnavailableError(f"there is no {path}; put the stored sets there")
            for row in parquet.read_table(path).to_pylist():
                if keep(row.get("dataset") or row["category"]):
                    yield f"{name}/{row['prompt_id']}", row["prompt"].strip()

    return documents


_MATHS = ("gsm", "gsm8k", "math-l5", "math")
SOURCES = (
    Source("python", "Python source code", "Python's standard library", "PSF-2.0", _library),
    Source(
        "c",
        "C header files of Linux and its C library",
        "Debian linux-libc-dev, libc6-dev",
        "GPL-2.0 with syscall note, LGPL-2.1+",
        _files(["linux-libc-dev", "libc6-dev"], "usr/include/**/*.h"),
    ),
    Source(
        "perl",
        "Perl modules and their documentation",
        "Debian perl-modules",
        "Artistic or GPL-1+",
        _files(["perl-modules-5.36"], "usr/share/perl/*/**/*.pm"),
    ),
    Source(
        "english-manual",
        "English manual pages of Linux programs and C functions",
        "Debian manpages, manpages-dev",
        "GPL-2+, BSD, man-pages",
        lambda work: (
            document
            for package in ("manpages", "manpages-dev")
            for document in _manual(package, "")(work)
        ),
    ),
    Source(
        "german-manual",
        "German manual pages of Linux programs",
        "Debian manpages-de",
        "GPL-3+, man-pages",
        _manual("manpages-de", "de/"),
    ),
    Source(
        "french-manual",
        "French manual pages of Linux programs",
        "Debian manpages-fr",
        "GPL-3+, man-pages",
        _manual("manpages-fr", "fr/"),
    ),
    Source(
        "spanish-manual",
        "Spanish manual pages of Linux programs",
        "Debian manpages-es",
        "GPL-3+, man-pages",
        _manual("manpages-es", "es/"),
    ),
    Source(
        "quips",
        "witty English quotations, jokes and aphorisms",
        "Debian fortunes",
        "BSD, quotations",
        _quips,
        whole=True,
    ),
    Source(
        "molecules",
        "molecules written as SMILES",
        "Debian rdkit-data",
        "BSD-3-Clause",
        _molecules,
        whole=True,
    ),
    Source(
        "maths",
        "mathematics problems in English and LaTeX",
        "stored sets GSM8K, MATH, MMLU-Pro",
        "MIT, Apache-2.0",
        _questions(_MATHS.__contains__, "zeroeval", "routellm_pair", "mmlu_pro"),
        whole=True,
    ),
    Source(
        "exams",
        "multiple-choice exam questions in law, medicine, history and the sciences",
        "stored set MMLU-Pro",
        "Apache-2.0",
        _questions(
            lambda category: category not in (*_MATHS, "physics", "engineering"), "mmlu_pro"
        ),
        whole=True,
    ),
)


def prose(page: str) -> str:
    """Return the text of a manual page without the markup of roff."""
    lines = []
    for line in page.splitlines():
        macro = re.match(r"[.'](\w*)\s*(.*)", line)
        if line[:1] in (".", "'") and (not macro or not re.fullmatch("S[HS]|[BIR]{1,2}", macro[1])):
            continue
        text = macro[2].replace('"', "") if macro else line
        text = re.sub(r"\\f(\[[^]]*\]|\(..|.)|\\[&|,/)]|\\s[-+]?\d", "", text)
        text = re.sub(r"\\\((\w\w|..)|\\\[(\w+)\]", _sign, text)
        lines.append(text.replace("\\-", "-").replace("\\e", "\\").replace("\\ ", " "))
    return "\n".join(lines)


_SIGNS = {
    "aq": "'",
    "dq": '"',
    "lq": "“",
    "rq": "”",
    "em": "—",
    "en": "\u2013",
    "bu": "•",
    "co": "©",
}


def _sign(found: re.Match[str]) -> str:
    return _SIGNS.get(found[1] or found[2], "")


def _unpack(package: str, work: Path) -> Path:
    """Return the folder with a Debian package's files; nothing is installed or runs.

    Raises:
        UnavailableError: no apt, no network, or no such package.
    """
    folder = work / package
    if folder.exists():
        return folder
    apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt is None or dpkg is None:
        raise UnavailableError("this machine has no apt-get and dpkg-deb")
    work.mkdir(parents=True, exist_ok=True)
    if not list(work.glob(f"{package}_*.deb")):
        download = subprocess.run(
            [apt, "download", package], cwd=work, capture_output=True, text=True, check=False
        )
        if download.returncode:
            raise UnavailableError(f"apt-get download {package}: {download.stderr.strip()[-200:]}")
    partial = work / f"{package}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    archive = next(work.glob(f"{package}_*.deb"))
    subprocess.run([dpkg, "-x", str(archive), str(partial)], check=True)
    partial.rename(folder)
    return folder


def _read(path: Path) -> str:
    """Return the content of a text file, which may be compressed; invalid bytes are marked."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    return content.decode("utf-8", errors="replace")
