"""How near the codebook search comes to its matrix product: `python -m cbvc_jax.benchmarks.search`.

One group of a 1920x1080 frame's first stage (8160 positions at 1/16) and 8192 codewords of 16, 32 and 64 numbers, by:

    product alone     the scores, a block of positions at a time, and nothing done with them
    search            `cbvc_jax.modules.search`: exact, the lowest index on ties
    einsum + argmin   all distances of all positions at once, as the textbook has it

The variants take turns and the best time of each counts, so that a machine with other work still gives usable ratios.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cbvc_jax.geometry import STAGE_STRIDES, padded_size
from cbvc_jax.modules.search import BLOCK_ELEMENTS, search_group

HEIGHT, WIDTH, CODEWORDS = 1080, 1920, 8192


def product_alone(z: Float[Array, "n d"], codebook: Float[Array, "k d"]) -> Float[Array, "n2"]:
    """One score of every position of whole blocks; all are computed."""
    rows = BLOCK_ELEMENTS // codebook.shape[0]
    blocks = -(-z.shape[0] // rows)
    padded = jnp.pad(z, ((0, blocks * rows - z.shape[0]), (0, 0))).reshape(blocks, rows, -1)
    # Behind the barrier XLA cannot see that one column would do.
    return jax.lax.map(lambda b: jax.lax.optimization_barrier(b @ codebook.T)[:, 0], padded).reshape(-1)


def einsum_argmin(z: Float[Array, "n d"], codebook: Float[Array, "k d"]) -> Int[Array, "n"]:
    """Equation 1 as it is written, all distances at once."""
    distances = jnp.sum(jnp.square(codebook), axis=-1) - 2.0 * jnp.einsum("nd,kd->nk", z, codebook)
    return jnp.argmin(distances, axis=-1)


VARIANTS: dict[str, Callable] = {
    "product alone": product_alone,
    "search": search_group,
    "einsum + argmin": einsum_argmin,
}


def measure(d: int, repetitions: int) -> dict[str, tuple[float, int]]:
    """Best seconds and temporary bytes (XLA's own account) of each variant, for codewords of `d` numbers."""
    h, w = padded_size(HEIGHT, WIDTH)
    rng = np.random.default_rng(0)
    z = jnp.asarray(rng.normal(size=((h // STAGE_STRIDES[0]) * (w // STAGE_STRIDES[0]), d)), jnp.float32)
    codebook = jnp.asarray(rng.normal(size=(CODEWORDS, d)), jnp.float32)
    programs = {name: jax.jit(f).lower(z, codebook).compile() for name, f in VARIANTS.items()}
    best = dict.fromkeys(programs, float("inf"))
    for _ in range(repetitions):
        for name, program in programs.items():
            start = time.perf_counter()
            program(z, codebook).block_until_ready()
            best[name] = min(best[name], time.perf_counter() - start)
    memory_bytes = {
        name: getattr(program.memory_analysis(), "temp_size_in_bytes", 0) for name, program in programs.items()
    }
    return {name: (best[name], memory_bytes[name]) for name in programs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=10)
    args = parser.parse_args()
    h, w = padded_size(HEIGHT, WIDTH)
    positions = (h // STAGE_STRIDES[0]) * (w // STAGE_STRIDES[0])
    print(f"{positions} positions ({WIDTH}x{HEIGHT}, one group at 1/16), {CODEWORDS} codewords")
    print(f"{'d':>3}  {'variant':<16} {'best':>9} {'rate':>13} {'of product':>11} {'memory':>10}")
    for d in (16, 32, 64):
        results = measure(d, args.repetitions)
        product = results["product alone"][0]
        for name, (seconds, memory_bytes) in results.items():
            rate = positions * CODEWORDS * d / seconds / 1e9
            print(
                f"{d:>3}  {name:<16} {seconds * 1e3:>6.1f} ms {rate:>6.1f} GMAC/s {product / seconds:>10.0%} "
                f"{memory_bytes / 2**20:>6.1f} MiB",
                flush=True,
            )
        gain = results["einsum + argmin"][0] / results["search"][0]
        print(f"     search is {gain:.1f} times as fast as einsum + argmin", flush=True)


if __name__ == "__main__":
    main()
