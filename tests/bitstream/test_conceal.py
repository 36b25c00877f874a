"""Concealment: what is sound behind damage still comes out, and what is lost is told exactly."""

import io
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbvc_jax.bitstream import Loss, StreamReader
from cbvc_jax.bitstream.fuzz import DripFile
from cbvc_jax.bitstream.mutate import join, split
from cbvc_jax.bitstream.source import encode_varint
from cbvc_jax.errors import BitstreamError

from .streams import header, read_all, same_frame, stream


def conceal(data):
    """(frame numbers, losses, complete) of one concealing read; each frame is checked against the sound stream."""
    frames = read_all(stream(12))
    reader = StreamReader(io.BytesIO(data), conceal=True)
    got = list(reader)
    assert all(same_frame(frame, frames[frame.number]) for frame in got)
    return [frame.number for frame in got], reader.losses, reader.complete


@pytest.fixture(scope="module")
def data():
    return stream(12)


@pytest.fixture(scope="module")
def frames(data):
    return read_all(data)


def test_a_sound_stream_has_no_losses(data):
    assert conceal(data) == (list(range(12)), [], True)


@pytest.mark.parametrize(("hit", "lost"), [(0, 4), (1, 3), (3, 1), (4, 4), (6, 2), (7, 1), (8, 4), (11, 1)])
def test_a_damaged_frame_costs_the_rest_of_its_gop(data, frames, hit, lost):
    damaged = bytearray(data)
    damaged[frames[hit].offset + frames[hit].size_bytes // 2] ^= 0x10
    numbers, (loss,), complete = conceal(bytes(damaged))
    assert numbers == [*range(hit), *range(hit + lost, 12)]
    end = frames[hit + lost].offset if hit + lost < 12 else frames[-1].offset + frames[-1].size_bytes
    assert (loss.offset, loss.end_offset, loss.frames_lost) == (frames[hit].offset, end, lost)
    assert "checksum" in loss.reason
    assert complete


def test_every_flipped_bit_behind_the_header_costs_at_most_one_gop(data, frames):
    for bit in range(8 * frames[4].offset, 8 * len(data), 13):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 0x80 >> bit % 8
        numbers, losses, _ = conceal(bytes(damaged))
        assert len(losses) == 1
        assert len(numbers) >= 8
        assert numbers[:4] == [0, 1, 2, 3]


def test_missing_records_are_counted_although_nothing_is_damaged(data, frames):
    gap = data[: frames[4].offset] + data[frames[8].offset :]
    numbers, losses, complete = conceal(gap)
    assert numbers == [0, 1, 2, 3, 8, 9, 10, 11]
    assert losses == [
        Loss(frames[4].offset, frames[4].offset, losses[0].reason, 4),
    ]
    assert complete


def test_missing_last_frames_are_counted_by_the_end(data, frames):
    end = frames[-1].offset + frames[-1].size_bytes
    numbers, losses, complete = conceal(data[: frames[10].offset] + data[end:])
    assert numbers == list(range(10))
    assert [loss.frames_lost for loss in losses] == [2]
    assert complete


def test_a_doubled_gop_is_passed_over(data, frames):
    doubled = data[: frames[8].offset] + data[frames[4].offset :]
    numbers, losses, complete = conceal(doubled)
    assert numbers == list(range(12))
    assert [loss.frames_lost for loss in losses] == [0]
    assert complete


def test_every_cut_is_told_and_never_raised(data, frames):
    for cut in range(frames[0].offset, len(data), 3):
        numbers, losses, complete = conceal(data[:cut])
        assert numbers == [f.number for f in frames if f.offset + f.size_bytes <= cut]
        assert [(loss.end_offset, loss.frames_lost) for loss in losses] == [(cut, None)]
        assert "cut short" in losses[0].reason
        assert not complete


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=200),
    st.integers(0, 11),
    st.sampled_from([b"", b"\xf1KEY", b"\xf1END\x03", b"\xf1KEY\x00\x04\x04"]),
)
def test_rubbish_between_records_is_passed_over(rubbish, where, marker):
    data = stream(12)
    at = read_all(data)[where].offset
    numbers, losses, _ = conceal(data[:at] + rubbish + marker + rubbish + data[at:])
    assert numbers[:where] == list(range(where))
    assert numbers[-4:] == [8, 9, 10, 11] or where >= 8
    assert len(losses) <= 1


def test_a_pipe_is_concealed_alike(data, frames):
    damaged = bytearray(data)
    damaged[frames[5].offset + 3] ^= 1
    reader = StreamReader(DripFile(bytes(damaged), 13), conceal=True)
    assert [frame.number for frame in reader] == [0, 1, 2, 3, 4, 8, 9, 10, 11]
    assert reader.losses[0].frames_lost == 3


def test_a_frame_with_an_impossible_index_is_a_loss():
    parts = split(stream(12))
    parts[0] = parts[0][:64] + struct.pack(">H", 5000 - 1) + parts[0][66:]
    for i in (1, 5, 9):
        parts[i] = parts[i][:7] + (b"\xff" if i == 5 else b"\x00") * 19 + parts[i][26:]
    reader = StreamReader(io.BytesIO(join(parts)), conceal=True)
    assert [frame.number for frame in reader] == [0, 1, 2, 3, 8, 9, 10, 11]
    assert "codebook of 5000" in reader.losses[0].reason


def test_an_unreadable_header_is_raised(data):
    with pytest.raises(BitstreamError):
        StreamReader(io.BytesIO(b"x" + data), conceal=True)


def test_losses_are_not_told_twice_after_a_seek(data, frames):
    damaged = bytearray(data)
    damaged[frames[5].offset + 3] ^= 1
    reader = StreamReader(io.BytesIO(damaged), conceal=True)
    list(reader)
    assert reader.seek(6) == 4
    assert [frame.number for frame in reader] == [4, 8, 9, 10, 11]
    assert len(reader.losses) == 1


def test_many_losses_cost_linear_time():
    parts = split(stream(1, header(1, 1, gop=1)))
    key = parts[1][7:]
    records = [b"\xf1KEY\x00" + encode_varint(2 * i) + encode_varint(i + 1) + key for i in range(4_000)]
    reader = StreamReader(io.BytesIO(join([parts[0], *records])), conceal=True)
    start = time.process_time()
    assert [frame.number for frame in reader] == list(range(0, 8_000, 2))
    assert time.process_time() - start < 15
    assert [loss.frames_lost for loss in reader.losses] == [1] * 3_999 + [None]


def test_a_forest_of_false_markers_costs_linear_time():
    sizes = (65536,) * 3
    head = header(16384, 16384, key_sizes=sizes, predicted_sizes=(("low", sizes),))
    data = head.pack() + b"\xf1KEY\x00\x00\x00" * 30_000 + bytes(6_000_000)
    start = time.process_time()
    reader = StreamReader(io.BytesIO(data), conceal=True)
    assert list(reader) == []
    assert time.process_time() - start < 15
    assert len(reader.losses) == 1
