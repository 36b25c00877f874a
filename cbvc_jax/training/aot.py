"""The training step compiled for TPUs that are not here: memory by kind, arithmetic, collectives, estimated time.

    python -m cbvc_jax.training.aot --config configs/wca4.py --topology v5e:2x2,v5e:8x8,v5e:16x16

XLA's TPU compiler (the extra `tpu`) runs on any machine. What it says of memory is what a chip would take; the time is
an estimate: arithmetic at a share of the peak, then collectives at the links' speed, as if neither hid the other.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from ml_collections import FrozenConfigDict, config_flags

from cbvc_jax import markdown
from cbvc_jax.errors import CbvcError, UsageError
from cbvc_jax.training.chunk import Schedule
from cbvc_jax.training.program import bf16_flops, collectives
from cbvc_jax.training.sharding import Layout, make_layout, single
from cbvc_jax.training.state import Config, TrainState, empty_carry, init_state, phases
from cbvc_jax.training.step import make_step
from cbvc_jax.video.atomic import write_whole

CONFIG = config_flags.DEFINE_config_file("config", None, "Training configuration, e.g. configs/wca4.py.")
TOPOLOGY = flags.DEFINE_list("topology", ["v5e:8x8"], "Slices to compile for, as TYPE:AxB.")
UTILISATION = flags.DEFINE_float("utilisation", 0.4, "Assumed share of the peak arithmetic.", 0.0, 1.0)
OUT = flags.DEFINE_string("out", None, "File for the figures, JSON.")
CUDA = flags.DEFINE_bool("cuda", True, "Check that the step lowers for CUDA, too.")

GIB = float(1 << 30)
INSTALL = "pip install 'cbvc-jax[tpu]'"


@dataclasses.dataclass(frozen=True)
class Chip:
    """Published figures of a chip: memory in bytes, bf16 operations a second, bytes a second over all its links."""

    memory_bytes: float
    flops: float
    link_bytes: float


CHIPS = {
    "v5e": Chip(16 * GIB, 197e12, 200e9),
    "v5p": Chip(95 * GIB, 459e12, 600e9),
    "v6e": Chip(32 * GIB, 918e12, 448e9),
}


def abstract_arguments(config: Config, layout: Layout) -> tuple[TrainState, Any, Schedule]:
    """Shapes and shardings of a step's arguments in the last phase of `config`."""
    phase = phases(config)[-1]

    def shaped(array: Any, sharding: Any) -> Any:
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)

    state = jax.eval_shape(
        lambda: init_state(config).replace(carry=empty_carry(config, phase))  # pyright: ignore
    )
    state = jax.tree.map(shaped, state, layout.of_state(state))
    shape = (phase.batch, phase.frames, phase.crop, phase.crop, 3)
    frames = jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=layout.rows)
    schedule = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct((), np.asarray(a).dtype if a is True else jnp.int32), Schedule()
    )
    return state, frames, schedule


def analyse(config: Config, topology: str, utilisation: float) -> dict[str, float | str]:
    """Figures of one step on one slice, all of them a chip; sizes in bytes, times in seconds.

    Raises:
      UsageError: the slice is unknown, the extra `tpu` is not installed, or the step does not fit the chip.
    """
    layout = make_layout(config.mesh.fsdp, _devices(topology))
    chip = CHIPS.get(topology.split(":", maxsplit=1)[0], CHIPS["v5e"])
    arguments = abstract_arguments(config, layout)
    began = time.perf_counter()
    traced = make_step(config, config.rates[0], layout).trace(*arguments)
    try:
        compiled = traced.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        raise UsageError(f"{topology}: the step cannot be compiled: {str(error)[:1500]}") from error
    seconds = time.perf_counter() - began
    memory: Any = compiled.memory_analysis()
    flops = bf16_flops(traced.jaxpr) / layout.devices
    moved = collectives(compiled.as_text() or "")
    arithmetic_s, link_s = flops / (chip.flops * utilisation), moved.wire_bytes / chip.link_bytes
    state = arguments[0]
    peak = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes
    )
    return {
        "topology": topology,
        "chips": layout.devices,
        "batch": phases(config)[-1].batch,
        "parameters": _chip_bytes(state.params),
        "moments": _chip_bytes(state.opt_state),
        "codebooks": _chip_bytes((state.codebooks, state.averages)),
        "batch_and_reference": _chip_bytes((arguments[1], state.carry)),
        "temporary": memory.temp_size_in_bytes,
        "program": memory.generated_code_size_in_bytes,
        "peak": peak,
        "fits": str(peak <= chip.memory_bytes),
        "flops": flops,
        **{f"{kind}": size for kind, size in moved.payload_bytes.items()},
        "wire_bytes": moved.wire_bytes,
        "arithmetic_s": arithmetic_s,
        "link_s": link_s,
        "step_s": arithmetic_s + link_s,
        "compile_s": seconds,
    }


def _chip_bytes(tree: Any) -> int:
    return sum(a.dtype.itemsize * int(np.prod(a.sharding.shard_shape(a.shape))) for a in jax.tree.leaves(tree))


def _devices(topology: str) -> list[Any]:
    # Elsewhere libtpu asks a metadata server which machine it is on, and waits.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    from jax.experimental import topologies

    try:
        return list(topologies.get_topology_desc(topology, platform="tpu").devices)
    except Exception as error:  # whatever libtpu says
        raise UsageError(f"cannot compile for '{topology}': {error} (it needs {INSTALL}, and TYPE:AxB)") from error


def check_cuda(config: Config) -> int:
    """Lines of the step lowered for CUDA, on one device."""
    traced = make_step(config, config.rates[0], single()).trace(*abstract_arguments(config, single()))
    return traced.lower(lowering_platforms=("cuda",)).as_text().count("\n")


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table, a column a slice."""
    names = [name for name in rows[0] | rows[-1] if name != "topology"]
    lines = ([name, *(_shown(name, r.get(name, 0)) for r in rows)] for name in names)
    return markdown.table(["", *(f"{r['topology']}" for r in rows)], lines)


def _shown(name: str, value: Any) -> str:
    if isinstance(value, str) or name in ("chips", "batch"):
        return str(value)
    if name == "flops":
        return f"{value / 1e12:.2f} T"
    if name.endswith("_s"):
        return f"{value:.3f} s"
    return f"{value / GIB:.2f} GiB" if value > 0.1 * GIB else f"{value / (1 << 20):.2f} MiB"


def main(_: list[str]) -> None:
    config, rows = FrozenConfigDict(CONFIG.value), []
    try:
        for topology in TOPOLOGY.value:
            rows.append(analyse(config, topology, UTILISATION.value))
            print(table(rows[-1:]), flush=True)
        if CUDA.value:
            print(f"lowers for CUDA: {check_cuda(config)} lines of StableHLO")
        if len(rows) > 1:
            print(table(rows))
        if OUT.value:
            write_whole(Path(OUT.value), json.dumps(rows, indent=1) + "\n")
    except CbvcError as error:
        sys.exit(f"aot: {error}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config"])
    app.run(main)
