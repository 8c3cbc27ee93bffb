"""Check the built site: each link and anchor leads somewhere, no page loads a file from outside."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

# The attribute by which an element loads a file or leads to a page.
LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
    "input": "src",
}
LOADING_RELATIONS = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "manifest"}
_STYLE_URL = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")
_GENERATED = {"404.html"}  # its links begin at the root of a server


class Page(HTMLParser):
    """What a page of HTML has and names: anchors, links, and files that it loads."""

    def __init__(self, html: str) -> None:
        """Read a page."""
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element names."""
        values = {name: value or "" for name, value in attrs}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and LOADING_RELATIONS & set(values.get("rel", "").split()):
            self.loaded.append(values["href"])
        if tag in LOADS and values.get(LOADS[tag]):
            self.loaded.append(values[LOADS[tag]])
        self.loaded += style_files(values.get("style", ""))


def style_files(text: str) -> list[str]:
    """Return the addresses that a style sheet loads; data that it holds itself is none."""
    found = (one or other for one, other in _STYLE_URL.findall(text))
    return [address for address in found if not address.startswith(("data:", "#"))]


def read_pages(site: Path) -> dict[Path, Page]:
    """Return every page of a built site."""
    paths = (path for path in sorted(site.rglob("*.html")) if path.name not in _GENERATED)
    return {path: Page(path.read_text("utf-8")) for path in paths}


def site_faults(site: Path) -> list[str]:
    """Return what is wrong with a built site, a sentence each."""
    pages = read_pages(site)
    faults = []
    for path, page in pages.items():
        name = path.relative_to(site)
        faults += [f"{name} {fault}" for fault in outside_faults(page.loaded)]
        files = [(address, path) for address in page.loaded if not is_outside(address)]
        links = [(address, path) for address in page.links if not is_outside(address)]
        found = (link_fault(*link, pages) for link in files + links)
        faults += [f"{name} {fault}" for fault in found if fault]
    for path in sorted(site.rglob("*.css")):
        loaded = style_files(path.read_text("utf-8"))
        faults += [f"{path.relative_to(site)} {fault}" for fault in outside_faults(loaded)]
    return faults


def is_outside(address: str) -> bool:
    """Return whether an address is not of this site."""
    parts = urlsplit(address)
    return bool(parts.scheme or parts.netloc)


def outside_faults(loaded: list[str]) -> list[str]:
    """Return the faults of files that are loaded from outside the site."""
    outside = (address for address in loaded if is_outside(address))
    return [f"loads {address}" for address in outside if not address.startswith("data:")]


def link_fault(address: str, page: Path, pages: dict[Path, Page]) -> str | None:
    """Return what is wrong with a link of a page to a file of the site, or None."""
    parts = urlsplit(address)
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file():
        return f"leads to {address}, which is not there"
    anchor = unquote(parts.fragment)
    if target in pages and anchor and anchor not in pages[target].anchors:
        return f"leads to {address}, a page without that anchor"
    return None
