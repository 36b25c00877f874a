"""The strict reader: everything comes back, every damage is noticed, memory follows the bytes."""

import io
import os
import random
import struct
import threading
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings

from cbvc_jax.bitstream import StreamReader, StreamWriter, TruncatedError, UnsupportedError
from cbvc_jax.bitstream.fuzz import DripFile
from cbvc_jax.bitstream.mutate import join, split
from cbvc_jax.errors import BitstreamError, UsageError

from .streams import header, indices, read_all, same_frame, stream, valid_streams, write_frames


def read_until_error(data, **options):
    """(frames, the error or None) of one strict reading."""
    frames = []
    try:
        reader = StreamReader(io.BytesIO(data), **options)
        for record in reader:
            frames.append(record)
    except BitstreamError as error:
        assert 0 <= error.offset <= len(data)
        return frames, error
    return frames, None


@settings(max_examples=60, deadline=None)
@given(valid_streams)
def test_written_again_a_stream_has_the_same_bytes(data):
    reader = StreamReader(io.BytesIO(data))
    again = io.BytesIO()
    with StreamWriter(again, reader.header) as writer:
        for record in reader:
            assert record.offset == writer.size_bytes
            r = record
            assert r.size_bytes == writer.write(r.kind, r.rate, r.timestamp, r.indices, r.skip)
    assert again.getvalue() == data
    assert reader.complete
    assert reader.losses == []


def test_what_was_written_comes_back():
    head = header(100, 70)
    frames = read_all(stream(6, head))
    assert [f.kind for f in frames] == ["key", "predicted", "predicted", "predicted", "key", "predicted"]
    assert [f.rate for f in frames] == ["key", "medium", "low", "high", "key", "low"]
    for i, frame in enumerate(frames):
        assert (frame.number, frame.timestamp) == (i, i)
        for maps, given_map in zip(frame.indices, indices(head, frame.rate, seed=i), strict=True):
            assert maps.dtype == np.uint16
            np.testing.assert_array_equal(maps, given_map)


def test_every_cut_yields_the_complete_frames_and_then_says_so():
    data = stream(6)
    frames = read_all(data)
    for cut in range(len(data)):
        got, error = read_until_error(data[:cut])
        assert isinstance(error, TruncatedError)
        assert error.offset == cut
        assert len(got) == sum(f.offset + f.size_bytes <= cut for f in frames)
        assert all(map(same_frame, got, frames))


