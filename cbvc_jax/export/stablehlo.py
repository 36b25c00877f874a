"""StableHLO through `jax.export`: one artefact a kind of frame, for CPU, CUDA, ROCm and TPU alike.

JAX promises to read an artefact for six months; models and streams last, exports are made again.
"""

from __future__ import annotations

from pathlib import Path

import jax
from jax import export

from cbvc_jax.export.steps import make_step, step_arguments, step_kinds
from cbvc_jax.weights import Model

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def write(model: Model, folder: Path, size: tuple[int, int] | None) -> dict[str, str]:
    """Writes the programs into `folder`, and returns the file of each kind of frame."""
    programs = {}
    for kind in step_kinds(model):
        arguments = step_arguments(model, kind, size)
        exported = export.export(jax.jit(make_step(model, kind)), platforms=PLATFORMS)(*arguments.values())
        programs[kind] = f"{kind}.stablehlo"
        (folder / programs[kind]).write_bytes(exported.serialize())
    return programs
