"""A model that exports in seconds, and a stream of it."""

from __future__ import annotations

import dataclasses
import io
from fractions import Fraction
from pathlib import Path

import jax
import numpy as np
import pytest

from cbvc_jax.bitstream import StreamWriter, fill_skipped, summarize
from cbvc_jax.codec import Encoder, stream_header
from cbvc_jax.export.backends import BACKENDS
from cbvc_jax.export.write import write_export
from cbvc_jax.geometry import stage_grids
from cbvc_jax.model import init_params
from cbvc_jax.video import VideoInfo
from cbvc_jax.weights import Model, load_model, save_model
from tests.tabled import with_tables

SIZE = (50, 70)


@pytest.fixture(scope="session")
def mini(tmp_path_factory, mini_preset, moving) -> Model:
    """Random weights, with initial tables of index coding."""
    folder = tmp_path_factory.mktemp("models") / "mini"
    save_model(folder, mini_preset, *init_params(jax.random.key(1), mini_preset), "# mini\n")
    return with_tables(load_model(folder), moving(5, *SIZE), folder.with_name("tabled"), ("high", "low"))


@pytest.fixture(scope="session")
def stream(tmp_path_factory, mini, moving) -> Path:
    """Five frames of 70x50 in GOPs of four, the rate changing, with skipped blocks."""
    file = tmp_path_factory.mktemp("stream") / "mini.cbv"
    encoder = Encoder(mini, *SIZE, gop=4)
    info = VideoInfo(SIZE[1], SIZE[0], Fraction(1, 25), Fraction(25))
    data = io.BytesIO()
    # Which blocks an encoder would skip for random weights is chance; where most are, differences stay small.
    skip = np.ones(stage_grids(*SIZE)[0], bool)
    skip[0, 0] = False
    with StreamWriter(data, stream_header(mini, info, 4, "skipping"), mini.tables) as writer:
        for i, frame in enumerate(moving(5, *SIZE)):
            coded = encoder.push(frame, rate=("high", "low")[i % 2])
            if coded.kind == "predicted":
                coded = dataclasses.replace(coded, skip=skip, indices=fill_skipped(coded.indices, skip, None))
            writer.write(coded.kind, coded.rate, i, coded.indices, coded.skip)
    file.write_bytes(data.getvalue())
    data.seek(0)
    assert "adaptive-tables" in summarize(data).frames_by_coding
    return file


@pytest.fixture(scope="session")
def exported(tmp_path_factory, mini):
    """exported(format): the folder of the mini model in that format, made once."""
    made: dict[str, Path] = {}
    any_size = {backend.format: backend.any_size for backend in BACKENDS.values()}

    def make(format: str) -> Path:
        if format not in made:
            folder = tmp_path_factory.mktemp("exports") / format
            write_export(mini, folder, format, None if any_size[format] else SIZE)
            made[format] = folder
        return made[format]

    return make
