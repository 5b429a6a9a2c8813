"""Hooks for mkdocs: README.md becomes the home page, logs and notebooks become pages, formulas become MathML, and the reference
of Python has the whole docstrings.

In the sources, links are relative to the file in the repository, so that they work on GitHub. The hooks convert them to links
of the site, and copy every linked file. Then mkdocs checks all links.
"""

from __future__ import annotations

import html
import os
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[1]
# Pages outside docs/, and their names on the site.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "results/bench/step.md": "results/bench/step.md",
    "results/bench/generation.md": "results/bench/generation.md",
    **{f"hybrid/weights/{path.name}": f"hybrid/weights/{path.name}" for path in sorted((ROOT / "hybrid/weights").glob("*.md"))},
    **{f"notebooks/{path.name}": f"notebooks/{path.stem}.md" for path in sorted((ROOT / "notebooks").glob("*.ipynb"))},
}
API = re.compile(r"<!-- api (\S+) -->.*?<!-- end -->", re.DOTALL)  # for readers of the file; mkdocstrings has more for the site
LINK = re.compile(r"""(\]\(|\b(?:src|href)=")([^)"#\s]+)""")


def on_files(files, config):
    """Add the pages outside docs/, and every file that a page links to."""
    texts = {f"docs/{file.src_uri}": file.content_string for file in files.documentation_pages()}
    for path, uri in PAGES.items():
        texts[path], images = (
            _notebook(ROOT / path) if path.endswith(".ipynb") else ((ROOT / path).read_text(encoding="utf-8"), {})
        )
        files.append(File.generated(config, uri, content=texts[path]))
        for name, content in images.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    for origin, text in texts.items():
        for _, target in LINK.findall(text):
            path = _in_repository(origin, target)
            if (ROOT / path).is_file() and _uri(path) not in files.src_uris:
                files.append(File.generated(config, _uri(path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Convert links to those of the site."""
    if page.is_homepage:
        page.meta["hide"] = ["navigation"]  # it would have one entry
    origin = {uri: path for path, uri in PAGES.items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def link(found: re.Match) -> str:
        path = _in_repository(origin, found[2])
        if not (ROOT / path).is_file():
            return found[0]
        uri = _uri(path)
        if "src=" in found[1] or "href=" in found[1]:  # mkdocs leaves HTML alone
            uri = files.get_file_from_path(uri).dest_uri
        return found[1] + os.path.relpath(uri, os.path.dirname(page.file.src_uri) or ".")

    return LINK.sub(link, API.sub(r"::: \1", markdown))


def on_page_content(html_text, page, config, files):
    """Convert formulas to MathML, which browsers show without a script. The keyboard can scroll wide formulas and tables."""

    def math(found: re.Match) -> str:
        tex = html.unescape(found[2]).strip()
        display = "block" if found[1] == "div" else "inline"
        tex = re.sub(r"\\tag\{(.*?)\}", r"\\qquad (\1)", tex[2:-2]).replace(r"\log ", r"\log\,").replace("'", r"\prime ")
        scrolls = ' tabindex="0" role="group" aria-label="formula"' if found[1] == "div" else ""
        return f'<{found[1]} class="math"{scrolls}>{convert(tex, display=display)}</{found[1]}>'

    html_text = html_text.replace('class="dataframe"', 'class="dataframe" tabindex="0"')
    return re.sub(r'<(span|div) class="arithmatex">(.*?)</\1>', math, html_text, flags=re.DOTALL)


def _in_repository(origin: str, target: str) -> str:
    """Return the path in the repository for a link in the file `origin`."""
    return os.path.normpath(os.path.join(os.path.dirname(origin), target))


def _uri(path: str) -> str:
    """Return the name of a repository's file on the site."""
    return PAGES.get(path, path.removeprefix("docs/"))


def _notebook(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return a stored notebook as Markdown, and its pictures by name. A picture's alternative text names its section."""
    own = {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
    text, made = MarkdownExporter().from_filename(str(path), resources=own)
    section = ""

    def describe(found: re.Match) -> str:
        nonlocal section
        section = (found[1] or section).replace("$", "")
        return found[0] if found[1] else f"![Picture of the section {section}]("

    return re.sub(r"^#+ (.+)$|!\[png\]\(", describe, text, flags=re.MULTILINE), made["outputs"]
