"""Build the documentation site into .docs/site, and check it.

    make docs

It stops at a warning, at a link or an anchor that leads nowhere, and at a file from outside: the
site works from a disk, without a network and without a server.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from check import site_faults
from pages import write_pages
from reference import write_reference

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PAGES = ROOT / ".docs" / "pages"
SITE = ROOT / ".docs" / "site"

COLORS = re.compile(r"\x1b\[[0-9;]*m")

# Zensical's pages load this script, which lets search work from a disk, from a server of others.
SHIM_OUTSIDE = "https://unpkg.com/iframe-worker/shim"
SHIM = "assets/javascripts/iframe-worker.js"


def main() -> None:
    """Write the pages, build, and check."""
    shutil.rmtree(PAGES, ignore_errors=True)
    write_pages(ROOT, PAGES)
    write_reference((ROOT / "docs" / "api.md").read_text("utf-8"), PAGES / "docs" / "reference")
    for name in ("style.css", "tables.js"):
        shutil.copyfile(HERE / name, PAGES / name)
    build()
    use_local_shim()
    faults = site_faults(SITE)
    if faults:
        raise SystemExit("\n".join([*faults, f"The site has {len(faults)} faults."]))
    count = len(list(SITE.rglob("*.html")))
    print(f"{count} pages of Tryage {version('tryage')}: open {SITE.relative_to(ROOT)}/index.html")


def build() -> None:
    """Let Zensical build the site; show what it says only if that is a warning."""
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    said = COLORS.sub("", done.stdout + done.stderr)
    is_docstring_fault = "griffe:" in said  # which is no failure to Zensical
    if done.returncode or is_docstring_fault:
        message = said.partition("Traceback")[0]  # its own calls say nothing about a page
        raise SystemExit(f"{message or said}The site was not built.")


def use_local_shim() -> None:
    """Let every page load the script for search from the site itself."""
    shutil.copyfile(HERE / "iframe-worker.js", SITE / SHIM)
    for path in SITE.rglob("*.html"):
        up = "../" * (len(path.relative_to(SITE).parts) - 1)
        text = path.read_text("utf-8")
        path.write_text(text.replace(SHIM_OUTSIDE, up + SHIM), "utf-8")


if __name__ == "__main__":
    main()
