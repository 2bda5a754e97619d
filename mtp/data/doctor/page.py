"""The diagnosis as one HTML page that needs nothing beside it: thumbnails are inside."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from PIL import Image

from mtp.data import faults, images
from mtp.data.doctor import report
from mtp.data.doctor.diagnosis import Diagnosis
from mtp.data.doctor.listing import Listing
from mtp.data.faults import Fault, Kind

SHOWN = 20  # pictures or lines of a kind
THUMBNAIL = (372, 280)  # pixels: twice the frame's, for fine screens
SEVERITY = {
    faults.STOPS: "training stops",
    faults.HARMS: "numbers would be wrong",
    faults.NOTE: "good to know",
}

PAGE = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
OVERVIEW_ROW = Template(
    '<tr><td class="count">$count</td><td><a href="#$anchor">$name</a> <span class="faint">$text</span></td>'
    '<td class="severity $severity">$means</td></tr>'
)
SECTION = Template(
    '<section id="$anchor"><h2 class="$severity">$name: $count</h2><p>$text.</p><p class="faint">Do: $fix.</p>'
    '<div class="figures">$figures</div><ul>$lines</ul>$more</section>'
)
FIGURE = Template(
    '<figure class="$shape"><div class="frames">$frames</div><figcaption><b>$image</b> $detail</figcaption></figure>'
)
BAR = Template(
    '<div class="row"><span>$label</span><span>$count</span><div style="width: $percent%"></div></div>'
)


def render(diagnosis: Diagnosis, max_pixels: int) -> str:
    """The page; reads the pictures that it shows, none of more than `max_pixels`."""
    kinds = diagnosis.by_kind()
    sizes, others = report.sizes(diagnosis.sizes)
    rows = "".join(_overview_row(kind, len(found)) for kind, found in kinds)
    return PAGE.substitute(
        name=escape(diagnosis.listing.name),
        summary=escape(report.summary(diagnosis)),
        remarks="".join(f'<p class="faint">{escape(remark)}</p>' for remark in diagnosis.listing.remarks),
        verdict=escape(report.verdict(diagnosis)),
        health="ill" if diagnosis.affects_training else "sound",
        overview=f'<div class="overview"><table>{rows}</table></div>' if rows else "",
        sections="\n".join(_section(diagnosis.listing, kind, found, max_pixels) for kind, found in kinds),
        aspects=_bars(report.aspects(diagnosis.sizes)),
        sizes=_bars(sizes),
        others=escape(others),
    )


def _anchor(kind: Kind) -> str:
    return "".join(c if c.isalnum() else "-" for c in kind.name)


def _overview_row(kind: Kind, count: int) -> str:
    return OVERVIEW_ROW.substitute(
        count=count, anchor=_anchor(kind), name=escape(kind.name), text=escape(kind.text), severity=kind.severity,
        means=SEVERITY[kind.severity],
    )  # fmt: skip


def _section(listing: Listing, kind: Kind, found: Sequence[Fault], max_pixels: int) -> str:
    figures, lines = [], []
    for fault in found[:SHOWN]:
        figure = _figure(listing, fault, max_pixels)
        if figure:
            figures.append(figure)
        else:
            lines.append(f"<li><b>{escape(fault.image)}</b> {escape(str(fault))}</li>")
    return SECTION.substitute(
        anchor=_anchor(kind), severity=kind.severity, name=escape(kind.name), count=len(found),
        text=escape(kind.text), fix=escape(kind.fix), figures="".join(figures), lines="".join(lines),
        more=f'<p class="faint">and {len(found) - SHOWN} more in doctor.json</p>' if len(found) > SHOWN else "",
    )  # fmt: skip


def _figure(listing: Listing, fault: Fault, max_pixels: int) -> str:
    """The picture, beside the first that it collides with; nothing where it cannot be shown."""
    thumbnails = [_thumbnail(listing, image, max_pixels) for image in (fault.image, *fault.others[:1])]
    if not all(thumbnails):
        return ""
    return FIGURE.substitute(
        shape="pair" if len(thumbnails) > 1 else "single",
        frames="".join(f'<div class="frame"><img alt="" src="{source}"></div>' for source in thumbnails),
        image=escape(fault.image),
        detail=escape(str(fault)),
    )


def _thumbnail(listing: Listing, image: str, max_pixels: int) -> str:
    """A data URI of a JPEG; nothing where the listing has no such picture or it cannot be decoded."""
    try:
        pixels = images.decode(listing.read(image), image, max_pixels)
    except (KeyError, OSError, images.ImageError):
        return ""
    picture = Image.fromarray(pixels)
    picture.thumbnail(THUMBNAIL)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _bars(rows: Sequence[tuple[str, int]]) -> str:
    most = max((count for _, count in rows), default=0)
    return "".join(
        BAR.substitute(label=escape(label), count=count, percent=f"{100 * count / most:.1f}")
        for label, count in rows
        if most
    )
