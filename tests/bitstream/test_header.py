"""The header: what it accepts, what comes back, and that no damage to it passes."""

import io
import struct
import zlib
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbvc_jax.bitstream import COLOR_MATRICES, COLOR_RANGES, StreamHeader, TruncatedError, UnsupportedError
from cbvc_jax.bitstream.header import read_header
from cbvc_jax.bitstream.source import ByteSource
from cbvc_jax.errors import BitstreamError, UsageError

from .streams import header

u32 = st.integers(1, 2**32 - 1)
fractions = st.builds(Fraction, u32, u32)
sizes = st.tuples(*[st.integers(2, 65536)] * 3)
names = st.text("abz019._-", max_size=31).map(lambda rest: "k" + rest)
headers = st.builds(
    StreamHeader,
    model_sha256=st.binary(min_size=32, max_size=32),
    width=st.integers(1, 16384),
    height=st.integers(1, 16384),
    time_base=fractions,
    frame_rate=st.none() | fractions,
    color_matrix=st.sampled_from(list(COLOR_MATRICES)),
    color_range=st.sampled_from(list(COLOR_RANGES)),
    gop=st.integers(1, 65535),
    key_sizes=sizes,
    predicted_sizes=st.lists(st.tuples(names, sizes), min_size=1, max_size=8, unique_by=lambda x: x[0]).map(tuple),
    extensions=st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=40)), max_size=3).map(tuple),
)


def parse(data):
    return read_header(ByteSource(io.BytesIO(data)))


def repacked(data, at, replacement):
    """The header with bytes replaced, its length and checksum made to match."""
    body = bytearray(data[:-4])
    body[at : at + len(replacement)] = replacement
    body[6:8] = struct.pack(">H", len(body) + 4)
    return bytes(body) + struct.pack(">I", zlib.crc32(body))


@settings(max_examples=100, deadline=None)
@given(headers)
def test_a_header_comes_back(head):
    data = head.pack()
    back, crc, length = parse(data + b"rest")
    assert (back, crc, length) == (head, zlib.crc32(data[:-4]), len(data))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_sha256", b"short"),
        ("width", 0),
        ("width", 16385),
        ("height", 1.5),
        ("time_base", Fraction(0)),
        ("time_base", 0.04),
        ("time_base", Fraction(1, 2**32)),
        ("frame_rate", Fraction(-1)),
        ("color_matrix", "bt2100"),
        ("color_range", "half"),
        ("gop", 0),
        ("gop", 65536),
        ("key_sizes", (8, 8)),
        ("key_sizes", (1, 8, 8)),
        ("key_sizes", (65537, 8, 8)),
        ("predicted_sizes", ()),
        ("predicted_sizes", tuple((f"r{i}", (8, 8, 8)) for i in range(9))),
        ("predicted_sizes", (("a", (8, 8, 8)), ("a", (8, 8, 8)))),
        ("predicted_sizes", (("key", (8, 8, 8)),)),
        ("predicted_sizes", (("Low", (8, 8, 8)),)),
        ("predicted_sizes", (("low", (8, 8)),)),
        ("version", (2, 0)),
        ("version", (1, 256)),
        ("extensions", ((65536, b""),)),
        ("extensions", ((1, "text"),)),
        ("extensions", ((1, bytes(65536)),)),
        ("extensions", ((1, bytes(40000)), (2, bytes(40000)))),
    ],
)
def test_a_field_without_sense_is_a_usage_error(field, value):
    with pytest.raises(UsageError):
        header(**{field: value})


@pytest.mark.parametrize(
    ("at", "replacement"),
    [
        (40, b"\x00\x00"),
        (42, b"\x40\x01"),
        (44, bytes(4)),
        (48, bytes(4)),
        (52, bytes(4)),
        (56, bytes(4)),
        (60, b"\x03"),
        (61, b"\x02"),
        (62, b"\x00\x00"),
        (64, b"\x00\x00"),
        (70, b"\x00"),
        (70, b"\x09"),
        (71, b"\x00"),
        (71, b"\x21"),
        (72, b"HIGH"),
        (72, b"\xff"),
    ],
)
def test_a_field_without_sense_is_damage_at_its_place(at, replacement):
    data = repacked(header().pack(), at, replacement)
    with pytest.raises(BitstreamError) as caught:
        parse(data)
    assert caught.value.offset in range(40, len(data))


def test_an_unknown_extension_field_of_a_later_minor_version_is_carried_along():
    data = header(extensions=((9, b"later"),)).pack()
    back, _, _ = parse(repacked(data, 5, b"\x07"))
    assert (back.version, back.extensions) == ((1, 7), ((9, b"later"),))
    assert back.pack() == repacked(data, 5, b"\x07")


def test_an_extension_field_that_runs_over_the_end_is_damage():
    data = header(extensions=((9, b"later"),)).pack()
    with pytest.raises(BitstreamError, match="runs over"):
        parse(repacked(data, len(data) - 4 - 7, b"\x00\x06"))


def test_another_major_version_is_refused_before_anything_else():
    with pytest.raises(UnsupportedError, match=r"version 2\.0"):
        parse(b"\x89CBV\x02\x00\x00\x00")


@pytest.mark.parametrize("data", [b"", b"\x89CBV", b"\x89CBV\x01\x00\x00"])
def test_too_few_bytes_are_a_stream_cut_short(data):
    with pytest.raises(TruncatedError):
        parse(data)


@pytest.mark.parametrize("data", [b"RIFF    AVI ", bytes(100), b"\x89CBV\x01\x00\x00\x0cabcd"])
def test_other_files_are_not_streams(data):
    with pytest.raises(BitstreamError):
        parse(data)
