"""AVA as a TFDS data set, written in parallel; a build that was killed goes on where it was."""

import io
import os
import re
import shutil
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core.dataset_builder import FileReaderBuilder
from tensorflow_datasets.core.splits import SplitDict, SplitInfo

from mtp.config import get_config
from mtp.data import exclusions
from mtp.data.ava import shards as ava_shards
from mtp.data.ava import table as ava_table
from mtp.data.ava.records import features, serialize
from mtp.data.ava.source import MISSING, PUBLISHED, Source
from mtp.data.schema import DataError
from mtp.processes import lock

VERSION = "1.0.0"
MAX_PIXELS = get_config().data.max_decode_pixels


class Ava(FileReaderBuilder):
    """AVA as a TFDS data set: one TFDS split "train" with every record; the named splits are chosen at loading.

    TFDS' GeneratorBasedBuilder writes every picture twice, in one process, and begins anew after a kill; this one,
    on the same base class, writes shards in parallel and goes on. What it leaves is an ordinary TFDS data set:
    tfds.builder_from_directory(DIR).as_data_source("train", decoders={"image": tfds.decode.SkipDecoding()}).
    """

    VERSION = tfds.core.Version(VERSION)

    def __init__(self, *, source: Source, processes: int, **options: Any):
        self._source, self._processes = source, processes
        super().__init__(file_format="array_record", **options)

    @property
    def unfinished(self) -> Path:
        """Where whole shards wait until all are there; the source's fingerprint is in its name."""
        return Path(self.data_dir).parent / f"unfinished-{self._source.fingerprint[:12]}"

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="AVA: a large-scale database for aesthetic visual analysis, "
            + (
                "mean ratings as weights of 1 to 10."
                if self._source.labels.means_only
                else "votes of 1 to 10."
            ),
            homepage="https://github.com/imfing/ava_downloader",
            features=features(),
            citation="Murray, Marchesotti and Perronnin, CVPR 2012",
            disable_shuffling=True,
        )

    def _download_and_prepare(self, dl_manager: Any, download_config: Any = None) -> None:
        """Inside TFDS' temporary folder, which gets the data set's name when this returns."""
        folder = self._build_folder
        jobs = self._source.jobs(ava_shards.PICTURES)
        shards = ava_shards.write(folder, jobs, serialize, MAX_PIXELS, self._processes)
        filled = [number for number, shard in enumerate(shards) if len(shard.ids)]
        if not filled:
            raise DataError(f"not one picture of {self._source.folder} can be used; see {folder}")
        self._source.check_lost([shard.lost for shard in shards])
        template = self._get_filename_template("train")
        for place, number in enumerate(filled):
            target = template.sharded_filepath(shard_index=place, num_shards=len(filled))
            os.rename(ava_shards.records(folder, number), target)
        split = SplitInfo(
            name="train",
            shard_lengths=[len(shards[number].ids) for number in filled],
            num_bytes=sum(shards[number].length for number in filled),
            filename_template=template,
        )
        self.info.set_splits(SplitDict([split]))
        table = self._source.table(shards)
        ava_table.write_left_out(Path(self.data_path) / ava_table.LEFT_OUT, table)
        ava_table.save(Path(self.data_path) / ava_table.NAME, table)
        shutil.rmtree(folder)

    def download_and_prepare(self, **options: Any) -> None:
        # TFDS gives the data folder a temporary name while it builds
        self._build_folder = self.unfinished
        super().download_and_prepare(**options)


def build(source: Source, data_dir: Path, processes: int) -> Path:
    """The folder of the built set, made where it is not there yet.

    Errors: DataError where it was built from other files, the disk is too small, or too many pictures are lost;
    LockError while another build writes there.
    """
    folder = data_dir / "ava" / VERSION
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock.alone(folder.parent / lock.NAME):
        _carry_exclusions(source.folder, data_dir)
        if folder.exists():
            built = ava_table.load(folder / ava_table.NAME)
            if built.fingerprint != source.fingerprint:
                raise DataError(
                    f"{folder} was built from other labels or pictures than {source.folder} holds now; remove it to "
                    "build it again, or choose another --data_dir"
                )
            return folder
        source.check_lost([])
        builder = Ava(source=source, processes=processes, data_dir=str(data_dir))
        _sweep(folder.parent, builder.unfinished)
        _check_room(folder.parent, builder.unfinished, source.bytes)
        # TFDS' own remarks are of downloads; its folder for them goes with the unfinished shards
        with redirect_stdout(io.StringIO()):
            builder.download_and_prepare(download_dir=str(builder.unfinished))
    return folder


def _carry_exclusions(source: Path, data_dir: Path) -> None:
    """What was excluded from the download stays excluded, beside what was excluded from the built set."""
    reasons, there = exclusions.read(source), exclusions.read(data_dir)
    if not reasons.keys() <= there.keys():
        exclusions.write(data_dir, reasons | there)


def _sweep(folder: Path, keep: Path) -> None:
    """Remove what builds of other files, and TFDS' own interrupted ones, left."""
    for path in (*folder.glob("unfinished-*"), *folder.glob("incomplete.*")):
        if path != keep:
            print(f"removing {path}, left by an interrupted build")
            shutil.rmtree(path)


def _check_room(folder: Path, unfinished: Path, pictures: int) -> None:
    there = sum(path.stat().st_size for path in unfinished.glob("*")) if unfinished.exists() else 0
    # records add labels and a checksum to the pictures' bytes: half a kB each
    needed, free = int(pictures * 1.02) - there, shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder} needs {needed / 1e9:.1f} GB more, {free / 1e9:.1f} GB are free; make room, or choose another "
            "--data_dir"
        )


def summary(source: Source, folder: Path) -> str:
    """What was built from what, each count beside the published one, every oddity."""
    table, rows = ava_table.load(folder / ava_table.NAME), len(source.labels.rows)
    lines = [f"{folder}: {len(table)} pictures of {rows} rows of votes ({source.labels.shape})"]
    for name, count in source.counts().items():
        published = PUBLISHED[name]
        same = "as published" if count == published else f"published: {published:,}"
        lines.append(f"  {count:>9,} {name} ({same})")
    whole = source.counts()["rows of votes"] == PUBLISHED["rows of votes"]
    differ = [name for name, count in source.counts().items() if count != PUBLISHED[name]]
    if whole and differ:
        lines.append(f"! these lists are not the published ones, fetch them again: {', '.join(differ)}")
    lines += [f"! {remark}" for remark in source.remarks]
    reasons = Counter(re.sub(r"\(.*\)", "", reason) for reason in table.lost_reasons.tolist())
    lines += [f"! {count} rows left out: {reason}" for reason, count in reasons.most_common()]
    named = table.lost_ids[table.lost_reasons != MISSING]
    if len(named):
        lines.append(f"! unusable pictures: {', '.join(map(str, named[:30]))}{' ...' * (len(named) > 30)}")
    kinds = zip(table.kind_names.tolist(), table.kind_counts.tolist(), strict=True)
    lines += [
        f"! {count} pictures are {kind}, kept as they are and read like others" for kind, count in kinds
    ]
    return "\n".join(lines)
