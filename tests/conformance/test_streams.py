"""Streams that were made once decode as they did then: on JAX, and on every runtime that is installed."""

from __future__ import annotations

import numpy as np
import pytest

import cbvc_jax
from cbvc_jax.export.backends import BACKENDS, open_backend
from cbvc_jax.geometry import WAYS

from .check import FOLDER, check, load_facts, records_of
from .write import STREAMS


def records(name):
    return records_of(FOLDER / f"{name}.cbv")


def test_the_streams_are_those_of_the_bundled_models():
    streams = load_facts()["streams"]
    assert list(streams) == list(STREAMS)
    for name, example in STREAMS.items():
        assert streams[name]["model"] == cbvc_jax.load_model(example.model).sha256.hex(), (
            f"python -m tests.conformance.write {name} makes it again for a new model"
        )
    assert {file.stem for file in FOLDER.glob("*.cbv")} == set(STREAMS)


def test_the_stream_that_stands_still_skips_some_blocks_first_and_nearly_all_that_stand_still_in_the_end():
    skips = [record.skip for record in records("still") if record.kind == "predicted"]
    assert all(skip is not None for skip in skips)
    assert 0.0 < skips[0].mean() < 0.5
    assert skips[-1][:, :3].mean() > 0.9


def test_blocks_do_whatever_they_may_in_the_stream_that_skips_displaced_ones():
    skips = [record.skip for record in records("displaced-skipping") if record.kind == "predicted"]
    assert set(np.unique(skips)) == set(range(WAYS))


@pytest.mark.parametrize(
    ("name", "keyframes"), [("cut", [0, 4]), ("keyframes", [0, 1, 2]), ("long", [0, 96]), ("odd", [0, 3])]
)
def test_keyframes_stand_where_the_examples_want_them(name, keyframes):
    assert [i for i, record in enumerate(records(name)) if record.kind == "key"] == keyframes


# The first of all the sizes here, and what is particular in decoding.
QUICK = ("priced", "still", "displaced")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in STREAMS])
def test_a_stream_decodes_as_it_did(name):
    found = check(name)
    assert found.passed, found


@pytest.mark.parametrize(
    "backend", [b if b in {"tensorflow", "onnxruntime"} else pytest.param(b, marks=pytest.mark.slow) for b in BACKENDS]
)
@pytest.mark.parametrize(
    "name", [n if n in {"still", "displaced"} else pytest.param(n, marks=pytest.mark.slow) for n in STREAMS]
)
def test_a_stream_decodes_alike_on_other_runtimes(backend, name):
    if not BACKENDS[backend].installed:
        pytest.skip(f"{BACKENDS[backend].package} is not installed")
    found = check(name, open_backend(backend))
    assert found.passed, found
