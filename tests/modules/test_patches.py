"""Patches one after the other against those that are gathered, and what puts them back against the transpose."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbvc_jax.modules import patches

from .weights import normal

B, HEIGHT, WIDTH, C, SIDE, BORDER = 2, 12, 20, 3, 5, 9
gathered = jax.jit(patches.fetch, static_argnums=2)
in_turn, put_back = (jax.jit(f, static_argnums=(2, 3)) for f in (patches.fetch_in_turn, patches.put_back))


def places(seed):
    """As far beyond every edge as may be, too."""
    random = np.random.default_rng(seed)
    last = np.array([HEIGHT, WIDTH]) + BORDER - SIDE
    first = random.integers(-BORDER, last + 1, (B, 2, 3, 2)).astype(np.int32)
    first[0, 0, 0], first[-1, -1, -1] = -BORDER, last
    return first


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 999))
def test_one_after_the_other_they_are_those_that_are_gathered(seed):
    picture, first = normal(B, HEIGHT, WIDTH, C, seed=seed), places(seed)
    found = gathered(picture, first, SIDE)
    padded = np.pad(picture, [(0, 0), (BORDER, BORDER), (BORDER, BORDER), (0, 0)], mode="edge")
    for b, i, j in np.ndindex(first.shape[:3]):
        y, x = first[b, i, j] + BORDER
        np.testing.assert_array_equal(found[b, i, j], padded[b, y : y + SIDE, x : x + SIDE])
    np.testing.assert_array_equal(in_turn(picture, first, SIDE, BORDER).reshape(found.shape), found)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 999))
def test_putting_back_is_the_transpose(seed):
    first = places(seed)
    shown, other = normal(B, 2, 3, SIDE, SIDE * C, 1, seed=seed), normal(B, HEIGHT, WIDTH, C, seed=seed + 1)
    picture = put_back(shown, first, other.shape, BORDER)
    expected = np.vdot(shown, gathered(other, first, SIDE).reshape(shown.shape))
    np.testing.assert_allclose(np.vdot(picture, other), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_accelerators_gather_and_scatter(platform):
    """Loops, one small copy after the other, are a CPU's."""
    picture, first = normal(B, HEIGHT, WIDTH, C), places(0)
    shown = normal(B, 2, 3, SIDE, SIDE * C, 1)
    programs = {
        "stablehlo.gather": jax.jit(lambda: patches.fetch_in_turn(picture, first, SIDE, BORDER)),
        "stablehlo.scatter": jax.jit(lambda: patches.put_back(shown, first, picture.shape, BORDER)),
    }
    for operation, program in programs.items():
        for on, there in ((platform, True), ("cpu", False)):
            text = program.trace().lower(lowering_platforms=(on,)).as_text()
            assert (operation in text, "stablehlo.while" in text) == (there, not there)
