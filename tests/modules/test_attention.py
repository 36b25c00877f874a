"""Windows, and windowed cross-attention against attention written out position by position."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbvc_jax.modules.attention import CrossAttention, attend_window, cut_windows, join_windows

from .weights import normal, random_params

CHANNELS, HEADS, HEAD_DIM = 6, 2, 3


def windows_by_patches(x, window, padding):
    """The same windows by XLA's own patch extraction."""
    size = window + 2 * padding
    c = x.shape[-1]
    patches = jax.lax.conv_general_dilated_patches(
        x, (size, size), (window, window), [(padding, padding)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return np.asarray(patches).reshape(-1, c, size * size).transpose(0, 2, 1)


@pytest.mark.parametrize(("window", "padding"), [(4, 2), (4, 0), (2, 3), (3, 1)])
def test_windows_are_bit_equal_to_patches(window, padding):
    x = normal(2, 2 * window, 3 * window, 3)
    np.testing.assert_array_equal(cut_windows(x, window, padding), windows_by_patches(x, window, padding))


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 4), st.integers(0, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2))
def test_windows_are_slices_of_the_padded_latents(window, padding, rows, cols, b):
    x = normal(b, rows * window, cols * window, 2)
    size = window + 2 * padding
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    expected = [
        padded[n, i * window : i * window + size, j * window : j * window + size].reshape(-1, 2)
        for n in range(b)
        for i in range(rows)
        for j in range(cols)
    ]
    found = jax.jit(cut_windows, static_argnums=(1, 2))(x, window, padding)
    np.testing.assert_array_equal(found, np.stack(expected))


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2))
def test_joining_undoes_cutting(window, rows, cols, b):
    x = normal(b, rows * window, cols * window, 3)
    there_and_back = jax.jit(lambda x: join_windows(cut_windows(x, window), *x.shape[:3], window))
    np.testing.assert_array_equal(there_and_back(x), x)


def test_attention_of_one_window():
    q, k, v, bias = normal(4, 2, 3), normal(5, 2, 3, seed=1), normal(5, 2, 3, seed=2), normal(2, 4, 5, seed=3)
    out = attend_window(q, k, v, bias)
    for head in range(2):
        logits = q[:, head] @ k[:, head].T / np.sqrt(3) + bias[head]
        weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(out[:, head], weights @ v[:, head], atol=1e-5)


def layer_norm(x, params):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-6) * params["scale"] + params["bias"]


def reference(params, y, y_ref, window, padding):
    """Every query by itself, in float64: its window's keys and values, zero where the window leaves the latents."""
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    b, h, w, c = y.shape
    th, tw = h - h % window, w - w % window
    current = layer_norm(y.astype(np.float64), params["norm_query"])
    known = layer_norm(y_ref.astype(np.float64), params["norm_reference"])
    q, k, v = (
        (t @ params[name]["dense"]["kernel"]).reshape(b, h, w, HEADS, HEAD_DIM)
        for t, name in ((current, "query"), (known, "key"), (known, "value"))
    )
    out = np.zeros((b, h, w, c))
    size = window + 2 * padding
    for n in range(b):
        for i in range(th):
            for j in range(tw):
                top, left = i // window * window - padding, j // window * window - padding
                keys, values = np.zeros((size * size, HEADS, HEAD_DIM)), np.zeros((size * size, HEADS, HEAD_DIM))
                for m in range(size * size):
                    row, col = top + m // size, left + m % size
                    if 0 <= row < th and 0 <= col < tw:
                        keys[m], values[m] = k[n, row, col], v[n, row, col]
                heads = []
                for head in range(HEADS):
                    logits = keys[:, head] @ q[n, i, j, head] / np.sqrt(HEAD_DIM)
                    if "bias" in params:
                        logits += params["bias"][head, i % window * window + j % window]
                    weights = np.exp(logits - logits.max())
                    heads.append(weights / weights.sum() @ values[:, head])
                dense = params["output"]["dense"]
                out[n, i, j] = np.concatenate(heads) @ dense["kernel"] + dense["bias"]
    return out


@pytest.mark.parametrize(
    ("window", "padding", "h", "w"),
    [(4, 2, 8, 8), (4, 2, 9, 6), (4, 0, 8, 4), (3, 0, 7, 8), (2, 1, 5, 4), (8, 0, 8, 15)],
)
@pytest.mark.parametrize("position_bias", [False, True])
def test_against_attention_written_out(window, padding, h, w, position_bias):
    y, y_ref = normal(2, h, w, CHANNELS), normal(2, h, w, CHANNELS, seed=1)
    module = CrossAttention(window, padding, HEADS, HEAD_DIM, position_bias)
    params = random_params(module, y, y_ref)
    out = jax.jit(module.apply)({"params": params}, y, y_ref)
    np.testing.assert_allclose(out, reference(params, y, y_ref, window, padding), atol=2e-4)


def test_positions_that_fill_no_window_get_nothing():
    y = normal(1, 6, 7, CHANNELS)
    module = CrossAttention(4, 2, HEADS, HEAD_DIM)
    params = {"params": random_params(module, y, y)}
    out = np.asarray(jax.jit(module.apply)(params, y, y))
    assert out[:, :4, :4].all()
    assert not out[:, 4:].any() and not out[:, :, 4:].any()
    small = y[:, :3, :3]
    assert not module.apply(params, small, small).any()


def test_projections_have_no_bias_and_the_sizes_of_the_paper():
    latents = jax.ShapeDtypeStruct((1, 16, 16, 128), jnp.float32)
    params = jax.eval_shape(CrossAttention(4, 2, 8, 16).init, jax.random.key(0), latents, latents)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 66_176
    assert all("bias" not in params[name]["dense"] for name in ("query", "key", "value"))


def test_the_position_bias_starts_near_the_own_position():
    module = CrossAttention(2, 1, 1, 2, position_bias=True)
    y = jnp.zeros((1, 2, 2, 2))
    bias = jax.jit(lambda: module.init(jax.random.key(0), y, y)["params"]["bias"])()
    bias = np.asarray(bias).reshape(2, 2, 4, 4)
    for i in range(2):
        for j in range(2):
            # The query at (i, j) is the key at (i + padding, j + padding).
            assert np.unravel_index(bias[i, j].argmax(), (4, 4)) == (i + 1, j + 1)
    assert bias.max() == 0.0 and bias[0, 0, 1, 2] == -0.25 and bias[0, 0, 2, 2] == -0.5
