"""ONNX through jax2onnx: one file a kind of frame, for onnxruntime, onnxruntime-web, OpenVINO and others."""

from __future__ import annotations

from pathlib import Path

import jax2onnx
import onnx

from cbvc_jax.export.steps import make_step, step_arguments, step_kinds
from cbvc_jax.weights import Model


def write(model: Model, folder: Path, size: tuple[int, int] | None) -> dict[str, str]:
    """Writes the programs into `folder`, and returns the file of each kind of frame."""
    programs = {}
    for kind in step_kinds(model):
        arguments = step_arguments(model, kind, size)
        proto = jax2onnx.to_onnx(
            make_step(model, kind),
            inputs=list(arguments.values()),
            model_name=f"cbvc_{kind}",
            input_names=list(arguments),
            output_names=["x_hat", "y_hat"],
        )
        programs[kind] = f"{kind}.onnx"
        onnx.save(proto, str(folder / programs[kind]))
    return programs
