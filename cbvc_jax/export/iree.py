"""IREE from StableHLO: native code for processors such as this one, a file a kind of frame, for frames of one size."""

from __future__ import annotations

from pathlib import Path

import jax
from iree import compiler
from jax import export

from cbvc_jax.export.steps import make_step, step_arguments, step_kinds
from cbvc_jax.weights import Model


def write(model: Model, folder: Path, size: tuple[int, int] | None) -> dict[str, str]:
    """Writes the programs into `folder`, and returns the file of each kind of frame."""
    programs = {}
    for kind in step_kinds(model):
        arguments = step_arguments(model, kind, size)
        exported = export.export(jax.jit(make_step(model, kind)), platforms=("cpu",))(*arguments.values())
        code = compiler.compile_str(
            exported.mlir_module(),
            input_type="stablehlo",
            target_backends=["llvm-cpu"],
            extra_args=["--iree-llvmcpu-target-cpu=host"],
        )
        programs[kind] = f"{kind}.vmfb"
        (folder / programs[kind]).write_bytes(code)
    return programs
