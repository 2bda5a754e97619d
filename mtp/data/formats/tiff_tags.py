"""The tags of a TIFF that say what its pixels are, and which of them no picture can be made of."""

from collections.abc import Collection, Mapping

from mtp.data.formats import directory
from mtp.data.formats.directory import Directory, Layout
from mtp.data.formats.stored import Raw, Unsupported

KIND, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL = 254, 256, 257, 258, 259, 262, 266
STRIPS, CHANNELS, ROWS, STRIP_BYTES, PLANAR, COLOURS, TILES, TILE_BYTES = (
    273,
    277,
    278,
    279,
    284,
    320,
    324,
    325,
)
SUB, EXTRA, SAMPLE_FORMAT, TABLES, SUBSAMPLING, XMP, DNG = 330, 338, 339, 347, 530, 700, 50706
# tags of one number
ONE = {WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, FILL, CHANNELS, ROWS, PLANAR, 317, 322, 323}
# of pixels; besides the named ones options of fax, predictor, tiles, old JPEG, YCbCr
KEPT = {*ONE, BITS, STRIPS, STRIP_BYTES, 292, 293, COLOURS, TILES, TILE_BYTES, EXTRA, SAMPLE_FORMAT, TABLES,
        *range(512, 522), 529, SUBSAMPLING, 532}  # fmt: skip
SENSOR = {32803: "a colour filter's samples", 34892: "a sensor's linear samples"}  # photometric
NUMBERS = {2: "signed numbers", 3: "floating-point numbers", 5: "complex numbers", 6: "complex numbers"}
WHITE_IS_ZERO, YCBCR, LAB = 0, 6, 8
RAW, OLD_JPEG, JPEG, DEFLATE, PACKBITS = 1, 6, 7, (8, 32946), 32773
SHOWN = {
    "photometric": PHOTOMETRIC,
    "compression": COMPRESSION,
    "bits": BITS,
    "planes": PLANAR,
    "sample format": SAMPLE_FORMAT,
}
MANY = 1 << 24  # entries of a tag that are read

Tags = Mapping[int, tuple[int, ...]]


def read(data: bytes, of: Layout, found: Directory) -> Tags:
    """The numbers of the tags that are looked at."""
    looked_at = KEPT | {KIND, XMP}
    return {e.tag: directory.numbers(data, of, e, MANY) for e in found.entries if e.tag in looked_at}


def first(tags: Tags, tag: int, default: int) -> int:
    """A tag's first number; of one that is not there the default."""
    return next(iter(tags.get(tag, ())), default)


def depth(tags: Tags) -> int:
    """Bits of a sample; of several the most."""
    return max(tags.get(BITS, ()), default=1)


def refuse_raw(data: bytes, of: Layout, tags: Tags, names: Collection[int]) -> None:
    """names: of all tags of the first directory. Errors: Raw."""
    if first(tags, KIND, 0) & 1 and SUB in names:
        raise Raw("its first picture is the thumbnail of another one inside")
    for found in directory.chain(data, of, SUB):
        if any(entry.tag == DNG for entry in found.entries):
            raise Raw("DNG")
        photometric = [entry for entry in found.entries if entry.tag == PHOTOMETRIC]
        for number in (n for entry in photometric for n in directory.numbers(data, of, entry)):
            if number in SENSOR:
                raise Raw(f"TIFF with {SENSOR[number]}")


def refuse_numbers(tags: Tags) -> None:
    """Errors: Unsupported."""
    numbers = [NUMBERS[n] for n in tags.get(SAMPLE_FORMAT, ()) if n in NUMBERS]
    bits = depth(tags)
    if numbers or bits > 16:
        raise Unsupported(
            f"this is a TIFF of {bits}-bit {numbers[0] if numbers else 'numbers'}, which have no fixed white; export "
            "it with 8 or 16 bits a channel"
        )
    compression, photometric = first(tags, COMPRESSION, RAW), first(tags, PHOTOMETRIC, 0)
    apart = first(tags, PLANAR, 1) == 2
    whole = first(tags, CHANNELS, 1) == 3 and not apart and tags.get(SUBSAMPLING, (2, 2)) == (1, 1)
    if photometric == YCBCR and compression not in (OLD_JPEG, JPEG) and not whole:
        raise Unsupported("this is a TIFF of YCbCr in parts and without JPEG; export it as RGB")
    if apart and (bits > 8 or photometric == LAB):
        raise Unsupported(
            f"this is a TIFF of {bits}-bit channels, one after the other; export it as RGB with them interleaved"
        )


def unknown(tags: Tags) -> Unsupported:
    """What is said of a layout that Pillow does not know."""
    shown = {name: tags[tag] for name, tag in SHOWN.items() if tag in tags}
    described = ", ".join(f"{name} {'/'.join(map(str, values[:8]))}" for name, values in shown.items())
    return Unsupported(
        f"this is a TIFF of a kind that cannot be read ({described}); export it as RGB with 8 bits a channel"
    )
