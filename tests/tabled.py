"""A model with initial tables of index coding, counted in frames that it codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cbvc_jax.bitstream import CheckedTables, table_of_counts
from cbvc_jax.codec import Encoder
from cbvc_jax.presets import KEYFRAME
from cbvc_jax.weights import Model, load_model, save_model


def counted(model: Model, frames: np.ndarray, rates: tuple[str, ...]) -> CheckedTables:
    """Tables from the indices of `frames` at some rates, every third a keyframe; those of other rates say nothing."""
    kinds = (KEYFRAME, *model.preset.rates)
    counts = {kind: [np.zeros((2, size)) for size in model.preset.codebook_sizes(kind)] for kind in kinds}
    for rate in rates:
        encoder = Encoder(model, *frames.shape[1:3], rate=rate, gop=3)
        for frame in frames:
            coded = encoder.push(frame)
            for count, maps in zip(counts[coded.rate], coded.indices, strict=True):
                for g in range(2):
                    count[g] += np.bincount(maps[g].ravel(), minlength=count.shape[1])
    return {kind: tuple(map(table_of_counts, stages)) for kind, stages in counts.items()}


def with_tables(model: Model, frames: np.ndarray, folder: Path, rates: tuple[str, ...] = ("low",)) -> Model:
    """The model with tables, read from `folder`, where it is written to."""
    save_model(folder, model.preset, model.params, model.codebooks, "# tables\n", counted(model, frames, rates))
    return load_model(folder)
