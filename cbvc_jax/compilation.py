"""How XLA compiles our programs on the backend at hand.

On x86-64 jaxlib gives convolutions and products to YNNPACK, which runs most of ours on one core, however many there
are; the libraries that it leaves them to without that take all. What reduces stays with it. Rounding may differ.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from typing import Any

import jax

X86_64 = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}


@functools.cache
def compiler_options(backend: str) -> dict[str, str]:
    """What `jax.jit` is to be told for a backend, as JAX names it: nothing where this is no x86-64 CPU, or jaxlib's XLA
    does not know the option, which may go as it came."""
    if backend != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return {}
    try:
        jax.jit(lambda x: x, compiler_options=X86_64).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return X86_64


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`jax.jit(function, **options)` with `compiler_options` of the default backend, made when it is first called:
    importing a module starts none. For programs that run by themselves: within another one JAX takes no such options.
    """

    @functools.cache
    def program() -> Callable[..., Any]:
        return jax.jit(function, compiler_options=compiler_options(jax.default_backend()), **options)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return program()(*args, **kwargs)

    return call
