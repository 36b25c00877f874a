"""The window on a file: pieces, integers, markers, pipes."""

import io
import os
import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbvc_jax.bitstream.errors import TruncatedError
from cbvc_jax.bitstream.fuzz import DripFile
from cbvc_jax.bitstream.source import PIECE_BYTES, ByteSource, encode_varint
from cbvc_jax.errors import BitstreamError, UsageError


@given(st.integers(0, 2**63 - 1), st.integers(0, 5))
def test_an_integer_comes_back(value, position):
    data = encode_varint(value)
    source = ByteSource(io.BytesIO(bytes(position) + data))
    assert source.varint(position) == (value, position + len(data))
    assert len(data) == max(1, -(-value.bit_length() // 7))


@pytest.mark.parametrize("data", [b"\x80\x00", b"\xff" * 9, b"\x80" * 9 + b"\x01", b"\x81\x80\x00"])
def test_an_integer_in_another_form_is_damage(data):
    with pytest.raises(BitstreamError) as caught:
        ByteSource(io.BytesIO(data)).varint(0)
    assert not isinstance(caught.value, TruncatedError)


def test_an_integer_cut_short_tells_the_end_of_the_file():
    source = ByteSource(io.BytesIO(b"ab\x80\x80"))
    source.peek(2)
    source.drop(2)
    with pytest.raises(TruncatedError) as caught:
        source.varint(0)
    assert caught.value.offset == 4


@given(st.binary(max_size=300).filter(lambda data: b"\xf1" not in data), st.integers(1, 9))
def test_markers_are_found_across_pieces(data, piece):
    source = ByteSource(DripFile(data + b"\xf1KEY" + data, piece))
    assert source.find(re.compile(b"\xf1KEY|\xf1END"), 4)
    assert source.offset == len(data)
    source.drop(4)
    assert not source.find(re.compile(b"\xf1KEY|\xf1END"), 4)
    assert source.offset == 2 * len(data) + 4


def test_no_read_asks_for_more_than_a_piece():
    class Watched(io.BytesIO):
        def read1(self, size=-1):
            assert 0 < size <= PIECE_BYTES
            return super().read1(size)

    assert ByteSource(Watched(bytes(3 * PIECE_BYTES))).fill(2 * PIECE_BYTES + 1)


def test_seeking_back_and_forth_from_where_the_stream_began():
    file = io.BytesIO(b"junk0123456789")
    file.seek(4)
    source = ByteSource(file)
    assert source.peek(3) == b"012"
    source.seek(8)
    assert source.peek(2) == b"89"
    source.seek(1)
    assert source.peek(2) == b"12"
    assert (source.size_bytes(), source.offset, source.peek(1)) == (10, 1, b"1")


def test_a_pipe_is_read_as_far_as_it_has_been_written():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe:
        os.write(writing, b"abc")
        assert ByteSource(pipe).fill(2)
        os.close(writing)


def test_a_pipe_is_waited_for():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        later = threading.Timer(0.05, lambda: (os.write(writing, b"cd"), os.close(writing)))
        os.write(writing, b"ab")
        later.start()
        source = ByteSource(pipe)
        assert source.fill(4)
        assert not source.fill(5)
        later.join()


def test_a_non_blocking_pipe_is_a_usage_error():
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb", buffering=0) as pipe, pytest.raises(UsageError, match="non-blocking"):
        ByteSource(pipe).fill(1)
    os.close(writing)
