"""RMSNorm against flax's, and its way back against what JAX makes of the formula."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cbvc_jax.modules.norms import RMSNorm

from .weights import normal, random_params


@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_it_is_flax_s_with_the_same_parameters_and_gradients(size):
    x, slope = size * normal(2, 3, 5, 8), normal(2, 3, 5, 8, seed=1)
    ours, theirs = RMSNorm(1e-2), nn.RMSNorm(epsilon=1e-4)
    params = random_params(ours, x)
    assert jax.tree.structure(params) == jax.tree.structure(random_params(theirs, x))
    results = []
    for module in (ours, theirs):
        out, back = jax.vjp(lambda params, x, module=module: module.apply({"params": params}, x), params, x)
        results.append((out, *back(jnp.asarray(slope))))
    for one, other in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * float(np.abs(other).max()))


def test_half_precision_stays_and_is_summed_in_full():
    x = jnp.asarray(normal(4, 256), jnp.bfloat16)
    module, scale = RMSNorm(1e-3), {"params": {"scale": jnp.ones(256, jnp.bfloat16)}}
    out, back = jax.vjp(module.apply, scale, x)
    of_scale, of_x = back(jnp.ones_like(x))
    assert out.dtype == of_x.dtype == of_scale["params"]["scale"].dtype == jnp.bfloat16
    np.testing.assert_allclose(jnp.mean(jnp.square(out.astype(jnp.float32)), axis=-1), 1.0, rtol=1e-2)
