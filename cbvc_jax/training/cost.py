"""What a step takes on this machine, and what each field that saves memory saves: measured, side by side.

    python -m cbvc_jax.training.cost --config configs/tiny.py --try accumulate=2 --try remat=True,compute=bfloat16

Each row compiles the step of the last phase with some fields changed and runs it on random frames. Memory is what XLA
lays out for the step's temporary arrays; time is the median of the steps, then the fastest one, which is compared with
that of the unchanged step: noise only adds. The last column compares the fastest step's arithmetic with this machine's
fastest matrix product, before and after: the MACs of networks three times (forward, and two products for each in the
backward pass), those of searches and displacements once.
"""

from __future__ import annotations

import ast
import statistics
import sys
import time
from typing import Any

import jax
import ml_collections
import numpy as np
from absl import app, flags
from ml_collections import config_flags

from cbvc_jax import complexity, markdown
from cbvc_jax.cache import use_compilation_cache
from cbvc_jax.errors import CbvcError, UsageError
from cbvc_jax.evaluation.parts import product_rate
from cbvc_jax.presets import KEYFRAME
from cbvc_jax.process import restart_keeping_memory
from cbvc_jax.training.chunk import Schedule
from cbvc_jax.training.configuration import check_fields
from cbvc_jax.training.sharding import single
from cbvc_jax.training.state import Config, config_preset, empty_carry, init_state, phases
from cbvc_jax.training.step import make_step

CONFIG = config_flags.DEFINE_config_file("config", None, "Training configuration, e.g. configs/tiny.py.")
TRIALS = flags.DEFINE_multi_string("try", [], "Fields to change together: accumulate=2,remat=True. May be repeated.")
STEPS = flags.DEFINE_integer("steps", 5, "Steps to time, after one that is not.", 1)

MIB = float(1 << 20)


def changed(config: ml_collections.ConfigDict, changes: str) -> Config:
    """A copy of `config` with `changes`, as in "accumulate=2,compute=bfloat16"; UsageError for what it cannot take."""
    copy = config.copy_and_resolve_references()
    for change in filter(None, changes.split(",")):
        name, _, text = change.partition("=")
        check_fields(copy, [name])
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        try:
            copy.update_from_flattened_dict({name: value})
        except TypeError as error:
            raise UsageError(f"--try {change}: {error}") from None
    return ml_collections.FrozenConfigDict(copy)


def measure(config: Config, steps: int) -> tuple[float, list[float], float]:
    """(MiB of temporary arrays, milliseconds of each step, seconds of compilation) in the last phase of `config`."""
    phase, layout = phases(config)[-1], single()
    state = init_state(config).replace(carry=empty_carry(config, phase))
    state = layout.place_state(state)
    shape = (phase.batch, phase.frames, phase.crop, phase.crop, 3)
    frames = layout.place(np.random.default_rng(0).integers(0, 256, shape, np.uint8), layout.rows)
    began = time.perf_counter()
    step = make_step(config, config.rates[0], layout).lower(state, frames, Schedule()).compile()
    compile_s = time.perf_counter() - began
    memory: Any = step.memory_analysis()
    times = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        state, metrics = step(state, frames, Schedule())
        jax.block_until_ready(metrics)
        times.append(1000.0 * (time.perf_counter() - began))
    return memory.temp_size_in_bytes / MIB, times[1:], compile_s


def step_macs(config: Config) -> float:
    """MACs of one step of the last phase, at the first rate."""
    preset, phase = config_preset(config), phases(config)[-1]
    cost, predicted_frames = complexity.measure(preset, phase.crop, phase.crop), phase.frames - 1
    # What displaces is counted as attention, and has no products of weights.
    of_attention = 1.0 if preset.displaces else 3.0

    def frame(parts: dict[str, complexity.Cost]) -> float:
        return sum(
            3.0 * (part.layer_macs + part.gdn_macs) + of_attention * part.attention_macs for part in parts.values()
        )

    networks = frame(cost.keyframe_parts) + predicted_frames * frame(cost.parts)
    searches = cost.search_macs[KEYFRAME] + predicted_frames * cost.search_macs[preset.rates[0]]
    return phase.batch * (networks + searches)


def main(_: list[str]) -> None:
    use_compilation_cache()
    columns = "changed", "temporary MiB", "ms a step", "fastest", "of the time", "compilation s", "of the product"
    print(markdown.head(columns))
    plain_ms = 0.0
    try:
        for changes in ("", *TRIALS.value):
            config = changed(CONFIG.value, changes)
            before = product_rate()
            memory, steps_ms, compile_s = measure(config, STEPS.value)
            fastest_ms = min(steps_ms)
            plain_ms = plain_ms or fastest_ms
            share = 1e3 * step_macs(config) / fastest_ms / max(before, product_rate())
            times = f"{statistics.median(steps_ms):.0f}", f"{fastest_ms:.0f}", f"{fastest_ms / plain_ms:.2f}"
            times = *times, f"{compile_s:.0f}", f"{share:.0%}"
            print(markdown.row((changes or "nothing", f"{memory:.0f}", *times)), flush=True)
    except CbvcError as error:
        sys.exit(f"cost: {error}")


if __name__ == "__main__":
    restart_keeping_memory()
    flags.mark_flags_as_required(["config"])
    app.run(main)
