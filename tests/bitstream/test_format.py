"""FORMAT.md against the code: its example, and a reader written from it alone."""

import io
import random
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import cbvc_jax.bitstream
from cbvc_jax.bitstream import (
    COLOR_MATRICES,
    COLOR_RANGES,
    StreamReader,
    StreamWriter,
    TruncatedError,
    UnsupportedError,
)
from cbvc_jax.bitstream.fuzz import DripFile
from cbvc_jax.bitstream.mutate import falling_tables, mutate, random_stream, split
from cbvc_jax.errors import BitstreamError

from . import independent_reader
from .streams import valid_streams

FORMAT = Path(cbvc_jax.bitstream.__file__).with_name("FORMAT.md").read_text()


def read_here(data, *, tables=None):
    """(frames as plain values, how it ended) with the package's reader; `tables`: falling ones if True."""
    frames = []
    try:
        reader = StreamReader(DripFile(data, 1000))
        if tables:
            reader.use_tables(falling_tables(reader.header) if tables is True else tables)
        for f in reader:
            skip = None if f.skip is None else f.skip.ravel().astype(int).tolist()
            frames.append((f.kind, f.rate, f.number, f.timestamp, [maps.ravel().tolist() for maps in f.indices], skip))
    except TruncatedError:
        return frames, "cut short"
    except UnsupportedError:
        return frames, "later"
    except BitstreamError:
        return frames, "damaged"
    return frames, "complete"


