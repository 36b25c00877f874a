"""Windowed cross-attention (section 3.2, figure 3): each window of the current latents looks at a larger one of y_ref.

    y      [b, h, w, c] --LayerNorm, q-----> windows of 4x4 --+
                                                              +--> softmax(q k / sqrt(d)) v --project--> update of y
    y_ref  [b, h, w, c] --LayerNorm, k, v--> windows of 8x8 --+

LayerNorm and projections are pointwise, so they run once, before overlapping windows are cut.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cbvc_jax.modules.compact import SMALL_INIT, Pointwise


def attend_window(
    q: Float[Array, "n heads d"],
    k: Float[Array, "m heads d"],
    v: Float[Array, "m heads d"],
    bias: Float[Array, "heads n m"] | None = None,
) -> Float[Array, "n heads d"]:
    """Attention of one query window to its key/value window: softmax(q k / sqrt(d) + bias) v, head by head.

    Heads first, and the softmax's division after the product with v: what XLA makes of the other order on a CPU takes
    several times as long.
    """
    q, k, v = (t.swapaxes(0, 1) for t in (q, k, v))
    logits = jnp.einsum("hnd,hmd->hnm", q, k) * q.shape[-1] ** -0.5
    if bias is not None:
        logits = logits + bias
    weights = jnp.exp(logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True)))
    attended = jnp.einsum("hnm,hmd->hnd", weights, v) / jnp.sum(weights, axis=-1, keepdims=True)
    return attended.swapaxes(0, 1)


def _overlapping_blocks(x: Array, axis: int, window: int, padding: int) -> Array:
    """Splits `axis` into windows of `window + 2 * padding` at a stride of `window`: axes (count, size) in its place.

    Built from shifted views of whole blocks: strided slices make the backward pass five times as slow.
    """
    count, size = x.shape[axis] // window, window + 2 * padding
    blocks = -(-size // window)
    before, after = padding, (blocks - 1) * window - padding
    pad = [(0, 0)] * x.ndim
    pad[axis] = (before, max(after, 0))
    x = jnp.pad(x, pad)
    shape = (*x.shape[:axis], count, window, *x.shape[axis + 1 :])
    views = [jax.lax.slice_in_dim(x, i * window, (i + count) * window, axis=axis).reshape(shape) for i in range(blocks)]
    joined = views[0] if blocks == 1 else jnp.concatenate(views, axis=axis + 1)
    return jax.lax.slice_in_dim(joined, 0, size, axis=axis + 1)


def cut_windows(x: Float[Array, "b h w c"], window: int, padding: int = 0) -> Float[Array, "n s c"]:
    """The sliding windows of figure 3, on one flat axis in the order (b, row, column).

    Args:
      x: latents whose sides are multiples of `window`.
      window: stride of the windows.
      padding: positions added on each side of a window; outside of `x` they are zero.

    Returns:
      windows of s = (window + 2 * padding)^2 positions.
    """
    b, h, w, c = x.shape
    size = window + 2 * padding
    x = _overlapping_blocks(x, 2, window, padding)
    x = _overlapping_blocks(x, 1, window, padding)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b * (h // window) * (w // window), size * size, c)


def join_windows(windows: Float[Array, "n s c"], b: int, h: int, w: int, window: int) -> Float[Array, "b h w c"]:
    """Latents from windows without overlap: the inverse of `cut_windows` with no padding."""
    x = windows.reshape(b, h // window, w // window, window, window, -1)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h, w, -1)


class CrossAttention(nn.Module):
    """WCA(y, y_ref): what y_ref adds to y. It is zero where positions at the right and lower edge fill no window.

    `steer` scales what the heads return before the output product mixes it: heads that look at neighbouring positions,
    weighted by what a frame says of its motion, are how a latent moves by less than one position. Small members only.

    Attributes:
      window, padding: side of a query window, and what its key/value window adds on each side.
      heads, head_dim: the products are heads x head_dim wide.
      position_bias: learn a bias for every (head, query, key); small members only.
    """

    window: int
    padding: int
    heads: int
    head_dim: int
    position_bias: bool = False

    @nn.compact
    def __call__(
        self,
        y: Float[Array, "b h w c"],
        y_ref: Float[Array, "b h w c"],
        steer: Float[Array, "b h w hd"] | None = None,
    ) -> Float[Array, "b h w c"]:
        b, h, w, c = y.shape
        th, tw = h - h % self.window, w - w % self.window
        if not (th and tw):
            return jnp.zeros_like(y)
        whole = (th, tw) == (h, w)

        def tiled(x: Array) -> Array:
            # Exports for any size turn even a slice of everything into a gather.
            return x if whole else x[:, :th, :tw]

        width = self.heads * self.head_dim
        current = nn.LayerNorm(name="norm_query")(tiled(y))
        reference = nn.LayerNorm(name="norm_reference")(tiled(y_ref))
        q = cut_windows(Pointwise(width, use_bias=False, name="query")(current), self.window)
        k = cut_windows(Pointwise(width, use_bias=False, name="key")(reference), self.window, self.padding)
        v = cut_windows(Pointwise(width, use_bias=False, name="value")(reference), self.window, self.padding)
        bias = None
        if self.position_bias:
            bias = self.param("bias", _distance_bias, (self.heads, self.window, self.padding))
        q, k, v = (t.reshape(*t.shape[:2], self.heads, self.head_dim) for t in (q, k, v))
        out = jax.vmap(attend_window, in_axes=(0, 0, 0, None))(q, k, v, bias)
        out = join_windows(out.reshape(*out.shape[:2], width), b, th, tw, self.window)
        if steer is not None:
            out = out * tiled(steer)
        init = SMALL_INIT if self.position_bias else nn.initializers.lecun_normal()
        update = Pointwise(c, kernel_init=init, name="output")(out)
        return update if whole else jnp.pad(update, ((0, 0), (0, h - th), (0, w - tw), (0, 0)))


def _distance_bias(rng: Array, shape: tuple[int, int, int]) -> Float[Array, "heads n m"]:
    """Starts every head near its own position: minus a quarter of the squared distance from query to key."""
    del rng
    heads, window, padding = shape
    query = jnp.arange(window, dtype=jnp.float32)
    key = jnp.arange(-padding, window + padding, dtype=jnp.float32)
    square = (query[:, None] - key[None, :]) ** 2
    distance = square[:, None, :, None] + square[None, :, None, :]
    n, m = window**2, (window + 2 * padding) ** 2
    return jnp.broadcast_to(-0.25 * distance.reshape(n, m), (heads, n, m))
