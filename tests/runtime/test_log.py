"""What a run leaves to read."""

import io
import json
import os
import re
import struct
import sys
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from mtp.runtime.log import LogError, StepProgress, Writer, _EventFile, say


def records(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def events(workdir):
    """TensorBoard's records: length (8 bytes), its checksum (4), the event, its checksum (4)."""
    for path in sorted((workdir / "tensorboard").iterdir(), key=lambda p: p.stat().st_mtime_ns):
        raw, at = path.read_bytes(), 0
        while at < len(raw):
            (length,) = struct.unpack_from("<Q", raw, at)
            yield Event.FromString(raw[at + 12 : at + 12 + length])
            at += length + 16


def test_a_record_is_a_line_and_what_is_not_finite_is_null(tmp_path):
    writer = Writer(tmp_path, tensorboard=False)
    writer.write(1, {"loss": 0.5})
    writer.write(2, {"loss": float("nan"), "norm": float("inf"), "count": 3})
    writer.close()
    assert records(tmp_path) == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": None, "norm": None, "count": 3.0},
    ]
    assert not (tmp_path / "tensorboard").exists()


def test_tensorboard_gets_the_finite_numbers(tmp_path):
    writer = Writer(tmp_path, tensorboard=True)
    writer.write(1, {"loss": 0.5, "norm": float("nan")})
    writer.write(7, {"loss": 0.25})
    writer.close()
    seen = [(e.step, v.tag, v.simple_value) for e in events(tmp_path) for v in e.summary.value]
    assert seen == [(1, "loss", 0.5), (7, "loss", 0.25)]


