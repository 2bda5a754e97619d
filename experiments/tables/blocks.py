"""A page as blocks, in Markdown and as one HTML file with its figures inside."""

import base64
import html
from collections.abc import Sequence
from typing import NamedTuple

from mtp.report.tables import grid

STYLE = """body{font:15px/1.5 sans-serif;max-width:1200px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto}
th,td{border-bottom:1px solid #ddd;padding:3px 8px;text-align:left;white-space:nowrap}
code,pre{background:#f4f4f4;padding:2px 4px} img{max-width:100%}"""


class Heading(NamedTuple):
    """level: 1 to 3."""

    level: int
    text: str


class Text(NamedTuple):
    """A paragraph; lines: its lines where they must not run on."""

    lines: Sequence[str]


class Table(NamedTuple):
    """Header and body."""

    header: list[str]
    body: list[list[str]]


class Command(NamedTuple):
    """What made the block above."""

    text: str


class Picture(NamedTuple):
    """A PNG by its file's name beside the page, and what it shows."""

    name: str
    content: bytes
    caption: str


Block = Heading | Text | Table | Command | Picture


def markdown(blocks: Sequence[Block]) -> str:
    """The page for reading as it is; pictures lie beside it."""
    return "\n\n".join(map(_markdown, blocks)) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {text}"
        case Text(lines):
            return "  \n".join(lines)
        case Table(header, body):
            return grid(header, body)
        case Command(text):
            return f"`{text}`"
        case Picture(name, _, caption):
            return f"![{caption}]({name})"


def page(title: str, blocks: Sequence[Block]) -> str:
    """The same as one HTML file."""
    body = "\n".join(map(_html, blocks))
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"<h{level}>{html.escape(text)}</h{level}>"
        case Text(lines):
            return f"<p>{'<br>'.join(map(html.escape, lines))}</p>"
        case Table(header, body):
            rows = "\n".join(_row("td", cells) for cells in body)
            return f"<table>\n{_row('th', header)}\n{rows}\n</table>"
        case Command(text):
            return f"<pre>{html.escape(text)}</pre>"
        case Picture(_, content, caption):
            encoded = base64.b64encode(content).decode()
            return f'<img alt="{html.escape(caption)}" src="data:image/png;base64,{encoded}">'


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
