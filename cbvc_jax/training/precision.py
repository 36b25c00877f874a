"""bfloat16 where it costs nothing that counts: the products of networks. The rest stays float32.

Parameters, their moments, codebooks, the search, y_hat between frames and the loss are float32 always. Networks get a
bfloat16 copy of the parameters, and the input of every layer with a product is rounded on its way in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cbvc_jax.errors import UsageError

COMPUTE = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
_PRODUCTS = (nn.Conv, nn.Dense)


def compute_dtype(name: str) -> Any:
    """The dtype called `name`; UsageError for one that cannot be computed in."""
    if name not in COMPUTE:
        raise UsageError(f"compute = '{name}' is none of: {', '.join(COMPUTE)}")
    return COMPUTE[name]


def rounded(tree: Any, dtype: Any) -> Any:
    """Floating-point arrays of `tree` as `dtype`."""
    return jax.tree.map(lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


@contextlib.contextmanager
def computing_in(dtype: Any) -> Iterator[None]:
    """Inside, convolutions and products round their inputs to `dtype`. Codewords are float32 and would spread."""
    if dtype == jnp.float32:
        yield
        return

    def round_inputs(call, args, kwargs, context):
        if isinstance(context.module, _PRODUCTS) and context.method_name == "__call__":
            args = rounded(args, dtype)
        return call(*args, **kwargs)

    with nn.intercept_methods(round_inputs):
        yield