def test_a_resumed_log_is_the_one_of_an_uninterrupted_run(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        writer = Writer(folder, tensorboard=False)
        for step in range(1, 6):
            writer.write(step, {"loss": 1 / step})
    with (killed / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    writer = Writer(killed, tensorboard=False)
    writer.truncate(3)
    assert [r["step"] for r in records(killed)] == [1, 2, 3]
    for step in (4, 5):
        writer.write(step, {"loss": 1 / step})
    assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert [p.name for p in killed.iterdir()] == ["metrics.jsonl"]


def test_an_unfinished_line_of_a_step_that_stays_is_dropped(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}')
    Writer(tmp_path, tensorboard=False).truncate(2)
    assert records(tmp_path) == [{"step": 1, "loss": 2.0}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b'{"step": 1}\nspoilt\n{"step": 2}\n',
            r"line 2 is no record\); remove the line, or move the file away",
        ),
        (b'{"step": 1}\n[]\n', "line 2 is no record"),
        (b'{"step": 1}\n{"loss": 1.0}\n', "line 2 is no record"),
        (b'\xff\xfe\n{"step": 1}\n', "line 1 is no record"),
        (bytes(4096) + b"\n", "line 1 is no record"),
        (b"", r"it is empty\); delete it to go on without the records so far"),
    ],
    ids=["no JSON", "a list", "no step", "no text", "zeros", "empty"],
)
def test_what_is_no_log_is_an_error_in_a_line(content, said, tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(LogError, match=said) as told:
        Writer(tmp_path, tensorboard=False).truncate(2)
    assert str(tmp_path / "metrics.jsonl") in str(told.value) and "\n" not in str(told.value)
    assert (tmp_path / "metrics.jsonl").read_bytes() == content


def test_zeros_behind_the_last_line_as_after_a_power_cut_are_an_unfinished_line(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + bytes(500))
    Writer(tmp_path, tensorboard=False).truncate(2)
    assert records(tmp_path) == [{"step": 1}]


@pytest.mark.parametrize("validated", [True, False])
def test_a_validation_that_will_be_done_again_is_dropped(validated, tmp_path):
    writer = Writer(tmp_path, tensorboard=False)
    for step, name in (
        (1, "validation/emd_r2"),
        (2, "train/loss"),
        (2, "validation/emd_r2"),
        (3, "train/loss"),
    ):
        writer.write(step, {name: 0.5})
    writer.truncate(2, validated=validated)
    assert [record["step"] for record in records(tmp_path)] == [1, 2, 2][: 2 + validated]


def test_a_log_without_records_is_none(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 5}\n')
    Writer(tmp_path, tensorboard=False).truncate(2)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full stands for the disk")
def test_a_full_disk_is_an_error_at_once(tmp_path):
    """tensorboardX' own writer would wait for ever for its thread."""
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left.*metrics\.jsonl"):
        Writer(tmp_path, tensorboard=False).write(1, {"loss": 0.5})
    events = _EventFile(tmp_path, None)
    file = events._file._py_recordio_writer._writer
    with open("/dev/full", "wb") as full:
        os.dup2(full.fileno(), file.fileno())
    with pytest.raises(OSError, match="No space left"):
        events.write(1, {"loss": 0.5})
    with (tmp_path / "room").open("wb") as nothing:
        os.dup2(nothing.fileno(), file.fileno())
    events.close()


def test_there_may_be_nothing_to_truncate(tmp_path):
    Writer(tmp_path, tensorboard=False).truncate(3)
    assert not list(tmp_path.iterdir())


def test_tensorboard_is_told_which_events_a_resumed_run_writes_again(tmp_path):
    writer = Writer(tmp_path, tensorboard=True)
    writer.truncate(3)
    writer.write(4, {"loss": 0.5})
    writer.close()
    starts = [e.step for e in events(tmp_path) if e.HasField("session_log")]
    assert starts == [4]


def test_plain_lines_where_there_is_no_terminal(capsys):
    progress = StepProgress(total=20, initial=4, batch_size=8, every_steps=5)
    for step in range(5, 21):
        progress.update(step, loss=1 / step, waited=0.5)
    say(20, {"emd_r2": 0.0625})
    say(20, {})
    progress.close()
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert [line.split(",")[0] for line in lines[:4]] == [f"step {s}/20" for s in (5, 10, 15, 20)]
    form = r"step 10/20, loss 0\.1000, [\d.]+ pictures/s, waited for data 0\.5 s, \d\d:\d\d left"
    assert re.fullmatch(form, lines[1])
    assert lines[4:] == ["step 20  validation  emd_r2 0.0625"]


def test_pictures_per_second_count_the_steps_of_this_start_only(capsys, monkeypatch):
    now = [100.0]
    progress = StepProgress(total=1000, initial=900, batch_size=8, every_steps=1)
    monkeypatch.setattr(progress._bar, "_time", lambda: now[0])
    progress._bar.start_t = progress._bar.last_print_t = now[0]
    for step in (901, 902, 903):
        now[0] += 2.0
        progress.update(step, loss=0.0, waited=0.0)
    progress.close()
    last = capsys.readouterr().out.splitlines()[-1]
    assert "4.0 pictures/s" in last
    assert last.endswith("03:14 left")


def test_an_evaluation_between_two_steps_is_no_part_of_the_speed(capsys, monkeypatch):
    now = [100.0]
    progress = StepProgress(total=100, initial=0, batch_size=8, every_steps=1)
    monkeypatch.setattr(progress._bar, "_time", lambda: now[0])
    progress._bar.start_t = progress._bar.last_print_t = now[0]
    for step in range(1, 8):
        now[0] += 2.0
        progress.update(step, loss=0.0, waited=0.0)
        if step == 4:
            now[0] += 600.0
            progress.resume()
    progress.close()
    assert all("4.0 pictures/s" in line for line in capsys.readouterr().out.splitlines())


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = StepProgress(total=20, initial=0, batch_size=8, every_steps=5)
    progress.update(20, loss=0.125, waited=0.0)
    progress.close()
    shown = terminal.getvalue()
    assert "20/20" in shown
    assert "loss 0.1250" in shown
    assert "pictures/s" in shown
    assert capsys.readouterr().out == ""
