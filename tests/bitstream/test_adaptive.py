"""The adaptive coding in streams: smaller or plain, the same indices, nothing lost by seeking, cutting or damage."""

import hashlib
import io
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbvc_jax.bitstream import (
    ADAPTIVE_VERSION,
    FIXED_VERSION,
    PayloadLayout,
    StreamReader,
    StreamWriter,
    TruncatedError,
    UnsupportedError,
    fill_skipped,
    table_of_counts,
)
from cbvc_jax.bitstream.adaptive import AdaptiveCoder
from cbvc_jax.bitstream.mutate import falling_tables, join, split
from cbvc_jax.bitstream.source import encode_varint
from cbvc_jax.errors import BitstreamError, UsageError

from . import digest
from .streams import header, indices, read_all, same_frame, stream

PINNED = "fde1e18d58332da9"
CALM = header(96, 64, version=ADAPTIVE_VERSION)
SIZES = st.sampled_from([2, 3, 8, 16, 17, 64, 65, 512, 8192])


def calm_frames(head, frames, seed=0):
    """(kind, rate, indices) of frames that change in a tenth of their places, with few of the codewords."""
    draw = np.random.default_rng(seed)
    out = []
    for i in range(frames):
        rate = "key" if i % head.gop == 0 else head.rates[i // head.gop % len(head.rates)]
        maps = [np.minimum(maps, 5 + maps % 7) for maps in indices(head, rate, seed)]
        for stage in maps:
            moved = draw.random(stage.shape) < 0.1
            stage[moved] = draw.integers(0, 5, int(moved.sum()))
        out.append(("key" if rate == "key" else "predicted", rate, maps))
    return out


def written(head, frames, tables=None):
    file = io.BytesIO()
    with StreamWriter(file, head, tables) as writer:
        for i, (kind, rate, maps) in enumerate(frames):
            writer.write(kind, rate, i, maps)
    return file.getvalue()


@pytest.fixture(scope="module")
def calm():
    return written(CALM, calm_frames(CALM, 12))


def test_what_repeats_takes_fewer_bytes_and_comes_back(calm):
    plain = written(header(96, 64), calm_frames(CALM, 12))
    assert StreamReader(io.BytesIO(plain)).header.version == FIXED_VERSION
    records = read_all(calm)
    assert all(map(same_frame, records, read_all(plain)))
    assert {r.coding for r in read_all(plain)} == {"fixed"}
    assert {r.coding for r in records} == {"fixed", "adaptive"}
    assert len(calm) < 0.9 * len(plain)
    for record in records:
        assert sum(record.stage_bytes) == record.payload_bytes


def test_no_record_is_larger_than_at_fixed_length():
    for seed in range(20):
        frames = [(k, r, indices(CALM, r, seed + i)) for i, (k, r, _) in enumerate(calm_frames(CALM, 8))]
        for coded, plain in zip(
            read_all(written(CALM, frames)), read_all(written(header(96, 64), frames)), strict=True
        ):
            assert coded.size_bytes <= plain.size_bytes


def test_a_frozen_picture_costs_next_to_nothing():
    head = header(448, 256, gop=64, version=ADAPTIVE_VERSION)
    still = {rate: indices(head, rate) for rate in ("key", *head.rates)}
    for rate in head.rates:
        frames = [("key", "key", still["key"]), *[("predicted", rate, still[rate])] * 40]
        records = read_all(written(head, frames))
        assert all(8 * r.size_bytes / (448 * 256) < 0.005 for r in records[20:])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 130), st.integers(1, 130), st.tuples(SIZES, SIZES, SIZES), st.booleans(), st.randoms())
def test_any_frames_come_back_from_the_coder(height, width, sizes, tables, rng):
    layouts = {rate: PayloadLayout(height, width, sizes) for rate in ("key", "a", "b")}
    given_tables = {rate: [[np.arange(k, 0, -1)] * 2 for k in sizes] for rate in layouts} if tables else None
    encoder, decoder = (AdaptiveCoder(layouts, given_tables) for _ in range(2))
    draw = np.random.default_rng(rng.randrange(2**32))
    maps = tuple(draw.integers(0, k, shape) for k, shape in zip(sizes, layouts["a"].shapes, strict=True))
    for rate in ("key", "a", "a", "a", "b", "a", "key", "b", "b"):
        fresh = [draw.integers(0, k, m.shape) for k, m in zip(sizes, maps, strict=True)]
        kept = draw.random() < 0.7
        maps = tuple(np.where(draw.random(m.shape) < kept, m, f) for m, f in zip(maps, fresh, strict=True))
        skip = None
        if rate != "key" and draw.random() < 0.5:
            skip = draw.random(maps[0].shape[1:]) < draw.choice((0.2, 0.9, 1.0))
            maps = fill_skipped(maps, skip, encoder.reference(rate))
        payload = encoder.encode(rate, maps, tables=tables, skip=skip)
        back, stage_bytes, skipped = decoder.decode(rate, payload, tables=tables, skips=skip is not None)
        assert skip is skipped is None or np.array_equal(skip, skipped)
        assert all(map(np.array_equal, maps, back))
        assert all(m.dtype == np.uint16 for m in back)
        assert sum(stage_bytes) == len(payload)
        assert len(payload) <= layouts[rate].skipping_bytes
        encoder.update(rate, back, skip)
        decoder.update(rate, back, skip)


