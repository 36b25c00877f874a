"""Packing against a reference that handles one bit at a time."""

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbvc_jax.bitstream import PayloadLayout
from cbvc_jax.errors import BitstreamError, UsageError
from cbvc_jax.geometry import frame_bits, stage_grids

codebook_sizes = st.tuples(*[st.one_of(st.integers(2, 65536), st.sampled_from([2, 8, 512, 8192, 65536]))] * 3)


def random_maps(height, width, sizes, seed):
    draw = np.random.default_rng(seed)
    return tuple(draw.integers(0, k, (2, *grid)) for k, grid in zip(sizes, stage_grids(height, width), strict=True))


def pack_bit_by_bit(maps, sizes):
    bits = ""
    for stage, size in zip(maps, sizes, strict=True):
        length = len(bin(size - 1)) - 2
        for group in stage:
            for row in group:
                for index in row:
                    bits += f"{int(index):0{length}b}"
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 100), st.integers(1, 100), codebook_sizes, st.integers(0, 2**32 - 1))
def test_payload_is_that_of_the_reference_and_comes_back(height, width, sizes, seed):
    layout = PayloadLayout(height, width, sizes)
    maps = random_maps(height, width, sizes, seed)
    payload = layout.pack(maps)
    assert payload == pack_bit_by_bit(maps, sizes)
    assert len(payload) == layout.size_bytes == -(-frame_bits(height, width, sizes) // 8)
    for given_map, back in zip(maps, layout.unpack(payload), strict=True):
        assert back.dtype == np.uint16
        np.testing.assert_array_equal(given_map, back)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), codebook_sizes, st.randoms(use_true_random=False))
def test_any_payload_is_unpacked_or_refused(height, width, sizes, rng):
    layout = PayloadLayout(height, width, sizes)
    payload = rng.randbytes(layout.size_bytes)
    try:
        maps = layout.unpack(payload, offset=100)
    except BitstreamError as error:
        assert 100 <= error.offset < 100 + layout.size_bytes
    else:
        assert layout.pack(maps) == payload


def test_an_index_outside_its_codebook_is_refused_where_it_lies():
    layout = PayloadLayout(16, 16, (5, 2, 2))
    maps = [np.array([0, 0]).reshape(2, 1, 1)] * 3
    payload = bytearray(layout.pack(maps))
    payload[0] |= 0b000_101_00
    with pytest.raises(BitstreamError, match="index 5 into a codebook of 5") as caught:
        layout.unpack(bytes(payload), offset=40)
    assert caught.value.offset == 40


def test_a_set_padding_bit_is_refused():
    layout = PayloadLayout(16, 16, (8, 8, 8))
    with pytest.raises(BitstreamError, match="padding"):
        layout.unpack(b"\x00\x00\x01")


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ([np.zeros((2, 1, 1), int)] * 2, "3 stages"),
        ([np.zeros((2, 1, 2), int)] * 3, "shape"),
        ([np.zeros((2, 1, 1), float)] * 3, "dtype"),
        ([np.full((2, 1, 1), 8)] * 3, "8..8"),
        ([np.full((2, 1, 1), -1)] * 3, "-1..-1"),
    ],
)
def test_indices_that_do_not_fit_are_a_usage_error(maps, message):
    with pytest.raises(UsageError, match=message):
        PayloadLayout(16, 16, (8, 8, 8)).pack(maps)


@pytest.mark.parametrize(("height", "width"), [(1, 16384), (16384, 1), (2160, 4096)])
def test_long_and_large_frames_come_back(height, width):
    sizes = (65536, 3, 512)
    layout = PayloadLayout(height, width, sizes)
    maps = random_maps(height, width, sizes, 1)
    assert all(map(np.array_equal, maps, layout.unpack(layout.pack(maps))))


def test_the_room_needs_no_jax():
    code = "import sys, cbvc_jax.bitstream; sys.exit(not {'jax', 'flax', 'tensorflow'}.isdisjoint(sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("sizes", [(8, 2048, 512), (8192, 2048, 512)])
def test_packing_1080p_is_fast(sizes):
    layout = PayloadLayout(1080, 1920, sizes)
    maps = random_maps(1080, 1920, sizes, 0)

    def best_ms(work):
        times = []
        for _ in range(20):
            start = time.process_time()
            work()
            times.append(1000 * (time.process_time() - start))
        return min(times)

    payload = layout.pack(maps)
    assert best_ms(lambda: layout.pack(maps)) < 5
    assert best_ms(lambda: layout.unpack(payload)) < 5
