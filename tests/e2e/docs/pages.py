"""Finds what a page holds: blocks of code with their marks, links, headings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markdown_it.token import Token

CHECKOUT = Path(__file__).resolve().parents[3]

PAGES = sorted(
    str(path.relative_to(CHECKOUT))
    for pattern in ("README*.md", "docs/**/*.md", "deploy/**/*.md", "model_repository/README.md")
    for path in CHECKOUT.glob(pattern)
)
"""Every page that people read here."""

MARKS = {
    "not here": re.compile("\\bnot run here: |这里没有运行\uff1a", re.IGNORECASE),
    "minutes": re.compile(r"\btakes [^.]*\b(minutes?|hours?)\b|需要[^。]*(分钟|小时)", re.IGNORECASE),
    "test-clients": re.compile(r"\brun by `make test-clients`", re.IGNORECASE),
}
"""What the paragraph above a block says where the block isn't run: by kind, so that a reader sees it too."""

SAVED = re.compile(r"\b[Ss]ave it as `([^`]+)`")
"""What the paragraph above a block says where readers keep it in a file."""

RUN = frozenset({"sh", "python", "js", "console"})
"""Languages that are run; ``console`` is ``$ command`` with what it prints."""


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    """Its page."""

    line: int
    """The line of its opening fence, from 1."""

    language: str
    """What stands behind the fence."""

    text: str
    """Its content."""

    mark: str | None
    """The kind of the mark above it; None if it is to be run."""

    shown: str | None = None
    """What the page shows as its output, in a block of ``text`` right below."""

    file: str | None = None
    """The file that readers save it as."""

    is_output: bool = False
    """Whether it is what another block prints."""

    @property
    def where(self) -> str:
        """Page and line, as editors read them."""
        return f"{self.page}:{self.line}"

    @property
    def is_run(self) -> bool:
        """Whether it is run for real."""
        return self.mark is None and (self.language in RUN or self.file is not None)


def parse(text: str) -> list[Token]:
    """
    Parse a page.

    Args:
        text: Its Markdown.

    Returns:
        Its tokens, in order.
    """
    return MarkdownIt("commonmark").enable("table").parse(text)


def find_blocks(page: str, text: str | None = None) -> list[Block]:
    """
    Find a page's blocks.

    Args:
        page: Its path in the checkout.

        text: Its Markdown; read from the file if left out.

    Returns:
        All blocks in order. Indented code is one too, without a language.
    """
    tokens = parse((CHECKOUT / page).read_text() if text is None else text)
    blocks: list[Block] = []
    above = ""
    paragraphs = 0
    for token in tokens:
        if token.type == "inline":
            above, paragraphs = token.content, paragraphs + 1
        elif token.type in {"fence", "code_block"}:
            block = _block(page, token, above)
            if blocks and block.language == "text" and _is_output(blocks[-1], above, paragraphs):
                blocks[-1] = Block(**{**vars(blocks[-1]), "shown": block.text})
                block = Block(**{**vars(block), "is_output": True})
            blocks.append(block)
            above, paragraphs = "", 0
        elif token.type.endswith("_open") and token.type != "paragraph_open":
            # A heading, list or table between a mark and a block: the mark isn't the block's.
            above, paragraphs = "", paragraphs + (token.type == "heading_open") * 2
    return blocks


def _block(page: str, token: Token, above: str) -> Block:
    line = token.map[0] + 1 if token.map else 0
    mark = next((kind for kind, pattern in MARKS.items() if pattern.search(above)), None)
    saved = SAVED.search(above)
    return Block(page, line, token.info.strip(), token.content, mark, file=saved[1] if saved else None)


def _is_output(before: Block, above: str, paragraphs: int) -> bool:
    """Tell whether a block shows what the one before it prints: right below it, or below one line with a colon."""
    return (
        before.is_run
        and before.file is None
        and (paragraphs == 0 or (paragraphs == 1 and above.endswith((":", "\uff1a"))))
    )


def links(page: str) -> Iterator[tuple[int, str]]:
    """
    Find a page's links and pictures.

    Args:
        page: Its path in the checkout.

    Yields:
        The line of the paragraph or table row, and the target.
    """
    for token in parse((CHECKOUT / page).read_text()):
        for child in token.children or ():
            if child.type in {"link_open", "image"}:
                target = child.attrGet("href") or child.attrGet("src")
                yield (token.map[0] + 1 if token.map else 0), str(target)


def anchors(page: str) -> set[str]:
    """
    List the fragments that lead into a page: its headings', as GitHub makes them, and those of ``<a id="…">``.

    Args:
        page: Its path in the checkout.

    Returns:
        The fragments, without ``#``.
    """
    text = (CHECKOUT / page).read_text()
    found = set(re.findall(r'<a id="([^"]+)"></a>', text))
    tokens = parse(text)
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        title = "".join(
            child.content for child in inline.children or () if child.type in {"text", "code_inline"}
        )
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        number = 0
        while (name := slug if number == 0 else f"{slug}-{number}") in found:
            number += 1
        found.add(name)
    return found


def without_comments(text: str) -> str:
    """
    Drop a program's comments, which differ between languages of people.

    Args:
        text: A block's content.

    Returns:
        What is left, without spaces at the ends of lines and without empty lines.
    """
    lines = (re.sub(r"(^|\s+)# .*$", "", line).rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if line)
