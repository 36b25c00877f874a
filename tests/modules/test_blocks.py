"""Convolutional blocks: padding, shuffles, GDN against its formula, and the block equations on small modules."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbvc_jax.modules.blocks import (
    GDN,
    AttentionBlock,
    Conv3,
    ResidualBlock,
    ResidualDown,
    ResidualUp,
    pixel_shuffle,
    pixel_unshuffle,
    reflect_pad,
)

from .weights import normal, random_params


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 2, 4, 8]))
def test_shuffles_are_inverse(h, w, c, factor):
    x = normal(2, h * factor, w * factor, c)
    assert jax.eval_shape(lambda: pixel_unshuffle(x, factor)).shape == (2, h, w, factor**2 * c)
    np.testing.assert_array_equal(jax.jit(lambda x: pixel_shuffle(pixel_unshuffle(x, factor), factor))(x), x)


def test_pixel_shuffle_puts_channels_in_raster_order():
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 1, 4)
    np.testing.assert_array_equal(pixel_shuffle(x, 2)[0, :, :, 0], [[0, 1], [2, 3]])


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1), (2, 2), (3, 5)])
def test_reflect_padding(shape):
    x = normal(2, *shape, 3)
    expected = x
    for axis in (1, 2):
        # A side of one pixel has nothing to mirror, and is repeated.
        mode = "edge" if x.shape[axis] == 1 else "reflect"
        pad = [(0, 0)] * 4
        pad[axis] = (1, 1)
        expected = np.pad(expected, pad, mode=mode)
    np.testing.assert_array_equal(jax.jit(reflect_pad)(x), expected)


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_formula(inverse):
    x = normal(1, 2, 3, 4)
    beta, gamma = normal(4, seed=1), normal(4, 4, seed=2)
    y = jax.jit(GDN(inverse).apply)({"params": {"beta": beta, "gamma": gamma}}, x)
    expected = np.empty_like(x)
    for i in range(4):
        norm = abs(beta[i]) + sum(abs(gamma[j, i]) * x[..., j] ** 2 for j in range(4))
        expected[..., i] = x[..., i] * np.sqrt(norm) if inverse else x[..., i] / np.sqrt(norm)
    np.testing.assert_allclose(y, expected, rtol=1e-4)


def test_gdn_starts_as_the_paper_says_and_igdn_undoes_it():
    params = jax.jit(GDN().init)(jax.random.key(0), jnp.zeros((1, 1, 1, 3)))["params"]
    np.testing.assert_allclose(params["gamma"], 0.1 * np.eye(3))
    np.testing.assert_array_equal(params["beta"], 1)
    x = 0.1 * normal(1, 2, 2, 3)
    y = GDN(True).apply({"params": params}, GDN().apply({"params": params}, x))
    np.testing.assert_allclose(y, x, atol=1e-3)


@pytest.mark.parametrize("stride", [1, 2])
def test_conv3_against_loops(stride):
    x = normal(1, 4, 6, 2)
    module = Conv3(3, stride)
    kernel, bias = normal(3, 3, 2, 3, seed=2), normal(3, seed=1)
    y = jax.jit(module.apply)({"params": {"conv": {"kernel": kernel, "bias": bias}}}, x)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    expected = np.empty((1, 4 // stride, 6 // stride, 3))
    for i in range(expected.shape[1]):
        for j in range(expected.shape[2]):
            patch = padded[0, i * stride : i * stride + 3, j * stride : j * stride + 3]
            expected[0, i, j] = np.einsum("ijc,ijcf->f", patch, kernel) + bias
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("block", "size", "channels"),
    [
        (ResidualBlock(4), (4, 6), 4),
        (ResidualBlock(5), (4, 6), 5),
        (ResidualDown(5), (2, 3), 5),
        (ResidualUp(5), (8, 12), 5),
        (AttentionBlock(4), (4, 6), 4),
    ],
)
def test_sizes_and_widths(block, size, channels):
    y, _ = jax.eval_shape(lambda: block.init_with_output(jax.random.key(0), jnp.zeros((2, 4, 6, 4))))
    assert y.shape == (2, *size, channels)


def test_attention_block_is_two_branches():
    """x + trunk * sigmoid(gate(mask)), rebuilt from residual blocks with the same parameters."""
    x = normal(1, 3, 3, 2)
    params = random_params(AttentionBlock(2), x)

    def rebuilt(x):
        trunk = mask = x
        for i in range(3):
            trunk = ResidualBlock(2).apply({"params": params[f"trunk_{i}"]}, trunk)
            mask = ResidualBlock(2).apply({"params": params[f"mask_{i}"]}, mask)
        return x + trunk * nn.sigmoid(mask @ params["gate"]["kernel"] + params["gate"]["bias"])

    out = jax.jit(AttentionBlock(2).apply)({"params": params}, x)
    np.testing.assert_allclose(out, jax.jit(rebuilt)(x), atol=1e-4)
