"""A run of the mini preset as a program: the same steps on as many devices and processes as it is told.

    python -m tests.training.mini --devices 1 2 4 8 --steps 100 --fsdp 2 --out result.npz

For every number of devices it writes the state after the last step, and the restarts of every step. Flags and
environment that set the number of devices belong to whoever starts it.
"""

from __future__ import annotations

import argparse
import sys

import jax
import ml_collections
import numpy as np

from cbvc_jax import presets
from cbvc_jax.cache import use_compilation_cache
from cbvc_jax.data.batches import BatchShape, ClipBatches
from cbvc_jax.data.clips import Clip
from cbvc_jax.training.chunk import Schedule
from cbvc_jax.training.sharding import Layout, make_layout
from cbvc_jax.training.start import start_codebooks
from cbvc_jax.training.state import empty_carry, init_state
from cbvc_jax.training.step import make_step
from configs import base
from tests.mini_preset import MINI

BATCH = 8


def mini_config(fsdp: int = 1) -> ml_collections.ConfigDict:
    """Chunks of three frames in sessions of two, of the mini preset."""
    presets.PRESETS["mini"] = MINI
    config = base.get_config()
    config.preset = "mini"
    config.lr = 1e-3
    config.lr_warmup = 10
    config.mesh.fsdp = fsdp
    config.codebook.decay, config.codebook.restart_below = 0.9, 0.3
    config.codebook.price = 0.02
    config.phases = ml_collections.ConfigDict(
        {"gops": base.phase(steps=10000, batch=BATCH, frames=3, chunks=2, crop=64)}
    )
    return config


def get_config() -> ml_collections.ConfigDict:
    """The mini preset as a configuration file: 24 steps, saved after every second one."""
    config = mini_config()
    gops = base.phase(steps=24, batch=4, frames=3, chunks=2, crop=64, key_warmup=2, predicted_warmup=4)
    config.phases = ml_collections.ConfigDict({"gops": gops})
    config.log_every, config.checkpoint_every, config.images_every = 3, 2, 1000
    return config


def clips(count: int = 6) -> list[Clip]:
    """Noise that slides: every clip its own, nine frames of 80x80."""
    found = []
    for i in range(count):
        picture = np.random.default_rng(i).integers(0, 255, (80, 80, 3), dtype=np.uint8)
        picture = (picture.astype(int) + np.roll(picture, 1, 0) + np.roll(picture, 1, 1) + np.roll(picture, 2, 1)) // 4
        found.append(Clip(str(i), np.stack([np.roll(picture, t * i, axis=0) for t in range(9)]).astype(np.uint8)))
    return found


def run(config: ml_collections.ConfigDict, layout: Layout, steps: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Leaves of the last state that every device has whole, and restarts by step."""
    frozen, phase = ml_collections.FrozenConfigDict(config), config.phases.gops
    batches = ClipBatches(clips(), BatchShape(BATCH, phase.frames, phase.chunks, phase.crop, 0.0), seed=1)
    state = init_state(config).replace(carry=empty_carry(config, phase))
    state = start_codebooks(layout.place_state(state), frozen, batches, ("key", "high"), layout)
    step, restarts = make_step(frozen, "high", layout), []
    rows = layout.local_rows(BATCH)
    for n in range(steps):
        frames = layout.gather_rows(batches(n, rows), BATCH)
        state, metrics = step(state, frames, Schedule(starts=n % phase.chunks == 0))
        restarts.append([int(v) for k, v in sorted(metrics.items()) if k.startswith("restarts/")])
    whole = jax.jit(lambda tree: tree, out_shardings=layout.copy)((state.params, state.codebooks, state.averages))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(whole)], np.array(restarts)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", type=int, nargs="+", default=[1])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--fsdp", type=int, default=1)
    parser.add_argument("--out")
    parser.add_argument("--join", nargs=3, metavar=("ADDRESS", "PROCESSES", "NUMBER"))
    args = parser.parse_args(arguments)
    use_compilation_cache()
    if args.join:
        jax.distributed.initialize(args.join[0], int(args.join[1]), int(args.join[2]))
    results = {}
    for count in args.devices:
        layout = make_layout(min(args.fsdp, count), jax.devices()[:count])
        leaves, restarts = run(mini_config(), layout, args.steps)
        results |= {f"{count}/restarts": restarts, **{f"{count}/{i:03}": leaf for i, leaf in enumerate(leaves)}}
    if args.out and jax.process_index() == 0:
        np.savez(args.out, **results)


if __name__ == "__main__":
    main(sys.argv[1:])
