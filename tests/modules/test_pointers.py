"""Displacements that blocks choose together: never worse than each by itself, and by what overlapped blocks show."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from cbvc_jax.modules.context import Displacement
from cbvc_jax.modules.displacement import POINTER_SCALE, REACH, SIDE, displace
from cbvc_jax.modules.motion_estimation import find_displacements
from cbvc_jax.modules.pointers import search_pointers, settle_pointers
from cbvc_jax.modules.search import IndexCosts, Repeats

from .weights import normal

K = 64
ROWS, COLUMNS = 4, 5


@pytest.fixture(scope="module")
def books():
    """Displacements of whole pixels, the first of them none; other stages have no part in this."""
    where = np.random.default_rng(2).integers(-REACH + 1, REACH, (K, 2)).astype(np.float32)
    where[0] = 0.0
    book = np.zeros((2, K, 4), np.float32)
    book[0, :, :2] = POINTER_SCALE * where
    nothing = np.zeros((2, 4, 4), np.float32)
    return nothing, book, nothing


@pytest.fixture(scope="module")
def pictures(books):
    """A smooth reference, and what it shows where each half of the picture moves by a codeword, with noise."""
    reference = normal(1, SIDE * ROWS, SIDE * COLUMNS, 3)
    for axis in (1, 2):
        reference = sum(np.roll(reference, i, axis) for i in range(-4, 5)) / 6.0
    moves = np.zeros((1, ROWS, COLUMNS), int)
    moves[:, :, :2], moves[:, :, 2:] = 5, 9
    x = np.asarray(displace(reference, books[1][0, moves, :2] / POINTER_SCALE))
    return np.float32(x + 0.02 * normal(*x.shape, seed=1)), np.float32(reference)


def costs_of(scale: float, repeats: bool) -> list[IndexCosts]:
    rng = np.random.default_rng(4)
    of_index = scale * rng.uniform(4, 12, (2, K)).astype(np.float32)
    where = (1, ROWS, COLUMNS, 2)
    maps = (
        rng.integers(0, K, where).astype(np.int32),
        scale * np.full(where, 0.5, np.float32),
        scale * np.ones(where, np.float32),
    )
    at = rng.uniform(0.5, 2, where[:-1]).astype(np.float32)
    return [IndexCosts(of_index, Repeats(*maps) if repeats else None, at)] * 3


@functools.partial(jax.jit, static_argnames="grids")
def chosen(x, reference, books, costs, grids=None):
    wanted = find_displacements(x, reference)
    z = Displacement(codeword_dim=4).apply({}, wanted, method="codewords")
    alone = search_pointers(z, wanted, books, grids, costs=costs)
    return wanted.unit, alone, settle_pointers(alone, wanted, x, reference, books, grids, costs)


def score(x, reference, books, costs, unit, indices) -> float:
    """Error of the whole picture and what its indices cost, in the measure of codewords."""
    indices = np.asarray(indices)[..., 0]
    shown = np.asarray(displace(reference, books[1][0, indices, :2] / POINTER_SCALE))
    error = np.sum(np.square(np.mean(x - shown, axis=-1))) * POINTER_SCALE**2 / float(np.squeeze(unit))
    cost = costs[1].of_index[0, indices]
    if costs[1].repeats is not None:
        previous, of_repeat, of_change = (maps[..., 0] for maps in costs[1].repeats)
        cost = np.where(indices == previous, of_repeat, cost + of_change)
    return float(error + np.sum(costs[1].scale * cost))


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0, 10.0])
def test_settled_displacements_are_no_worse_and_better_where_both_count(books, pictures, scale, repeats):
    costs = costs_of(scale, repeats)
    unit, alone, settled = chosen(*pictures, books, costs)
    before, after = (score(*pictures, books, costs, unit, code.indices) for code in (alone, settled))
    assert after <= before * (1 + 1e-5)
    if scale == 0.1:
        assert after < (0.9 if repeats else 1.0) * before


def test_what_moves_is_found_through_noise(books, pictures):
    *_, settled = chosen(*pictures, books, costs_of(1e-3, False))
    indices = np.asarray(settled.indices)[0, :, :, 0]
    assert (indices[:, 0] == 5).all() and (indices[:, 3:] == 9).all()
    np.testing.assert_array_equal(settled.codewords[0, :, :, 0], books[1][0, indices])


def test_what_is_not_sent_is_what_a_decoder_fills_in(books, pictures):
    *_, settled = chosen(*pictures, books, costs_of(0.1, True), ((2, 2), (3, 4), (2, 2)))
    settled = np.asarray(settled.indices)
    np.testing.assert_array_equal(settled[:, 3], settled[:, 2])
    np.testing.assert_array_equal(settled[:, :, 4], settled[:, :, 3])
