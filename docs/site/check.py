"""What Zensical's strict build leaves unchecked: files that are no pages, and what is loaded from other hosts."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "iframe": "src", "link": "href"}
"""Attributes that a browser loads by itself, by tag; a link of ``<a>`` waits for its reader."""


class BrokenSiteError(Exception):
    """Pages of the site lead nowhere or load from other hosts; the message lists them."""


def check_site(site: Path) -> None:
    """Look at every link and every file that pages load.

    Args:
        site: the folder of HTML files, with links relative to the page.

    Raises:
        BrokenSiteError: a file or an anchor is missing, or something is loaded from another host.
    """
    pages = {file: _read(file) for file in sorted(site.rglob("*.html")) if file.name != "404.html"}
    broken = [f"{file.relative_to(site)}: {fault}" for file in pages for fault in _faults(file, pages)]
    if broken:
        raise BrokenSiteError("\n".join(broken))


class _Page(HTMLParser):
    """A page's anchors, links, and what its reader's browser loads for it."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {values[key] or "" for key in ("id", "name") if key in values}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"] or "")
        elif values.get(LOADED.get(tag, "")):
            self.loaded.append(values[LOADED[tag]] or "")


def _read(file: Path) -> _Page:
    page = _Page()
    page.feed(file.read_text(encoding="utf-8"))
    return page


def _faults(file: Path, pages: dict[Path, _Page]) -> list[str]:
    faults = [f"loads {url}" for url in pages[file].loaded if urlsplit(url).netloc]
    for link in (*pages[file].links, *pages[file].loaded):
        url = urlsplit(link)
        if url.scheme or url.netloc:
            continue
        target = (file.parent / unquote(url.path)).resolve() if url.path else file
        target = target / "index.html" if target.is_dir() else target
        if not target.exists():
            faults.append(f"{link}: no such file")
        elif url.fragment and target in pages and unquote(url.fragment) not in pages[target].anchors:
            faults.append(f"{link}: no such anchor")
    return faults
