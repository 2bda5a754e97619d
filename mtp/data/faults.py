"""Everything that can be wrong with a labelled set of photographs, each kind by name."""

import dataclasses
from typing import Literal

STOPS, HARMS, NOTE = "stops", "harms", "note"


@dataclasses.dataclass(frozen=True)
class Kind:
    """One way of being wrong.

    severity: "stops": training refuses to start, or ends at it; "harms": it starts, but its numbers would be wrong;
    "note": it is handled, or a matter of taste.
    text: what is wrong. fix: what to do. exclude: whether the picture may be left out instead (`excluded.csv`).
    """

    name: str
    severity: Literal["stops", "harms", "note"]
    text: str
    fix: str
    exclude: bool = False

    @property
    def affects_training(self) -> bool:
        return self.severity != NOTE


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that is wrong with one picture (or with what names it).

    image: the picture as the data set names it; "" where a row names none. detail: what came.
    place: where it stands, for instance "line 3"; others: the pictures it collides with.
    """

    kind: Kind
    image: str
    detail: str
    place: str = ""
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.place}: {self.detail}" if self.place else self.detail


MISSING = Kind(
    "missing picture", STOPS, "a row names a picture that is not there",
    "put the file back, correct the name, or remove the row", exclude=True,
)  # fmt: skip
EMPTY_FILE = Kind("empty file", STOPS, "the file has 0 bytes", "fetch it again", exclude=True)
WEB_PAGE = Kind(
    "web page", STOPS, "the file is a web page, as a dead download link leaves behind", "fetch it again",
    exclude=True,
)  # fmt: skip
UNKNOWN_FORMAT = Kind(
    "unknown format", STOPS, "the file is no picture in a known format, or its numbers have no fixed white",
    "convert it to JPEG or PNG, or replace it", exclude=True,
)  # fmt: skip
CAMERA_RAW = Kind(
    "camera RAW", STOPS, "the file is a camera's RAW file, which nobody has developed",
    "export it as JPEG from the program that developed it for the raters", exclude=True,
)  # fmt: skip
DAMAGED = Kind(
    "damaged picture", STOPS, "the file is cut short, or what is in it does not fit together", "fetch it again",
    exclude=True,
)  # fmt: skip
UNREADABLE = Kind(
    "unreadable file", STOPS, "the disk does not give the file", "look at its permissions, and at the disk",
    exclude=True,
)  # fmt: skip
KNOWN_BROKEN = Kind(
    "known broken", STOPS, "one of AVA's seven pictures that are broken or missing in every copy",
    "nothing to fetch: leave it out", exclude=True,
)  # fmt: skip
TOO_LARGE = Kind(
    "too large", STOPS, "the picture has more pixels than data.max_decode_pixels",
    "make it smaller, or raise the limit", exclude=True,
)  # fmt: skip
TOO_SMALL = Kind(
    "too small", STOPS, "a side is too short for the network's last map",
    "replace it, or set data.enlarge", exclude=True,
)  # fmt: skip
BAD_ROW = Kind(
    "bad row", STOPS, "the row cannot be read", "correct the row", exclude=True,
)  # fmt: skip
BAD_VOTES = Kind(
    "bad votes", STOPS, "votes are missing, negative or not whole numbers",
    "correct the row; a rating that nobody gave is 0", exclude=True,
)  # fmt: skip
NO_VOTES = Kind("no votes", STOPS, "all votes of the picture are 0", "remove the row", exclude=True)
REPEATED_ROW = Kind(
    "repeated row", STOPS, "a picture has more than one row", "keep the right row", exclude=True
)
BAD_SPLIT = Kind(
    "bad split", STOPS, "the split is not train, validation or test", "correct the cell", exclude=True
)
BAD_STYLE = Kind(
    "bad style", STOPS, "style columns must be all 0 or 1, or all empty", "correct the cells", exclude=True
)
TORN_GROUP = Kind(
    "torn group", STOPS, "pictures of one group lie in different splits",
    "give the whole group one split; which one is yours to decide, so --fix leaves it alone",
)  # fmt: skip
LEAK = Kind(
    "leak: same file", HARMS, "a file lies in two splits under different names",
    "keep it in one split; --fix keeps the picture of test before validation before train", exclude=True,
)  # fmt: skip
NEAR_LEAK = Kind(
    "leak: look-alikes", HARMS, "two splits hold copies of one picture, or nearly so (perceptual hash)",
    "look at the page; give both one split or one group. --fix keeps test before validation before train",
    exclude=True,
)  # fmt: skip
DUPLICATE = Kind(
    "same file twice", NOTE, "a file counts twice within one split", "remove one, if that is not meant"
)
NEAR_DUPLICATE = Kind(
    "look-alikes", NOTE, "two pictures of one split are copies or nearly so (perceptual hash)",
    "give them one group, so that no split tears them apart",
)  # fmt: skip
STYLE_LEAK = Kind(
    "style label outside train", NOTE, "a picture of validation or test carries a label of the style training set",
    "nothing: its style label trains nothing",
)  # fmt: skip
STYLE_WITHOUT_LABEL = Kind(
    "no style given", NOTE, "a picture of the style test set carries none of the styles",
    "nothing: it counts as a negative for every style",
)  # fmt: skip
ID_WITHOUT_ROW = Kind(
    "id without row", NOTE, "a list names a picture that has no votes", "nothing: the id is passed over"
)
LOST = Kind(
    "lost in building", NOTE, "a row of votes whose picture could not be used when the set was built",
    "fix the download and build again, if it matters",
)  # fmt: skip
STRAY_PICTURE = Kind(
    "picture without row", NOTE, "a picture file that no row names", "add its votes, or let it lie"
)
FEW_RATERS = Kind(
    "few raters", NOTE, "fewer people than --min_raters rated the picture; its histogram is noisy",
    "gather more votes, or leave it out",
)  # fmt: skip
WRONG_SUFFIX = Kind(
    "wrong suffix", NOTE, "the file's name says another format than its content",
    "nothing: the content counts. Rename it for other programs' sake",
)  # fmt: skip
CMYK = Kind(
    "CMYK", NOTE, "colours for print; they are converted to RGB without their profile, roughly",
    "export it as sRGB if colours matter",
)  # fmt: skip
SIXTEEN_BIT = Kind("16 bit", NOTE, "more than 8 bits a channel; it is scaled to 8", "nothing")
TRANSPARENT = Kind(
    "transparency", NOTE, "transparent parts are laid on white", "flatten it if its ground is another colour"
)
EXIF_DAMAGED = Kind(
    "damaged EXIF", NOTE, "what the file says of itself cannot be read, perhaps which side is up",
    "look whether the picture lies on its side",
)  # fmt: skip
ANIMATED = Kind("animation", NOTE, "the first frame is used", "export the frame that was rated")

# in the order of a report
KINDS = (
    MISSING, EMPTY_FILE, WEB_PAGE, UNKNOWN_FORMAT, CAMERA_RAW, DAMAGED, UNREADABLE, KNOWN_BROKEN, TOO_LARGE, TOO_SMALL,
    BAD_ROW, BAD_VOTES, NO_VOTES, REPEATED_ROW, BAD_SPLIT, BAD_STYLE, TORN_GROUP,
    LEAK, NEAR_LEAK, DUPLICATE, NEAR_DUPLICATE,
    STYLE_LEAK, STYLE_WITHOUT_LABEL, ID_WITHOUT_ROW, LOST, STRAY_PICTURE, FEW_RATERS,
    WRONG_SUFFIX, CMYK, SIXTEEN_BIT, TRANSPARENT, ANIMATED, EXIF_DAMAGED,
)  # fmt: skip
