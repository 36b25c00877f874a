"""Displacements on every backend: the same places are looked at, between the same pixels."""

from __future__ import annotations

import io
from fractions import Fraction

import jax
import numpy as np
import pytest

from cbvc_jax.bitstream import StreamWriter, fill_skipped
from cbvc_jax.codec import Encoder, stream_header
from cbvc_jax.export.backends import BACKENDS, open_export
from cbvc_jax.export.write import write_export
from cbvc_jax.geometry import FOLLOWS, LEADERS, MOVES, POINTING_GROUP, POINTING_STAGE, STAYS
from cbvc_jax.model import init_params
from cbvc_jax.modules.displacement import POINTER_SCALE, REACH
from cbvc_jax.stream import StreamDecoder
from cbvc_jax.video import VideoInfo
from cbvc_jax.weights import load_model, save_model
from tests.mini_preset import DISPLACING_MINI
from tests.tabled import with_tables

from .test_backends import NAMES

SIZE = (50, 70)


@pytest.fixture(scope="module")
def displacing(tmp_path_factory, moving):
    """Random weights, and displacements of all sizes."""
    params, codebooks = init_params(jax.random.key(2), DISPLACING_MINI)
    random = np.random.default_rng(0)
    for kind in DISPLACING_MINI.rates:
        book = np.array(codebooks[kind][POINTING_STAGE])
        book[POINTING_GROUP, :, :2] = POINTER_SCALE * random.uniform(-REACH, REACH, (book.shape[1], 2))
        codebooks[kind] = (codebooks[kind][0], book, codebooks[kind][2])
    folder = tmp_path_factory.mktemp("models") / "displacing"
    save_model(folder, DISPLACING_MINI, params, codebooks, "")
    return with_tables(load_model(folder), moving(3, *SIZE), folder.with_name("tabled"), ("high",))


@pytest.fixture(scope="module")
def stream(displacing, moving) -> bytes:
    """Four frames whose indices are random, so that each block is looked for elsewhere; some stay, move or follow."""
    random, data = np.random.default_rng(1), io.BytesIO()
    encoder = Encoder(displacing, *SIZE, gop=4)
    info = VideoInfo(SIZE[1], SIZE[0], Fraction(1, 25), Fraction(25))
    with StreamWriter(data, stream_header(displacing, info, 4, "skipping"), displacing.tables) as writer:
        for i, frame in enumerate(moving(4, *SIZE)):
            coded = encoder.push(frame, rate="high")
            sizes = DISPLACING_MINI.codebook_sizes("key" if coded.kind == "key" else coded.rate)
            indices = tuple(
                random.integers(0, size, maps.shape, np.uint16) for maps, size in zip(coded.indices, sizes, strict=True)
            )
            skip = None
            if coded.kind == "predicted":
                skip = np.zeros(indices[0].shape[1:], np.uint8)
                skip[2:, 2:], skip[:2, :2], skip[:2, 2:] = STAYS, MOVES, FOLLOWS + random.integers(0, LEADERS)
                indices = fill_skipped(indices, skip, None)
            writer.write(coded.kind, coded.rate, i, indices, skip)
    return data.getvalue()


def decode(stream, **options) -> np.ndarray:
    return np.stack([frame.rgb for frame in StreamDecoder(io.BytesIO(stream), **options)])


@pytest.mark.parametrize("name", NAMES)
def test_a_backend_agrees_with_jax(name, displacing, stream, tmp_path):
    backend = BACKENDS[name]
    write_export(displacing, tmp_path / "export", backend.format, None if backend.any_size else SIZE)
    expected = decode(stream, model=displacing)
    shown = decode(stream, decoder=open_export(name, tmp_path / "export"))
    assert np.abs(shown.astype(int) - expected).max() <= 1
    assert np.mean(shown == expected) > 0.999
    # Frames differ: what is displaced is no flat picture.
    assert np.abs(np.diff(expected.astype(int), axis=0)).mean() > 1.0
