"""TFLite in LiteRT, on the CPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from cbvc_jax.export.backends import Steps
from cbvc_jax.export.manifest import Manifest


def load(folder: Path, manifest: Manifest) -> Steps:
    """The steps of every kind of frame."""
    interpreters = {
        kind: Interpreter(str(folder / file), num_threads=os.cpu_count()) for kind, file in manifest.programs.items()
    }
    for interpreter in interpreters.values():
        interpreter.allocate_tensors()

    def run(kind: str, arguments: dict[str, Any]) -> tuple[np.ndarray, Any]:
        interpreter = interpreters[kind]
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], arguments[detail["name"]])
        interpreter.invoke()
        # Outputs have lost their names; a picture has three channels, latents have more.
        out = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
        x_hat, y_hat = sorted(out, key=lambda tensor: tensor.shape[-1])
        return x_hat, y_hat

    return run
