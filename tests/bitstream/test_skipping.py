"""Skipped blocks in streams: what is sent of them, what a reader has in their place, and what a writer refuses."""

import io

import numpy as np
import pytest

from cbvc_jax.bitstream import (
    ADAPTIVE_VERSION,
    MOVING_VERSION,
    SKIPPING_VERSION,
    VERSION,
    StreamReader,
    StreamWriter,
    fill_skipped,
    summarize,
)
from cbvc_jax.bitstream.mutate import falling_tables
from cbvc_jax.bitstream.skipping import sent_places
from cbvc_jax.errors import UsageError
from cbvc_jax.geometry import FOLLOWS, LEADERS, MOVES, STAYS

from .streams import header, indices, read_all

HEAD = header(100, 70, gop=64, version=MOVING_VERSION)
FOLLOWING = header(100, 70, gop=64, version=VERSION)
STAYING = header(100, 70, gop=64, version=SKIPPING_VERSION)
ROWS, COLUMNS = 5, 7


def blocks(*skipped):
    skip = np.zeros((ROWS, COLUMNS), np.uint8)
    for place in skipped:
        skip[place] = STAYS
    return skip


def test_an_index_is_sent_where_any_of_its_blocks_is():
    skip = 1 - blocks((0, 0), (4, 6))
    sent = sent_places(skip, [(2, ROWS, COLUMNS), (2, 3, 4), (2, 2, 2)])
    for group in range(2):
        places = [np.argwhere(s[group]).tolist() for s in sent]
        assert places == [[[0, 0], [4, 6]], [[0, 0], [2, 3]], [[0, 0], [1, 1]]]


@pytest.mark.parametrize("way", [MOVES, FOLLOWS, FOLLOWS + LEADERS - 1])
def test_a_displacement_is_sent_where_any_of_its_blocks_moves_or_follows_too(way):
    skip = 1 - blocks((0, 0))
    skip[3, 5] = way
    sent = sent_places(skip, [(2, ROWS, COLUMNS), (2, 3, 4), (2, 2, 2)])
    assert [np.argwhere(s[1]).tolist() for s in sent] == [[[0, 0]]] * 3
    assert [np.argwhere(s[0]).tolist() for s in sent] == [[[0, 0]], [[0, 0], [1, 2]], [[0, 0]]]


def test_what_is_not_sent_is_the_reference_or_zero():
    now, before = indices(HEAD, "low", 1), tuple(indices(HEAD, "low", 2))
    everything = np.ones((ROWS, COLUMNS), np.uint8)
    assert all(not maps.any() for maps in fill_skipped(now, everything, None))
    assert all(map(np.array_equal, fill_skipped(now, everything, before), before))
    assert all(map(np.array_equal, fill_skipped(now, 0 * everything, before), now))


@pytest.mark.parametrize(
    "head, name, tables",
    [
        (STAYING, "skipping", False),
        (STAYING, "skipping", True),
        (HEAD, "moving", False),
        (HEAD, "moving", True),
        (FOLLOWING, "following", True),
    ],
)
def test_frames_come_back_with_their_skipped_blocks(head, name, tables):
    draw = np.random.default_rng(0)
    given = falling_tables(head) if tables else None
    file, sent, reference = io.BytesIO(), [], {}
    with StreamWriter(file, head, given) as writer:
        writer.write("key", "key", 0, indices(HEAD, "key"))
        for i, rate in enumerate(["low", "low", "low", "high", "high", "low", "medium", "medium"], start=1):
            skip = (draw.random((ROWS, COLUMNS)) < draw.choice((0.0, 0.5, 1.0))).astype(np.uint8)
            skip *= draw.integers(1, head.ways, skip.shape, np.uint8)
            maps = fill_skipped(indices(HEAD, rate, i), skip, reference.get(rate))
            reference = {rate: maps}
            writer.write("predicted", rate, i, maps, skip)
            sent.append((maps, skip))
    reader = StreamReader(io.BytesIO(file.getvalue()))
    if given:
        reader.use_tables(given)
    _, *records = list(reader)
    for record, (maps, skip) in zip(records, sent, strict=True):
        assert all(map(np.array_equal, record.indices, maps))
        assert (record.skip is None and not skip.any()) or np.array_equal(record.skip, skip)
        assert (name in record.coding) == skip.any()
        assert sum(record.stage_bytes) == record.payload_bytes


def test_a_frame_that_is_skipped_whole_takes_a_dozen_bytes():
    head = header(448, 256, gop=64, version=MOVING_VERSION)
    skip = np.ones((16, 28), np.uint8)
    file = io.BytesIO()
    with StreamWriter(file, head) as writer:
        writer.write("key", "key", 0, indices(head, "key"))
        maps = fill_skipped(indices(head, "high"), skip, None)
        sizes = [writer.write("predicted", "high", i, maps, skip) for i in range(1, 40)]
    assert max(sizes[5:]) <= 16
    records = read_all(file.getvalue())
    assert all(record.skip.all() for record in records[1:])
    file.seek(0)
    assert summarize(file).frames_by_coding == {"fixed": 1, "moving": 39}


def test_a_writer_refuses_what_no_reader_would_have():
    some = blocks((1, 1))
    maps = fill_skipped(indices(HEAD, "low"), some, None)
    with StreamWriter(io.BytesIO(), HEAD) as writer:
        with pytest.raises(UsageError, match="predicted frames"):
            writer.write("key", "key", 0, indices(HEAD, "key"), some)
        writer.write("key", "key", 0, indices(HEAD, "key"))
        with pytest.raises(UsageError, match="not the one that a reader"):
            writer.write("predicted", "low", 1, [m | (np.arange(2)[:, None, None] == 0) for m in maps], some)
        with pytest.raises(UsageError, match="bool"):
            writer.write("predicted", "low", 1, maps, some[1:])
        with pytest.raises(UsageError, match=r"below 3 in version 1\.3, not 3"):
            writer.write("predicted", "low", 1, maps, 3 * some)
        assert writer.frames == 1
        writer.write("predicted", "low", 1, maps, some)
    with StreamWriter(io.BytesIO(), STAYING) as writer:
        writer.write("key", "key", 0, indices(HEAD, "key"))
        with pytest.raises(UsageError, match=r"below 2 in version 1\.2, not 2"):
            writer.write("predicted", "low", 1, maps, 2 * some)
    with StreamWriter(io.BytesIO(), FOLLOWING) as writer:
        writer.write("key", "key", 0, indices(HEAD, "key"))
        assert writer.chances("low").blocks is None
        with pytest.raises(UsageError, match="initial tables"):
            writer.write("predicted", "low", 1, maps, some)
    for version in (ADAPTIVE_VERSION, (1, 0)):
        with StreamWriter(io.BytesIO(), header(100, 70, version=version)) as writer:
            writer.write("key", "key", 0, indices(HEAD, "key"))
            with pytest.raises(UsageError, match="blocks are skipped"):
                writer.write("predicted", "low", 1, maps, some)
