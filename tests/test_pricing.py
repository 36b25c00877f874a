"""What an encoder believes indices to cost is what the index coding charges for them."""

from __future__ import annotations

import io
import itertools
from fractions import Fraction

import numpy as np
import pytest

from cbvc_jax.bitstream import PayloadLayout, StreamWriter
from cbvc_jax.bitstream.adaptive import AdaptiveCoder
from cbvc_jax.codec import Decoder, Encoder, stream_header
from cbvc_jax.errors import UsageError
from cbvc_jax.geometry import CODED, FOLLOWS, LEADERS, MOVES, POINTING_GROUP, POINTING_STAGE, STAYS, WAYS
from cbvc_jax.modules.search import IndexCosts
from cbvc_jax.pricing import (
    USUAL_FRAMES,
    index_bits,
    index_costs,
    scale_of_price,
    scaled_costs,
    skipped_blocks,
)
from cbvc_jax.video import VideoInfo
from tests.tabled import with_tables

SIZE = (48, 80)
PRICE = 100.0


def random_maps(rng, layout, skew):
    return tuple(
        np.minimum(rng.geometric(skew, shape) - 1, size - 1).astype(np.uint16)
        for shape, size in zip(layout.shapes, layout.codebook_sizes, strict=True)
    )


@pytest.mark.parametrize("rate", ["high", "low"])
def test_costs_of_a_frame_are_about_its_coded_bits(model, rate):
    info = VideoInfo(256, 192, Fraction(1, 25))
    writer = StreamWriter(io.BytesIO(), stream_header(model, info))
    layouts = writer.header.layouts()
    rng = np.random.default_rng(0)
    for n in range(12):
        kind = "key" if n == 0 else rate
        maps = random_maps(rng, layouts[kind], 0.3)
        chances = writer.chances(kind)
        costs = None if chances is None else index_costs(chances.stages, 1.0, np.ones((3, 2)))
        record_bytes = writer.write("key" if n == 0 else "predicted", kind, n, maps)
        if n == 0:
            assert costs is None
        elif n > 8:
            bits = sum(float(np.sum(paid(stage, m))) for stage, m in zip(costs, maps, strict=True))
            assert bits / 8 == pytest.approx(record_bytes, rel=0.2, abs=14)


def paid(costs, maps):
    """Bits of each index of one stage."""
    index = maps.transpose(1, 2, 0)[None].astype(np.int64)
    table = np.broadcast_to(costs.of_index, (*index.shape, costs.of_index.shape[-1]))
    bits = np.take_along_axis(table, index[..., None], -1)[..., 0]
    if costs.repeats is None:
        return bits
    return np.where(index == costs.repeats.previous, costs.repeats.of_repeat, bits + costs.repeats.of_change)


@pytest.mark.parametrize("rate", ["key", "high", "medium", "low"])
def test_the_bits_of_places_are_those_of_their_indices(model, rate):
    """Without a frame before: log2 K for each index."""
    sizes = model.preset.codebook_sizes(rate)
    layouts = {rate: PayloadLayout(128, 128, sizes)}
    likely = AdaptiveCoder(layouts).chances(rate, tables=False)
    maps = [np.zeros(shape, np.uint16) for shape in layouts[rate].shapes]
    for bits, shape, k in zip(index_bits(likely, maps), layouts[rate].shapes, sizes, strict=True):
        assert bits.shape == shape
        np.testing.assert_allclose(bits, np.log2(k), rtol=0.05)


def test_indices_that_repeat_cost_next_to_nothing(model):
    layouts = {r: PayloadLayout(64, 64, model.preset.codebook_sizes("high")) for r in ("key", "high")}
    coder = AdaptiveCoder(layouts)
    maps = tuple(np.full(shape, 3, np.uint16) for shape in layouts["high"].shapes)
    moved = tuple(m + np.uint16(1) for m in maps)
    for _ in range(60):
        coder.update("high", maps)
    likely = coder.chances("high", tables=False)
    # Of a block: its own, and a quarter and a sixteenth of those of the coarser stages.
    assert sum(bits.sum(axis=0).max() / 4**s for s, bits in enumerate(index_bits(likely, maps))) < 1.0
    assert sum(bits.sum(axis=0).min() / 4**s for s, bits in enumerate(index_bits(likely, moved))) > 10.0