def test_every_flipped_bit_is_noticed_before_its_frame():
    data = stream(5, header(20, 20))
    frames = read_all(data)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 0x80 >> bit % 8
        got, error = read_until_error(bytes(damaged))
        assert error is not None
        assert len(got) == sum(f.offset + f.size_bytes <= bit // 8 for f in frames)
        assert all(map(same_frame, got, frames))


def test_records_dropped_doubled_or_taken_from_elsewhere_are_noticed():
    data = stream(10)
    other = read_all(stream(10, header(model_sha256=bytes(32))))
    foreign = stream(10, header(model_sha256=bytes(32)))
    for i, frame in enumerate(read_all(data)):
        start, end = frame.offset, frame.offset + frame.size_bytes
        dropped = data[:start] + data[end:]
        doubled = data[:end] + data[start:]
        replaced = data[:start] + foreign[other[i].offset : other[i].offset + other[i].size_bytes] + data[end:]
        for damaged, intact in ((dropped, i), (doubled, i + 1), (replaced, i)):
            got, error = read_until_error(damaged)
            assert error is not None
            assert len(got) == intact


def with_record(data, number, change):
    """The stream with one record changed and all checksums made to match."""
    parts = split(data)
    parts[number + 1] = change(parts[number + 1])
    return join(parts)


@pytest.mark.parametrize(
    ("number", "change", "message"),
    [
        (1, lambda r: bytes([r[0] | 0x07]) + r[1:], "rate 7"),
        (1, lambda r: r[:1] + b"\x00" + r[2:], "out of order"),
        (5, lambda r: r[:1] + b"\xff" * 8 + b"\x7f" + r[2:], "out of order or range"),
        (1, lambda r: bytes([r[0] | 0x08]) + r[2:], "no timestamp"),
        (1, lambda r: r[:1] + b"\x81\x00" + r[2:], "shortest form"),
        (4, lambda r: r[:4] + b"\x01" + r[5:], "reserved bit"),
        (4, lambda r: r[:5] + b"\x05" + r[6:], "frame 5 follows where frame 4 is due"),
        (4, lambda r: r[:6] + b"\x03" + r[7:], "timestamp 3"),
        (4, lambda r: b"\x80" + r[1:], "no record"),
        (10, lambda r: r[:4] + b"\x09", "frame 9"),
        (0, lambda r: b"\x00\x01" + r[7:], "without a keyframe"),
    ],
)
def test_rules_hold_behind_sound_checksums(number, change, message):
    got, error = read_until_error(with_record(stream(10), number, change))
    assert error is not None
    assert message in str(error)
    assert len(got) == number


@pytest.mark.parametrize("coding", range(1, 8))
def test_an_unknown_index_coding_asks_for_a_later_reader(coding):
    for number, place in ((0, 4), (1, 0)):
        data = with_record(stream(3), number, lambda r, p=place: r[:p] + bytes([r[p] | coding << 4]) + r[p + 1 :])
        got, error = read_until_error(data)
        assert isinstance(error, UnsupportedError)
        assert f"coding {coding}" in str(error)
        assert len(got) == number


def test_a_gop_longer_than_the_header_says_is_damage():
    parts = split(stream(4))
    parts[0] = parts[0][:62] + struct.pack(">H", 2) + parts[0][64:]
    got, error = read_until_error(join(parts))
    assert "keyframe is due" in str(error)
    assert len(got) == 2


def test_an_index_outside_its_codebook_is_damage():
    parts = split(stream(1))
    parts[0] = parts[0][:64] + struct.pack(">H", 5000 - 1) + parts[0][66:]
    parts[1] = parts[1][:7] + b"\xff" * 8 + parts[1][15:]
    got, error = read_until_error(join(parts))
    assert "index 8191 into a codebook of 5000" in str(error)
    assert got == []


def test_after_the_error_there_is_nothing_more():
    reader = StreamReader(io.BytesIO(stream(3)[:-1]))
    with pytest.raises(TruncatedError):
        list(reader)
    assert list(reader) == []
    assert not reader.complete


def test_bytes_behind_the_end_do_not_belong_to_the_stream():
    assert len(read_all(stream(3) + b"more")) == 3


@pytest.mark.parametrize("conceal", [False, True])
def test_a_header_that_claims_the_largest_frame_takes_no_memory(conceal):
    sizes = (65536,) * 3
    head = header(16384, 16384, key_sizes=sizes, predicted_sizes=(("low", sizes),))
    data = head.pack() + b"\xf1KEY\x00\x00\x00" + bytes(10)
    tracemalloc.start()
    reader = StreamReader(io.BytesIO(data), conceal=conceal)
    if conceal:
        assert list(reader) == []
        assert len(reader.losses) == 1
    else:
        with pytest.raises(TruncatedError):
            list(reader)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 18


def test_a_pipe_yields_each_frame_while_the_next_is_not_yet_written():
    reading, writing = os.pipe()
    read_so_far = threading.Semaphore(0)
    head = header()

    def write():
        with os.fdopen(writing, "wb", buffering=0) as pipe, StreamWriter(pipe, head) as writer:
            for i in range(8):
                kind, rate = ("predicted", "low") if i % 4 else ("key", "key")
                writer.write(kind, rate, i, indices(head, rate, seed=i))
                # The next frame is written only once this one has come out at the other end.
                assert read_so_far.acquire(timeout=10)

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(reading, "rb") as pipe:
        reader = StreamReader(pipe)
        for i, record in enumerate(reader):
            assert record.number == i
            read_so_far.release()
    thread.join()
    assert reader.complete
    assert record.number == 7


def test_a_large_stream_goes_through_a_pipe_in_both_buffering_modes():
    data = stream(12, header(640, 480))
    for buffering in (0, -1):
        reading, writing = os.pipe()

        def write(descriptor=writing):
            with os.fdopen(descriptor, "wb", buffering=0) as pipe, StreamWriter(pipe, header(640, 480)) as writer:
                write_frames(writer, 12)

        thread = threading.Thread(target=write)
        thread.start()
        with os.fdopen(reading, "rb", buffering=buffering) as pipe:
            assert all(map(same_frame, StreamReader(pipe), read_all(data)))
        thread.join()


def test_a_reader_stops_at_the_end_although_the_pipe_stays_open():
    reading, writing = os.pipe()
    os.write(writing, stream(2, header(1, 1)))
    with os.fdopen(reading, "rb") as pipe:
        assert len(list(StreamReader(pipe))) == 2
    os.close(writing)


def test_seek_finds_the_keyframe_at_or_before():
    data = stream(10)
    for where, expected in ((-5, 0), (0, 0), (3, 0), (4, 4), (7, 4), (8, 8), (9, 8), (10**30, 8)):
        for conceal in (False, True):
            reader = StreamReader(io.BytesIO(data), conceal=conceal)
            assert reader.seek(where) == expected
            assert [record.number for record in reader] == list(range(expected, 10))
            assert reader.complete
            assert reader.losses == []


def test_seek_works_at_any_time_and_inside_a_longer_file():
    file = io.BytesIO(b"prefix" + stream(10))
    file.seek(6)
    reader = StreamReader(file)
    assert len(list(reader)) == 10
    for where in (9, 0, 5, 5, 8):
        reader.seek(where)
        assert next(reader).timestamp == where // 4 * 4
        if where < 8:
            assert next(reader).timestamp == where // 4 * 4 + 1


def test_seek_stops_at_damage_and_iteration_tells_of_it():
    data = bytearray(stream(10))
    frames = read_all(bytes(data))
    data[frames[6].offset] = 0xAA
    reader = StreamReader(io.BytesIO(data))
    assert reader.seek(9) == 4
    assert [next(reader).number, next(reader).number] == [4, 5]
    with pytest.raises(BitstreamError, match="no record"):
        next(reader)
    concealing = StreamReader(io.BytesIO(data), conceal=True)
    assert concealing.seek(9) == 8


def test_seek_in_a_stream_cut_short_takes_the_last_whole_keyframe():
    data = stream(10)
    last = read_all(data)[8]
    reader = StreamReader(io.BytesIO(data[: last.offset + last.size_bytes - 1]))
    assert reader.seek(9) == 4


def test_seek_without_keyframes_or_without_a_file():
    assert StreamReader(io.BytesIO(stream(0))).seek(3) is None
    with pytest.raises(UsageError, match="seek"):
        StreamReader(DripFile(stream(3), 7)).seek(0)


def test_damage_at_random_never_yields_a_frame_that_was_not_written():
    data = stream(8)
    frames = read_all(data)
    rng = random.Random(5)
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(rng.randint(2, 30)):
            damaged[rng.randrange(len(data))] = rng.randrange(256)
        got, _ = read_until_error(bytes(damaged))
        assert all(map(same_frame, got, frames))


def test_the_checksum_is_that_of_zlib_over_the_whole_gop():
    data = stream(3)
    parts = split(data)
    assert data[-4:] == struct.pack(">I", zlib.crc32(parts[0] + parts[-1]))
    second = read_all(data)[2]
    end = second.offset + second.size_bytes
    assert data[end - 4 : end] == struct.pack(">I", zlib.crc32(b"".join(parts[:4])))
