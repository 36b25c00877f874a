"""A StableHLO artefact on whatever device JAX finds, without the code of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from cbvc_jax.export.backends import Steps
from cbvc_jax.export.manifest import Manifest


def load(folder: Path, manifest: Manifest) -> Steps:
    """The steps of every kind of frame."""
    programs = {
        kind: jax.jit(export.deserialize(bytearray((folder / file).read_bytes())).call)
        for kind, file in manifest.programs.items()
    }

    def run(kind: str, indices: Any, y_ref: Any) -> tuple[np.ndarray, Any]:
        x_hat, y_hat = programs[kind](*indices, *(() if y_ref is None else (y_ref,)))
        return np.asarray(x_hat), y_hat

    return run
