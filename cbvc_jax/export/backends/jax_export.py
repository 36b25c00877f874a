"""A StableHLO artefact on whatever device JAX finds, without the code of the model."""

from __future__ import annotations

from pathlib import Path

import jax
from jax import export

from cbvc_jax.export.backends import Steps, as_steps
from cbvc_jax.export.manifest import Manifest


def load(folder: Path, manifest: Manifest) -> Steps:
    """The steps of every kind of frame."""
    return as_steps(
        {
            kind: jax.jit(export.deserialize(bytearray((folder / file).read_bytes())).call)
            for kind, file in manifest.programs.items()
        }
    )
