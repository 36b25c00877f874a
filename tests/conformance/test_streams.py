"""Streams that were made once decode as they did then: on JAX, and on every runtime that is installed."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

import cbvc_jax
from cbvc_jax.export.backends import BACKENDS, open_backend

from .write import FOLDER, STREAMS, decoded

EQUAL_SHARE = 0.995
"""Of the values that must be the same; the others may differ by a level, where rounding went the other way."""


@pytest.fixture(scope="module")
def model():
    return cbvc_jax.load_model()


def expected(name: str) -> np.ndarray:
    return np.asarray(Image.open(FOLDER / f"{name}.png"))


def assert_same_pictures(shown: np.ndarray, name: str) -> None:
    difference = np.abs(shown.astype(int) - expected(name))
    assert difference.max() <= 1
    assert np.mean(difference == 0) >= EQUAL_SHARE


def test_the_streams_are_those_of_the_bundled_model(model):
    facts = json.loads((FOLDER / "streams.json").read_text())
    assert facts["model"] == model.sha256.hex(), "python -m tests.conformance.write makes them again for a new model"
    assert list(facts["streams"]) == list(STREAMS)
    assert {file.stem for file in FOLDER.glob("*.cbv")} == set(STREAMS)


def test_the_stream_that_stands_still_skips_some_blocks_first_and_all_that_stand_still_in_the_end():
    with (FOLDER / "still.cbv").open("rb") as file:
        skips = [record.skip for record in cbvc_jax.StreamReader(file) if record.kind == "predicted"]
    assert all(skip is not None for skip in skips)
    assert 0.0 < skips[0].mean() < 0.5
    assert skips[-1][:, :3].all()


QUICK = ("priced", "still")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in STREAMS])
def test_a_stream_decodes_as_it_did(model, name):
    assert_same_pictures(decoded((FOLDER / f"{name}.cbv").read_bytes(), model), name)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS.values(), ids=list(BACKENDS))
@pytest.mark.parametrize("name", ["still", "odd"])
def test_a_stream_decodes_alike_on_other_runtimes(backend, name):
    if not backend.installed:
        pytest.skip(f"{backend.package} is not installed")
    stream = io.BytesIO((FOLDER / f"{name}.cbv").read_bytes())
    frames = [frame.rgb for frame in cbvc_jax.StreamDecoder(stream, decoder=open_backend(backend.name))]
    assert_same_pictures(np.concatenate(frames), name)