@pytest.mark.parametrize(
    "rows, columns, moves", [(4, 4, 0), (2, 7, 0), (3, 3, 1), (1, 8, 1), (1, 1, 1), (2, 2, 1 + LEADERS), (1, 1, 2)]
)
def test_skipped_are_the_blocks_of_the_least_error_and_cost(rows, columns, moves):
    """Against every choice there is: an index is sent, and costs what it does, if one of its blocks is coded; a
    displacement also if one moves, in any way. No leader is missing here: there is one block of 32x32, or one way."""
    random = np.random.default_rng(rows * columns)
    shapes = [(2, -(-rows // 2**s), -(-columns // 2**s)) for s in range(3)]
    ways = range(MOVES + moves)
    choices = np.array(list(itertools.product(ways, repeat=rows * columns)), np.uint8).reshape(-1, rows, columns)
    for _ in range(5):
        errors = random.exponential((1.0, 2.0, *[1.6] * moves), (rows, columns, len(ways))).transpose(2, 0, 1)
        flags = random.exponential(0.3, errors.shape)
        costs = [random.exponential(0.3, shape) for shape in shapes]
        totals = sum(np.sum((errors + flags)[way] * (choices == way), axis=(1, 2)) for way in ways)
        for s, cost in enumerate(costs):
            for g, i, j in np.ndindex(*cost.shape):
                part = choices[:, i << s : (i + 1) << s, j << s : (j + 1) << s]
                pointing = moves and (s, g) == (POINTING_STAGE, POINTING_GROUP)
                sent = part != STAYS if pointing else part == CODED
                totals = totals + cost[g, i, j] * sent.any(axis=(1, 2))
        found = skipped_blocks(errors[CODED], errors[STAYS:], flags, costs)
        np.testing.assert_array_equal(found, choices[np.argmin(totals)])


def test_no_block_follows_a_displacement_that_is_not_sent():
    """The left half stands still; the right one would follow what lies on its left, or else its own displacement."""
    errors = np.full((WAYS, 2, 8), 100.0)
    errors[STAYS, :, :4] = 0.0
    errors[FOLLOWS, :, 4:], errors[FOLLOWS + 2, :, 4:] = 2.0, 1.0
    costs = [np.full((2, 2, 8), 50.0), np.full((2, 1, 4), 0.1), np.full((2, 1, 2), 0.1)]
    flags = np.zeros_like(errors)
    found = skipped_blocks(errors[CODED], errors[STAYS:], flags, costs)
    beside = [FOLLOWS, FOLLOWS + 2, FOLLOWS + 2, FOLLOWS + 2]
    np.testing.assert_array_equal(found, [[STAYS] * 4 + beside] * 2)


@pytest.mark.parametrize("kind, skipped", [("model", 0.8), ("displacing_model", 0.9)])
def test_a_price_makes_files_smaller_and_pictures_worse(kind, skipped, moving, request):
    model = request.getfixturevalue(kind)
    info = VideoInfo(SIZE[1], SIZE[0], Fraction(1, 25))

    def run(price: float, skips: bool = False) -> tuple[int, float]:
        file = io.BytesIO()
        encoder = Encoder(model, *SIZE, rate="high", price=price, skips=skips)
        decoder = Decoder(model, *SIZE)
        error = 0.0
        with StreamWriter(file, stream_header(model, info, coding="skipping")) as writer:
            for n, frame in enumerate(moving(8, *SIZE)):
                coded = encoder.push(frame, chances=writer.chances)
                writer.write(coded.kind, coded.rate, n, coded.indices, coded.skip)
                shown = decoder.push(coded.rate, coded.indices, coded.skip)
                np.testing.assert_array_equal(np.asarray(shown), encoder.reconstruction())
                error += float(np.mean(np.square(encoder.reconstruction() - frame.astype(np.float64))))
        return len(file.getvalue()), error

    (plain_bytes, plain), (priced_bytes, priced) = run(0.0), run(1e9)
    assert priced_bytes < 0.8 * plain_bytes
    assert plain != priced
    assert run(1e9, skips=True)[0] < skipped * priced_bytes


def test_keyframes_pay_a_tenth_where_enough_frames_follow(model, moving, tmp_path):
    frames = moving(9, *SIZE)
    model = with_tables(model, frames, tmp_path / "tabled")
    writer = StreamWriter(
        io.BytesIO(), stream_header(model, VideoInfo(SIZE[1], SIZE[0], Fraction(1, 25))), model.tables
    )

    def indices(price: float, gop: int) -> np.ndarray:
        coded = Encoder(model, *SIZE, gop=gop, price=price).push(frames[0], chances=writer.chances)
        return np.concatenate([maps.ravel() for maps in coded.indices])

    for gop, share in ((32, 10), (10, 10), (4, 4)):
        np.testing.assert_array_equal(indices(PRICE, gop), indices(PRICE / share, 1))
        assert (indices(PRICE, gop) != indices(PRICE, 1)).any()


def test_a_bit_costs_by_the_frames_in_which_an_error_counts():
    shares = np.float32([[0.0, 0.5], [0.5, 0.9]])
    np.testing.assert_allclose(scale_of_price(shares, 1), USUAL_FRAMES)
    np.testing.assert_allclose(scale_of_price(shares, 3), USUAL_FRAMES / (1 + shares + shares**2), rtol=1e-5)
    np.testing.assert_allclose(scale_of_price(shares, 10**9), USUAL_FRAMES * (1 - shares), rtol=1e-5)


def test_coarser_stages_count_the_frames_of_all_their_blocks():
    scale = 1.0 / np.float32([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    costs = [IndexCosts(np.zeros((2, 4), np.float32))] * 3
    first, second, third = (np.asarray(c.scale)[0] for c in scaled_costs(costs, scale))
    np.testing.assert_allclose(first, scale)
    np.testing.assert_allclose(1.0 / second, [[3.0, 4.5], [7.5, 9.0]], rtol=1e-5)
    np.testing.assert_allclose(1.0 / third, [[6.0]], rtol=1e-5)


def test_a_price_without_chances_is_refused(model, moving):
    with pytest.raises(UsageError, match="chances"):
        Encoder(model, *SIZE, price=1.0).push(moving(1, *SIZE)[0])