def read_there(data, *, tables=None):
    """The same with the independent reader."""
    frames = []
    try:
        reader = independent_reader.Reader(data)
        if isinstance(tables, dict):
            reader.tables = {rate: [[t.tolist() for t in stage] for stage in kind] for rate, kind in tables.items()}
        elif tables:
            sizes = {"key": reader.key_sizes, **dict(reader.rates)}
            reader.tables = {
                r: [[[1 + 60000 // i for i in range(1, k + 1)]] * 2 for k in ks] for r, ks in sizes.items()
            }
        for frame in reader.read_frames():
            frames.append(frame)
    except independent_reader.CutShort:
        return frames, "cut short"
    except independent_reader.Later:
        return frames, "later"
    except independent_reader.Damaged:
        return frames, "damaged"
    return frames, "complete"


def test_the_independent_reader_is_independent():
    source = Path(independent_reader.__file__).read_text()
    assert re.findall(r"^(?:import|from) (\S+)", source, re.MULTILINE) == ["__future__", "re", "zlib"]


@settings(max_examples=60, deadline=None)
@given(valid_streams)
def test_both_readers_agree_on_sound_streams(data):
    frames, end = read_here(data)
    assert end == "complete"
    assert (frames, end) == read_there(data)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_both_readers_agree_on_streams_with_tables(seed):
    data = random_stream(random.Random(seed), tables=True)
    frames, end = read_here(data, tables=True)
    assert end == "complete"
    assert (frames, end) == read_there(data, tables=True)
    assert read_here(data) == read_there(data)


@settings(max_examples=40, deadline=None)
@given(valid_streams)
def test_both_readers_agree_on_the_header(data):
    header = StreamReader(DripFile(data, 1000)).header
    there = independent_reader.Reader(data)
    assert (there.model, there.width, there.height) == (header.model_sha256, header.width, header.height)
    assert Fraction(*there.time_base) == header.time_base
    assert there.frame_rate == (header.frame_rate.as_integer_ratio() if header.frame_rate else (0, 0))
    assert (there.matrix, there.range) == (COLOR_MATRICES[header.color_matrix], COLOR_RANGES[header.color_range])
    assert (there.gop, tuple(there.key_sizes)) == (header.gop, header.key_sizes)
    assert tuple((name, tuple(sizes)) for name, sizes in there.rates) == header.predicted_sizes
    assert tuple(there.extensions) == header.extensions


def test_both_readers_agree_on_damaged_streams():
    rng = random.Random(1)
    corpus = [split(random_stream(rng, tables=i % 4 == 0)) for i in range(32)]
    ends = set()
    for _ in range(3000):
        data = mutate(rng, corpus)
        tables = rng.random() < 0.2
        here, there = read_here(data, tables=tables), read_there(data, tables=tables)
        assert here == there, data.hex()
        ends.add(here[1])
    assert ends == {"complete", "damaged", "cut short", "later"}


def examples():
    """The bytes of each example of the format."""
    sections = re.split(r"^### 9\.\d .*$", FORMAT, flags=re.MULTILINE)[1:]
    return [bytes.fromhex("".join(re.findall(r"```hex\n(.*?)```", text, re.DOTALL))) for text in sections]


def written_again(data: bytes, tables=None) -> bytes:
    """What the writer makes of what a stream says."""
    reader, again = StreamReader(io.BytesIO(data)), io.BytesIO()
    reader.use_tables(tables)
    with StreamWriter(again, reader.header, tables) as writer:
        for f in reader:
            writer.write(f.kind, f.rate, f.timestamp, f.indices, f.skip)
    return again.getvalue()


def test_the_example_at_fixed_length_reads_as_the_format_says():
    expected = [
        ("key", "key", 0, 0, [[8191, 1], [2047, 2], [511, 3]], None),
        ("predicted", "low", 1, 3000, [[5, 2], [5, 0], [257, 510]], None),
        ("predicted", "low", 2, 6000, [[0, 7], [1, 2], [0, 1]], None),
    ]
    assert read_here(examples()[0]) == read_there(examples()[0]) == (expected, "complete")


def test_the_coded_example_reads_as_the_format_says_and_is_what_the_writer_writes():
    data = examples()[1]
    still = [[0, 0, 0, 0, 0, 0, 0, 1] * 2, [7] * 4, [0, 1]]
    moved = [[0, 0, 0, 0, 0, 0, 1, 1] * 2, [7, 7, 7, 99], [0, 1]]
    expected = [("key", "key", 0, 0, still, None)]
    expected += [("predicted", "low", i + 1, i + 1, maps, None) for i, maps in enumerate([still, still, moved, moved])]
    assert read_here(data) == read_there(data) == (expected, "complete")
    reader, again = StreamReader(io.BytesIO(data)), io.BytesIO()
    with StreamWriter(again, reader.header) as writer:
        codings = [writer.write(f.kind, f.rate, f.timestamp, f.indices) and f.coding for f in reader]
    assert again.getvalue() == data
    assert codings == ["fixed"] * 4 + ["adaptive"]


def test_the_example_with_skipped_blocks_reads_as_the_format_says_and_is_what_the_writer_writes():
    data = examples()[2]
    key = [[0, 0, 0, 0, 0, 0, 0, 1] * 2, [7] * 4, [0, 1]]
    first = [[0] * 16, [0, 7, 0, 7], [0, 1]]
    second = [[0, 0, 0, 5, 0, 0, 0, 0] * 2, [0, 9, 0, 9], [0, 1]]
    expected = [
        ("key", "key", 0, 0, key, None),
        ("predicted", "low", 1, 1, first, [1, 1, 0, 0, 1, 1, 1, 1]),
        ("predicted", "low", 2, 2, second, [1, 1, 1, 0, 1, 1, 1, 1]),
        ("predicted", "low", 3, 3, second, [1] * 8),
    ]
    assert read_here(data) == read_there(data) == (expected, "complete")
    assert written_again(data) == data


def test_the_example_with_blocks_that_move_reads_as_the_format_says_and_is_what_the_writer_writes():
    data = examples()[3]
    first = [[0, 0, 0, 5, 0, 0, 0, 0] * 2, [7, 9, 0, 9], [0, 1]]
    expected = [
        ("key", "key", 0, 0, [[0, 0, 0, 0, 0, 0, 0, 1] * 2, [7] * 4, [0, 1]], None),
        ("predicted", "low", 1, 1, first, [1, 1, 0, 0, 2, 2, 1, 1]),
        ("predicted", "low", 2, 2, [first[0], [7, 8, 0, 9], [0, 1]], [2] * 8),
    ]
    assert read_here(data) == read_there(data) == (expected, "complete")
    assert written_again(data) == data


def test_the_example_with_blocks_that_follow_reads_as_the_format_says_and_is_what_the_writer_writes():
    data = examples()[4]
    first = [[0, 0, 0, 5, 0, 0, 0, 0] * 2, [7, 9, 0, 9], [0, 1]]
    expected = [
        ("key", "key", 0, 0, [[0, 0, 0, 0, 0, 0, 0, 1] * 2, [7] * 4, [0, 1]], None),
        ("predicted", "low", 1, 1, first, [1, 1, 0, 0, 3, 4, 1, 2]),
        ("predicted", "low", 2, 2, [first[0], [7, 8, 0, 9], [0, 1]], [3, 3, 5, 6, 3, 4, 5, 2]),
    ]
    tables = {rate: [[np.ones(k, np.uint16)] * 2 for k in (8, 100, 2)] for rate in ("key", "low")}
    assert read_here(data, tables=tables) == read_there(data, tables=tables) == (expected, "complete")
    assert read_here(data) == read_there(data) == (expected[:1], "later")
    assert written_again(data, tables) == data


def test_the_format_names_the_version_and_every_code():
    version = ".".join(map(str, cbvc_jax.bitstream.VERSION))
    assert f"format version {version}" in FORMAT.splitlines()[0]
    row = next(line for line in FORMAT.splitlines() if "colour matrix" in line)
    assert {int(code) for code in re.findall(r"[:,] (?:of the source: )?(\d+) ", row)} == set(COLOR_MATRICES.values())
