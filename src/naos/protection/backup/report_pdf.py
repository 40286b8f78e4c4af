"""The matrix of machines and days as PDF."""

import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape  # it only writes

from naos.protection.backup.reports import Row

DAYS_ON_A_PAGE = 31
FONTS = (Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"),)
"""Fonts with most of the world's letters, the first one that is there; else one of Latin letters that is always there."""
MARKS = {
    "good": ("G", "#c8e6c9"),
    "damaged": ("D", "#b39ddb"),
    "failed": ("F", "#ef9a9a"),
    "skipped": ("S", "#fff59d"),
    "": ("", "#ffffff"),
}
"""A letter as well as a colour: it may be printed in black."""


@cache
def _font() -> tuple[str, frozenset[int]]:
    """Its name, and the characters that it has."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    found = next((path for path in FONTS if path.exists()), Path("Vera.ttf"))
    font = TTFont("naos", str(found))
    pdfmetrics.registerFont(font)
    return "naos", frozenset(font.face.charToGlyph)


def legible(text: str, known: frozenset[int]) -> str:
    """A name with what the font does not have written as U+XXXX, rather than as an empty box that could be anything."""
    return "".join(character if ord(character) in known else f"[U+{ord(character):04X}]" for character in text)


def matrix(title: str, days: Sequence[str], rows: Iterable[Row], made_at: datetime) -> bytes:
    """Landscape A4, a month of days side by side, the heading on every page."""
    from reportlab.lib import colors
    from reportlab.lib.pagesizes import A4, landscape
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.lib.units import mm
    from reportlab.platypus import LongTable, PageBreak, Paragraph, SimpleDocTemplate, Spacer

    font, known = _font()
    heading = ParagraphStyle("heading", fontName=font, fontSize=13, leading=16)
    small = ParagraphStyle("small", fontName=font, fontSize=7, leading=8.5)
    listed = list(rows)

    def said(text: str, style: ParagraphStyle) -> Any:
        return Paragraph(escape(legible(text, known)), style)

    legend = ", ".join(f"{letter} {what}" for what, (letter, _colour) in MARKS.items() if letter)
    span = (
        f"{days[0]} to {days[-1]}. {len(listed)} machines. {legend}. Made {made_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC."
    )
    story: list[Any] = [said(title, heading), said(span, small), Spacer(0, 4 * mm)]
    for first in range(0, len(days), DAYS_ON_A_PAGE):
        part = days[first : first + DAYS_ON_A_PAGE]
        cells: list[list[Any]] = [[said(f"Machine ({part[0][:7]})", small), *(day[5:] for day in part)]]
        style: list[Any] = [
            ("GRID", (0, 0), (-1, -1), 0.25, colors.grey),
            ("FONT", (0, 0), (-1, -1), font, 6),
            ("ALIGN", (1, 0), (-1, -1), "CENTER"),
            ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
            *((f"{side}PADDING", (0, 0), (-1, -1), 1) for side in ("LEFT", "RIGHT", "TOP", "BOTTOM")),
        ]
        for number, row in enumerate(listed, 1):
            marks = [MARKS[what] for what in row.days[first : first + DAYS_ON_A_PAGE]]
            cells.append([said(f"{row.name} {row.machine_id[:8]}", small), *(letter for letter, _ in marks)])
            style += [
                ("BACKGROUND", (place, number), (place, number), colors.HexColor(colour))
                for place, (letter, colour) in enumerate(marks, 1)
                if letter
            ]
        if first:
            story.append(PageBreak())
        story.append(LongTable(cells, [60 * mm] + [6.8 * mm] * len(part), repeatRows=1, style=style))
    out = io.BytesIO()
    margin = 8 * mm
    paper = SimpleDocTemplate(
        out,
        pagesize=landscape(A4),
        title=title,
        author="naos",
        leftMargin=margin,
        rightMargin=margin,
        topMargin=margin,
        bottomMargin=margin,
    )
    paper.build(story)
    return out.getvalue()
