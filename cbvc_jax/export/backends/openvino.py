"""ONNX in OpenVINO, on the CPU. Without the hint it computes in bfloat16 where the processor can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from cbvc_jax.export.backends import Steps
from cbvc_jax.export.manifest import Manifest


def load(folder: Path, manifest: Manifest) -> Steps:
    """The steps of every kind of frame."""
    core = ov.Core()
    programs = {
        kind: core.compile_model(str(folder / file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        for kind, file in manifest.programs.items()
    }

    def run(kind: str, arguments: dict[str, Any]) -> tuple[np.ndarray, Any]:
        out = programs[kind](arguments)
        return np.array(out["x_hat"]), np.array(out["y_hat"])

    return run
