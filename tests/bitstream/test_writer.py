"""The writer: what it refuses, what it costs, and that a pipe has each frame at once."""

import io

import numpy as np
import pytest

from cbvc_jax.bitstream import StreamReader, StreamWriter, summarize
from cbvc_jax.errors import UsageError

from .streams import header, indices, read_all, stream, write_frames


def test_container_overhead_is_below_one_percent():
    head = header(448, 256, gop=32, time_base=header().time_base / 3003)
    file = io.BytesIO()
    with StreamWriter(file, head) as writer:
        for i in range(96):
            kind, rate = ("predicted", "low") if i % 32 else ("key", "key")
            written = writer.write(kind, rate, 3003 * i, indices(head, rate, seed=i))
            if kind == "predicted":
                assert written - 707 <= 7
    summary = summarize(io.BytesIO(file.getvalue()))
    assert summary.payload_bytes == 3 * 1827 + 93 * 707
    assert (len(file.getvalue()) - summary.payload_bytes) / summary.payload_bytes < 0.01


def test_the_returned_sizes_add_up_to_the_file():
    file = io.BytesIO()
    head = header()
    writer = StreamWriter(file, head)
    total = len(file.getvalue())
    total += writer.write("key", "key", 5, indices(head, "key"))
    total += writer.write("predicted", "low", 7, indices(head, "low"))
    total += writer.finish()
    assert total == writer.size_bytes == len(file.getvalue())
    assert writer.finish() == 0
    assert writer.frames == 2


def test_each_record_is_whole_and_flushed_when_write_returns():
    class Watched(io.BytesIO):
        flushed = b""

        def flush(self):
            self.flushed = self.getvalue()

    file = Watched()
    writer = StreamWriter(file, header())
    for frames in range(1, 4):
        kind, rate = ("key", "key") if frames == 1 else ("predicted", "low")
        writer.write(kind, rate, frames, indices(header(), rate))
        assert file.flushed == file.getvalue()
        reader = StreamReader(io.BytesIO(file.flushed))
        assert [reader.next_record().number for _ in range(frames)] == list(range(frames))


def test_a_file_that_takes_bytes_bit_by_bit_gets_them_all():
    class Slow(io.RawIOBase):
        def __init__(self):
            self.data = b""

        def writable(self):
            return True

        def write(self, data):
            self.data += bytes(data[:7])
            return min(len(data), 7)

    slow = Slow()
    with StreamWriter(slow, header()) as writer:
        write_frames(writer, 5)
    assert slow.data == stream(5)


def test_a_block_that_raises_leaves_the_stream_without_its_end():
    file = io.BytesIO()
    with pytest.raises(RuntimeError), StreamWriter(file, header()) as writer:
        write_frames(writer, 3)
        raise RuntimeError
    assert file.getvalue() == stream(3, finish=False)
    assert not summarize(io.BytesIO(file.getvalue())).complete


def test_a_stream_without_frames_is_a_stream():
    assert read_all(stream(0)) == []


@pytest.mark.parametrize(
    ("kind", "rate", "timestamp", "message"),
    [
        ("predicted", "ultra", 9, "no rate 'ultra'"),
        ("predicted", "key", 9, "no rate 'key'"),
        ("key", "low", 9, "named 'key'"),
        ("bidirectional", "low", 9, "'key' or 'predicted'"),
        ("predicted", "low", 1, "timestamp 1"),
        ("predicted", "low", 0, "timestamp 0"),
        ("predicted", "low", 2**63, "timestamp"),
        ("predicted", "low", 2.5, "not an integer"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_and_change_nothing(kind, rate, timestamp, message):
    head = header()
    file = io.BytesIO()
    with StreamWriter(file, head) as writer:
        write_frames(writer, 2)
        with pytest.raises(UsageError, match=message):
            writer.write(kind, rate, timestamp, indices(head, "low"))
        with pytest.raises(UsageError, match="shape"):
            writer.write("predicted", "low", 2, [np.zeros((2, 9, 9), int)] * 3)
        writer.write("predicted", "low", 2, indices(head, "low"))
    assert [record.timestamp for record in read_all(file.getvalue())] == [0, 1, 2]


def test_the_first_frame_is_a_keyframe_and_a_gop_has_its_length():
    head = header(gop=2)
    writer = StreamWriter(io.BytesIO(), head)
    with pytest.raises(UsageError, match="without a keyframe"):
        writer.write("predicted", "low", 0, indices(head, "low"))
    writer.write("key", "key", 0, indices(head, "key"))
    writer.write("predicted", "low", 1, indices(head, "low"))
    with pytest.raises(UsageError, match="keyframe is due"):
        writer.write("predicted", "low", 2, indices(head, "low"))
    writer.finish()
    with pytest.raises(UsageError, match="finished"):
        writer.write("key", "key", 2, indices(head, "key"))
