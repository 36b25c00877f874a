"""ONNX in onnxruntime, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from cbvc_jax.export.backends import Steps
from cbvc_jax.export.manifest import Manifest


def load(folder: Path, manifest: Manifest) -> Steps:
    """The steps of every kind of frame."""
    sessions = {
        kind: ort.InferenceSession(str(folder / file), providers=["CPUExecutionProvider"])
        for kind, file in manifest.programs.items()
    }

    def run(kind: str, arguments: dict[str, Any]) -> tuple[np.ndarray, Any]:
        x_hat, y_hat = sessions[kind].run(["x_hat", "y_hat"], arguments)
        return np.asarray(x_hat), y_hat

    return run
