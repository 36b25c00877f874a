"""The encoder search: never worse than the nearest codewords, in the indices that are sent, the same every time."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest

from cbvc_jax.bitstream import StreamWriter
from cbvc_jax.codec import Decoder, Encoder, stream_header
from cbvc_jax.errors import UsageError
from cbvc_jax.geometry import stage_grids
from cbvc_jax.pricing import index_bits, index_costs
from cbvc_jax.programs import Programs, batched
from cbvc_jax.refinement import MAX_EFFORT, TRIALS, refine, rounds_of
from tests.test_codec import encoded, info_of

SIZE = (40, 72)


def squared_error(frame, shown) -> float:
    return float(np.mean(np.square(frame.astype(np.float64) - np.asarray(shown)), axis=-1).sum())


def in_maps(indices):
    return [np.asarray(i)[0].transpose(2, 0, 1) for i in indices]


@pytest.mark.parametrize("size", [(1, 1), SIZE])
def test_the_error_falls_and_the_decoder_shows_it(model, moving, size):
    programs, decoder = Programs(model, *size), Decoder(model, *size)
    y_ref, before, after = None, 0.0, 0.0
    for kind, frame in zip(("key", "low"), moving(2, *size), strict=True):
        nearest = programs.search(frame, y_ref, kind)
        sensitivity = np.asarray(programs.sensitivity(nearest, y_ref, kind))
        refined = refine(programs, frame, nearest, y_ref, kind, sensitivity, 2)
        errors = [squared_error(frame, programs.picture(programs.restore(i, y_ref, kind))) for i in (nearest, refined)]
        # Errors are compared before pictures are rounded to 8 bits.
        assert errors[1] <= errors[0] * 1.001
        before, after = before + errors[0], after + errors[1]
        maps = in_maps(refined)
        assert [m.shape for m in maps] == [(2, *grid) for grid in stage_grids(*size)]
        sizes = model.preset.codebook_sizes(kind)
        assert all(m.dtype == np.uint16 and m.max() < k for m, k in zip(maps, sizes, strict=True))
        shown = decoder.push(kind, tuple(maps))
        y_ref = programs.restore(refined, y_ref, kind)
        np.testing.assert_array_equal(np.asarray(shown), np.asarray(programs.picture(y_ref)))
    assert after < before or size == (1, 1)


def test_with_a_price_error_and_bits_fall_together(model, moving):
    frames, programs, price = moving(5, *SIZE), Programs(model, *SIZE), 200.0
    file = io.BytesIO()
    encoder, y_ref = Encoder(model, *SIZE, rate="low"), None
    with StreamWriter(file, stream_header(model, info_of(frames))) as writer:
        for n, frame in enumerate(frames[:4]):
            coded = encoder.push(frame)
            y_ref = programs.restore(batched(coded.indices), y_ref, coded.rate)
            writer.write(coded.kind, coded.rate, n, coded.indices)
        chances = writer.chances("low")
    nearest = programs.search(frames[4], y_ref, "low")
    sensitivity = np.asarray(programs.sensitivity(nearest, y_ref, "low"))
    costs = index_costs(chances.stages, price, sensitivity)
    priced = programs.search(frames[4], y_ref, "low", costs)
    refined = refine(programs, frames[4], priced, y_ref, "low", sensitivity, 2, costs)

    def score(indices) -> float:
        shown = programs.picture(programs.restore(indices, y_ref, "low"))
        return squared_error(frames[4], shown) + price * sum(
            float(bits.sum()) for bits in index_bits(chances.stages, in_maps(indices))
        )

    assert score(refined) < score(priced)


@pytest.mark.parametrize("options", [{}, {"coding": "skipping"}])
def test_streams_are_the_same_every_time_and_however_many_gops_are_coded_at_once(model, moving, options):
    frames = moving(6, *SIZE)
    stream = encoded(model, frames, gop=2, effort=1, **options)
    assert stream == encoded(model, frames, gop=2, effort=1, parallel=2, **options)
    assert stream != encoded(model, frames, gop=2, **options)
    assert encoded(model, frames, gop=2, effort=0, **options) == encoded(model, frames, gop=2, **options)


def test_skipping_and_a_price_go_with_it(model, moving):
    frames = moving(4, *SIZE)
    file, error = io.BytesIO(), 0.0
    encoder, decoder = Encoder(model, *SIZE, "low", price=20.0, skips=True, effort=1), Decoder(model, *SIZE)
    with StreamWriter(file, stream_header(model, info_of(frames), coding="skipping")) as writer:
        for n, frame in enumerate(frames):
            coded = encoder.push(frame, chances=writer.chances)
            writer.write(coded.kind, coded.rate, n, coded.indices, coded.skip)
            shown = np.asarray(decoder.push(coded.rate, coded.indices, coded.skip))
            np.testing.assert_array_equal(shown, encoder.reconstruction())
            error += squared_error(frame, shown)
    assert np.isfinite(error)


def test_no_frame_costs_more_than_without_a_search(model, moving):
    """Error + price x bits as they are written, with skipped blocks, each frame from the same frames before."""
    frames, price, file = moving(4, *SIZE), 200.0, io.BytesIO()
    options = {"rate": "low", "price": price, "skips": True}
    encoders = [Encoder(model, *SIZE, effort=effort, **options) for effort in (0, 2, 4)]
    totals = np.zeros(len(encoders))
    writer = StreamWriter(file, stream_header(model, info_of(frames), coding="skipping"))
    for n, frame in enumerate(frames):
        before, written, costs = writer.size_bytes if writer.frames else 0, [], []
        for encoder in encoders:
            coded = encoder.push(frame, chances=writer.chances)
            written.append(copy.deepcopy(writer))
            written[-1].write(coded.kind, coded.rate, n, coded.indices, coded.skip)
            bits = 8 * (written[-1].size_bytes - before)
            costs.append(squared_error(frame, encoder.reconstruction()) + price * bits)
        # Errors are compared before pictures are rounded, and bits are those of tables, of which coding loses a little.
        assert max(costs[1:]) <= costs[0] + 16 * price
        totals += costs
        writer = written[-1]
        encoders = [copy.copy(encoders[-1]) for _ in encoders]
        for encoder, effort in zip(encoders, (0, 2, 4), strict=True):
            encoder._effort = effort
    assert totals[2] < totals[0]


def test_efforts_take_longer_one_by_one():
    def trials(kind: str) -> list[int]:
        found = [rounds_of(effort, kind) for effort in range(MAX_EFFORT + 1)]
        return [rounds * n for rounds, n in found]

    assert trials("key")[:2] == [0, 3 * TRIALS]
    assert trials("low")[:3] == [0, 2, 4]
    for kind in ("key", "low"):
        assert trials(kind) == sorted(trials(kind))
    assert len(set(zip(trials("key"), trials("low"), strict=True))) == MAX_EFFORT + 1


@pytest.mark.parametrize("effort", [-1, 10])
def test_an_effort_that_is_none(model, effort):
    with pytest.raises(UsageError, match="0 to 9"):
        Encoder(model, *SIZE, effort=effort)
