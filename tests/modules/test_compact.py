"""Layers of the small members, against what they stand for."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from cbvc_jax.modules.compact import CompactBlock, LappedOutput

from .weights import normal, random_params


def test_lapped_blocks_are_a_sum_of_overlapping_patches():
    x = normal(1, 3, 4, 5)
    module = LappedOutput(2, up=4)
    params = random_params(module, x)
    dense = params["outward"]["dense"]
    kernel, padded = dense["kernel"].reshape(2, 2, 5, 4, 4, 2), np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    wide = np.tile(dense["bias"].reshape(4, 4, 2), (1, 4, 5, 1))
    for row in range(5):
        for col in range(6):
            # A position adds to the four blocks around it: a patch twice as wide as the step from one to the next.
            for i, j in np.ndindex(2, 2):
                block_row, block_col = row - i, col - j
                if 0 <= block_row < 4 and 0 <= block_col < 5:
                    patch = np.einsum("c,chwf->hwf", padded[0, row, col], kernel[i, j])
                    wide[0, 4 * block_row : 4 * block_row + 4, 4 * block_col : 4 * block_col + 4] += patch
    out = jax.jit(module.apply)({"params": params}, x)
    assert out.shape == (1, 12, 16, 2)
    np.testing.assert_allclose(out, wide[:, 2:14, 2:18], atol=1e-5)


@pytest.mark.parametrize("b", [1, 2, 6, 7])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 3), (2, 5)])
def test_a_block_does_not_see_other_pictures_of_a_batch(b, size):
    """Small pictures share a convolution."""
    x = normal(b, *size, 8)
    module = CompactBlock()
    params = {"params": random_params(module, x)}
    run = jax.jit(module.apply)
    alone = np.concatenate([run(params, one[None]) for one in x])
    np.testing.assert_allclose(run(params, x), alone, atol=1e-5)
