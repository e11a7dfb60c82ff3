"""For mkdocs: links that leave docs/ lead to the site's copy of a page, or are printed as the path of a file."""

import logging
import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {name: name.lower() for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")}  # place on the site
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s:#][^)\s:]*?)(#[^)\s]*)?\)")  # no address, and not within the page


def on_startup(command: str, dirty: bool) -> None:
    """Keep a line for each module off the screen; warnings stay, and end a strict build."""
    logging.getLogger("mkdocs.plugins.api-autonav").setLevel(logging.WARNING)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, place in PAGES.items():
        files.append(File.generated(config, place, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page, config: MkDocsConfig, files: Files) -> str:
    """The page's text, with its links as they must be on the site."""
    at_root = {place: name for name, place in PAGES.items()}.get(page.file.src_uri)
    here = PurePosixPath(at_root).parent if at_root else PurePosixPath("docs", page.file.src_uri).parent
    from_page = os.path.dirname(page.file.src_uri) or "."

    def on_site(match: re.Match[str]) -> str:
        text, link, anchor = match[1], match[2], match[3] or ""
        target = os.path.normpath(here / link)
        place = PAGES.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
        if place is not None and (ROOT / target).is_dir():
            place = f"{place}/README.md"
        if place is None:
            return text if target in text else f"{text} (`{target}`)"
        return f"[{text}]({os.path.relpath(place, from_page)}{anchor})"

    return LINK.sub(on_site, markdown)
