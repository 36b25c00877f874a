"""The summary: counts, times and sizes, of whole and of damaged streams."""

import io
from fractions import Fraction

import pytest

from cbvc_jax.bitstream import ADAPTIVE_VERSION, StreamWriter, TruncatedError, summarize
from cbvc_jax.errors import BitstreamError
from cbvc_jax.geometry import frame_bits

from .streams import PAPER_SIZES, RATES, header, indices, read_all, stream


def test_a_whole_stream():
    data = stream(10)
    summary = summarize(io.BytesIO(data))
    assert summary.header == header()
    assert summary.frames == 10
    assert summary.frames_by_kind == {"key": 3, "predicted": 7}
    assert summary.frames_by_rate == {"key": 3, "high": 3, "medium": 2, "low": 2}
    assert summary.size_bytes == len(data)
    counts = {"key": 3, "high": 3, "medium": 2, "low": 2}
    sizes = {"key": PAPER_SIZES, **dict(RATES)}
    assert summary.payload_bytes == sum(n * -(-frame_bits(20, 40, sizes[rate]) // 8) for rate, n in counts.items())
    assert summary.frames_by_coding == {"fixed": 10}
    assert summary.stage_bytes == summary.fixed_stage_bytes
    assert summary.fixed_payload_bytes == sum(map(sum, summary.stage_bytes.values())) == summary.payload_bytes
    assert (summary.first_timestamp, summary.last_timestamp) == (0, 9)
    assert summary.duration == Fraction(1, 3)
    assert summary.complete
    assert summary.error is None


def test_a_stream_with_coded_payloads():
    file = io.BytesIO()
    head = header(96, 64, version=ADAPTIVE_VERSION)
    with StreamWriter(file, head) as writer:
        for i in range(8):
            rate = "low" if i % 4 else "key"
            writer.write("predicted" if i % 4 else "key", rate, i, [maps % 3 for maps in indices(head, rate)])
    summary = summarize(io.BytesIO(file.getvalue()))
    assert summary.complete
    assert summary.frames_by_coding == {"fixed": 4, "adaptive": 4}
    assert sum(map(sum, summary.stage_bytes.values())) == summary.payload_bytes < summary.fixed_payload_bytes
    assert summary.stage_bytes["key"] == summary.fixed_stage_bytes["key"]
    assert all(a < b for a, b in zip(summary.stage_bytes["low"], summary.fixed_stage_bytes["low"], strict=True))


def test_a_stream_cut_short_is_told_up_to_the_cut():
    data = stream(10)
    last = read_all(data)[7]
    summary = summarize(io.BytesIO(data[: last.offset + 20]))
    assert summary.frames == 7
    assert summary.size_bytes == last.offset
    assert not summary.complete
    assert isinstance(summary.error, TruncatedError)


def test_a_damaged_stream_is_told_up_to_the_damage():
    data = bytearray(stream(10))
    data[read_all(bytes(data))[2].offset + 9] ^= 4
    summary = summarize(io.BytesIO(data))
    assert summary.frames == 2
    assert "checksum" in str(summary.error)


@pytest.mark.parametrize(("frames", "duration"), [(0, 0), (1, 0), (4, Fraction(4, 30))])
def test_duration_without_a_frame_rate(frames, duration):
    assert summarize(io.BytesIO(stream(frames, header(frame_rate=None)))).duration == duration


def test_a_file_that_is_no_stream_is_an_error():
    with pytest.raises(BitstreamError):
        summarize(io.BytesIO(b"RIFF....AVI LIST"))
