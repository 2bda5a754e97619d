"""TIFF: what its tags say is looked at here; Pillow gets a file with those tags alone that make pixels.

It would turn the picture itself, warn of every other broken tag, and read numbers as pixels that have no fixed white.
"""

import io
import struct

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from mtp.data.formats import directory, exif, tiff_strips, tiff_tags
from mtp.data.formats.depth import eight_bits
from mtp.data.formats.directory import Directory, Entry, Layout
from mtp.data.formats.stored import Broken, Stored
from mtp.data.formats.tiff_tags import Tags, first

LONG, LONG8 = 4, 16  # types of numbers


class _Picture(TiffImagePlugin.TiffImageFile):
    def load_prepare(self) -> None:
        # without Pillow's own limit and its warning, which threads cannot turn off: ours is checked before
        ImageFile.ImageFile.load_prepare(self)


def read(data: bytes) -> Stored:
    """Errors: Broken; Raw where a camera wrote it; Unsupported where its numbers have no fixed white."""
    of = directory.layout(data)
    found = directory.read(data, of, of.first)
    tags = tiff_tags.read(data, of, found)
    tiff_tags.refuse_raw(data, of, tags, {entry.tag for entry in found.entries})
    sized = tags.get(tiff_tags.WIDTH) and tags.get(tiff_tags.HEIGHT)
    if not sized or any(not entry.whole for entry in found.entries if entry.tag in tiff_tags.KEPT):
        raise Broken("its tags are not whole")
    tiff_tags.refuse_numbers(tags)
    # the file itself has EXIF's form; what is not whole beside the tags of pixels is no damage
    orientation, whole = exif.read(data, bytes(number & 255 for number in tags.get(tiff_tags.XMP, ())))
    image = _open(data, of, found, tags)
    return Stored(
        format="TIFF",
        height=image.height,
        width=image.width,
        mode=image.mode,
        orientation=orientation,
        exif_whole=whole,
        deep=tiff_tags.depth(tags) > 8,
        transparent=image.has_transparency_data,
        animated=lambda: found.next > 0,
        load=lambda _: _loaded(image, data, tags),
    )


def _open(data: bytes, of: Layout, found: Directory, tags: Tags) -> Image.Image:
    """The picture by the tags of pixels alone. Errors: Unsupported."""
    data = _with_pixels_only(data, of, found, tags)
    if _is_turned(tags):
        data = tiff_strips.turned(data, tags)
    try:
        return _Picture(io.BytesIO(data))
    except SyntaxError as error:
        raise tiff_tags.unknown(tags) from error


def _is_turned(tags: Tags) -> bool:
    """Whether its pixels, which are not packed, have the lowest bit of each byte first."""
    return (
        first(tags, tiff_tags.COMPRESSION, tiff_tags.RAW) == tiff_tags.RAW
        and first(tags, tiff_tags.FILL, 1) == 2
    )


def _with_pixels_only(data: bytes, of: Layout, found: Directory, tags: Tags) -> bytes:
    """The file with a directory, in the place of its first, of the tags that make pixels."""
    left_out = {tiff_tags.FILL} if _is_turned(tags) else set()
    kept = [_kept(data, of, entry) for entry in found.entries if entry.tag in tiff_tags.KEPT - left_out]
    count = struct.pack(of.order + ("Q" if of.big else "H"), len(kept))
    written = count + b"".join(kept) + bytes(8 if of.big else 4)
    return data[: found.place] + written + data[found.place + len(written) :]


def _kept(data: bytes, of: Layout, entry: Entry) -> bytes:
    """The entry's own bytes; of a tag that has one number that one, since Pillow warns of more."""
    values = directory.numbers(data, of, entry, 1)
    if entry.tag in tiff_tags.ONE and entry.count > 1 and values:
        return struct.pack(
            of.order + ("HHQQ" if of.big else "HHII"), entry.tag, LONG8 if of.big else LONG, 1, *values
        )
    return data[entry.at : entry.at + of.entry]


def _loaded(image: Image.Image, data: bytes, tags: Tags) -> Image.Image:
    """Errors: Broken, Unsupported."""
    tiff_strips.check(data, tags)
    try:
        image.load()
    except ValueError as error:
        # before it reads any: some layouts are known one channel after the other, some are not
        if "raw mode" in str(error):
            raise tiff_tags.unknown(tags) from error
        raise
    colours = tags.get(tiff_tags.COLOURS, ())
    if image.mode == "P" and max(colours, default=256) < 256:
        # written as 8 bits, where 16 are the rule: libtiff's programs take such a map as it is meant, too
        image.putpalette(bytes(np.reshape(colours, (3, -1)).T.ravel().tolist()))
    if image.mode.startswith("I"):
        inverted = first(tags, tiff_tags.PHOTOMETRIC, tiff_tags.WHITE_IS_ZERO) == tiff_tags.WHITE_IS_ZERO
        return eight_bits(image, (1 << tiff_tags.depth(tags)) - 1, inverted)
    return image