def test_every_cut_yields_the_complete_frames_and_then_says_so(calm):
    frames = read_all(calm)
    for cut in range(frames[0].offset, len(calm)):
        reader, got = StreamReader(io.BytesIO(calm[:cut])), []
        with pytest.raises(TruncatedError):
            got.extend(iter(reader.next_record, None))
        assert all(map(same_frame, got, frames))


def test_decoding_begins_at_any_keyframe(calm):
    frames = read_all(calm)
    for conceal in (False, True):
        reader = StreamReader(io.BytesIO(calm), conceal=conceal)
        for where in (9, 0, 5, 11):
            start = reader.seek(where)
            assert start == where // 4 * 4
            assert all(map(same_frame, list(reader), frames[start:]))


@pytest.mark.parametrize("hit", [0, 2, 5])
def test_a_damaged_record_costs_the_rest_of_its_gop(calm, hit):
    frames = read_all(calm)
    damaged = bytearray(calm)
    damaged[frames[hit].offset + frames[hit].size_bytes // 2] ^= 0x10
    reader = StreamReader(io.BytesIO(bytes(damaged)), conceal=True)
    expected = [f for f in frames if f.number < hit or f.number >= 4 * (hit // 4 + 1)]
    assert all(map(same_frame, list(reader), expected))
    assert [loss.frames_lost for loss in reader.losses] == [12 - len(expected)]


def test_damage_behind_a_sound_checksum_is_a_bitstream_error(calm):
    frames, parts = read_all(calm), split(calm)
    coded = next(f.number for f in frames if f.coding == "adaptive")
    payload = frames[coded].payload_bytes
    refused = 0
    for at in range(payload):
        changed = list(parts)
        record = bytearray(parts[coded + 1])
        record[len(record) - 1 - at] ^= 1 << at % 8
        changed[coded + 1] = bytes(record)
        reader = StreamReader(io.BytesIO(join(changed)))
        try:
            list(reader)
        except BitstreamError as error:
            assert "coded payload" in str(error)
            refused += 1
    assert refused > 0.9 * payload


def test_a_coded_payload_as_long_as_a_plain_one_is_refused(calm):
    parts, frames = split(calm), read_all(calm)
    coded = next(f for f in frames if f.coding == "adaptive")
    plain = next(f for f in read_all(written(header(96, 64), calm_frames(CALM, 12))) if f.number == coded.number)
    record = parts[coded.number + 1]
    head = record[: len(record) - coded.payload_bytes]
    assert head[-1:] == encode_varint(coded.payload_bytes)
    for length, words in ((plain.payload_bytes, "as long as a plain one"), (3, "begin with a state")):
        changed = list(parts)
        changed[coded.number + 1] = head[:-1] + encode_varint(length) + bytes(length)
        with pytest.raises(BitstreamError, match=words):
            list(StreamReader(io.BytesIO(join(changed))))


def test_a_keyframe_is_not_coded_with_what_it_cannot_have_learned():
    """So that the bytes of a keyframe answer for the memory that its size takes."""
    data = header(16384, 16384, version=ADAPTIVE_VERSION).pack() + b"\xf1KEY\x10\x00\x00\x04" + bytes(8)
    with pytest.raises(BitstreamError, match="no frame before it"):
        list(StreamReader(io.BytesIO(data)))


def test_what_a_caller_does_to_the_indices_does_not_matter(calm):
    frames = read_all(calm)
    for record, expected in zip(StreamReader(io.BytesIO(calm)), frames, strict=True):
        assert same_frame(record, expected)
        for maps in record.indices:
            maps[:] = 0


def test_frames_that_were_not_unpacked_cannot_be_learned_from(calm):
    reader = StreamReader(io.BytesIO(calm))
    for _ in range(2):
        reader.next_record(unpack=False)
    with pytest.raises(UsageError, match="not unpacked"):
        list(reader)
    reader.seek(4)
    assert [record.number for record in reader] == list(range(4, 12))


def test_tables_of_the_model_help_from_the_first_frame_and_are_asked_for():
    frames = [(k, r, [m // 8 for m in maps]) for k, r, maps in calm_frames(CALM, 8)]
    data, tables = written(CALM, frames, falling_tables(CALM)), falling_tables(CALM)
    assert len(data) < len(written(CALM, frames))
    with pytest.raises(UnsupportedError, match="tables of the model"):
        read_all(data)
    reader = StreamReader(io.BytesIO(data))
    reader.use_tables(tables)
    records = list(reader)
    assert records[0].coding == "adaptive-tables"
    for record, (_, _, maps) in zip(records, frames, strict=True):
        assert all(map(np.array_equal, record.indices, maps))
    with pytest.raises(UsageError, match="before the first frame"):
        reader.use_tables(tables)


def test_counts_of_any_kind_become_integers_that_keep_their_proportions():
    counts = np.array([[0.25, 0.5, 0, 1e-9], [7, 7, 14, 0]])
    np.testing.assert_array_equal(table_of_counts(counts), [[32768, 65535, 1, 1], [32768, 32768, 65535, 1]])
    np.testing.assert_array_equal(table_of_counts(np.zeros((1, 3))), np.ones((1, 3)))
    assert table_of_counts(np.full(5, 1e30)).tolist() == [65535] * 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {k: v for k, v in t.items() if k != "low"}, "lack a stage of 'low'"),
        (lambda t: t | {"low": t["low"][:2]}, "lack a stage of 'low'"),
        (lambda t: t | {"low": [[np.ones(7, int)] * 2, *t["low"][1:]]}, "2 initial tables of 8"),
        (lambda t: t | {"low": [[np.ones(8)] * 2, *t["low"][1:]]}, "2 initial tables of 8"),
        (lambda t: t | {"low": [[np.zeros(8, int)] * 2, *t["low"][1:]]}, "1 .. 65535"),
    ],
)
def test_tables_that_do_not_fit_are_a_usage_error(change, message):
    with pytest.raises(UsageError, match=message):
        StreamWriter(io.BytesIO(), CALM, change(dict(falling_tables(CALM))))


def test_a_codebook_that_is_too_large_is_never_coded():
    head = header(96, 64, version=ADAPTIVE_VERSION, predicted_sizes=(("low", (8193, 2, 2)),))
    zeros = [np.zeros((2, *grid), int) for grid in ((4, 6), (2, 3), (1, 2))]
    frames = [("key", "key", zeros), *[("predicted", "low", zeros)] * 3]
    data = written(head, frames)
    assert {r.coding for r in read_all(data)} == {"fixed"}
    parts = split(data)
    parts[2] = bytes([parts[2][0] | 0x10]) + parts[2][1:2] + b"\x04" + parts[2][2:6]
    with pytest.raises(BitstreamError, match="so large a codebook"):
        list(StreamReader(io.BytesIO(join(parts))))


def test_the_bytes_do_not_depend_on_the_type_or_byte_order_of_the_indices(calm):
    for dtype in (">u2", "<u2", ">i8", "int32", "uint16"):
        frames = [(k, r, [m.astype(dtype) for m in maps]) for k, r, maps in calm_frames(CALM, 12)]
        assert written(CALM, frames) == calm


def test_the_bytes_of_a_stream_are_pinned():
    rng = random.Random(4)
    frames = []
    for i in range(24):
        rate = "key" if i % 8 == 0 else ("high", "medium", "low")[i // 8]
        sizes = CALM.key_sizes if rate == "key" else dict(CALM.predicted_sizes)[rate]
        maps = [
            np.array([k * rng.randrange(100) ** 5 // 100**5 for _ in range(2 * r * c)]).reshape(2, r, c)
            for k, (r, c) in zip(sizes, ((4, 6), (2, 3), (1, 2)), strict=True)
        ]
        frames.append(("key" if rate == "key" else "predicted", rate, maps))
    data = written(header(96, 64, gop=8, version=ADAPTIVE_VERSION), frames)
    assert {r.coding for r in read_all(data)} == {"fixed", "adaptive"}
    assert hashlib.sha256(data).hexdigest()[:16] == PINNED


def test_the_fixed_stream_of_old_is_unchanged():
    assert stream(6) == written(header(), [(f.kind, f.rate, f.indices) for f in read_all(stream(6))])


def test_streams_are_read_and_written_as_on_other_machines(tmp_path):
    """`other_machines.sh` compares this with emulated ones."""
    digest.make(tmp_path)
    assert len(digest.digest(sorted(tmp_path.iterdir()))) == 64
