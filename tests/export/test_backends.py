"""Every backend shows what JAX shows, within one 8-bit level, for frames of any size and without JAX's help."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from cbvc_jax.bitstream import StreamReader
from cbvc_jax.errors import ModelError, UsageError
from cbvc_jax.export import backends
from cbvc_jax.export.backends import BACKENDS, ExportedDecoder, default_backend, fill, open_backend, open_export
from cbvc_jax.export.manifest import read_manifest
from cbvc_jax.export.write import write_export
from cbvc_jax.geometry import MOVES, STAYS, stage_grids
from cbvc_jax.stream import StreamDecoder

from .conftest import SIZE


def _marks(backend):
    missing = pytest.mark.skipif(not backend.installed, reason=f"{backend.package} is not installed")
    # IREE compiles half a minute even what is small.
    return [missing, pytest.mark.slow] if backend.name == "iree" else [missing]


NAMES = [pytest.param(b.name, marks=_marks(b)) for b in BACKENDS.values()]


def decode(file, **options) -> np.ndarray:
    with file.open("rb") as opened:
        return np.stack([frame.rgb for frame in StreamDecoder(opened, **options)])


@pytest.mark.parametrize("name", NAMES)
def test_a_backend_agrees_with_jax(name, mini, stream, exported):
    expected = decode(stream, model=mini)
    shown = decode(stream, decoder=open_export(name, exported(BACKENDS[name].format)))
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).max() <= 1
    assert np.mean(shown == expected) > 0.999
    # Not one flat picture.
    assert expected.std() > 1.0


@pytest.mark.parametrize("name", [n for n in NAMES if n.values[0] != "jax-export"])
def test_a_backend_decodes_where_jax_cannot_be_imported(name, stream, exported):
    script = f"""
import sys
sys.modules["jax"] = sys.modules["flax"] = None
from cbvc_jax.export.backends import open_export
from cbvc_jax.stream import StreamDecoder
with open({str(stream)!r}, "rb") as file:
    print(sum(1 for _ in StreamDecoder(file, decoder=open_export({name!r}, {str(exported(BACKENDS[name].format))!r}))))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "5", done.stderr


def test_the_grids_are_filled_as_the_codec_fills_them():
    indices = np.arange(12, dtype=np.uint16).reshape(2, 2, 3)
    full = fill(indices, (4, 4))
    assert full.shape == (2, 4, 4)
    assert full.dtype == np.int32
    np.testing.assert_array_equal(full[0], [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]])


def test_a_predicted_frame_needs_the_one_before(exported):
    steps = BACKENDS["jax-export"].load(exported("stablehlo"), read_manifest(exported("stablehlo")))
    empty = [np.zeros((2, 1, 1), np.uint16)] * 3
    with pytest.raises(UsageError, match="starts at a keyframe"):
        ExportedDecoder(steps, 16, 16).push("low", empty)


def test_blocks_that_move_need_a_model_with_displacements(exported, stream):
    """As on JAX."""
    with stream.open("rb") as file:
        decoder = open_export("jax-export", exported("stablehlo"))(StreamReader(file).header)
    height, width = stage_grids(*SIZE)[0]
    maps = tuple(np.zeros((2, *grid), np.uint16) for grid in stage_grids(*SIZE))
    decoder.push("key", maps)
    decoder.push("high", maps, np.full((height, width), STAYS, np.uint8))
    with pytest.raises(UsageError, match="no displacements"):
        decoder.push("high", maps, np.full((height, width), MOVES, np.uint8))


def test_an_export_for_one_size_refuses_another(tmp_path, mini, stream):
    folder = tmp_path / "fixed"
    manifest = write_export(mini, folder, "stablehlo", (64, 64))
    assert manifest.size == (64, 64)
    with pytest.raises(ModelError, match="padded to 64x64, and this stream's are 128x64"):
        decode(stream, decoder=open_export("jax-export", folder))


def test_an_export_of_another_model_is_refused(tmp_path, stream, exported):
    folder = tmp_path / "other"
    folder.mkdir()
    manifest = read_manifest(exported("stablehlo"))
    dataclasses.replace(manifest, model_sha256="00" * 32).write(folder)
    for file in manifest.programs.values():
        (folder / file).write_bytes((exported("stablehlo") / file).read_bytes())
    with pytest.raises(ModelError, match="made with model"):
        decode(stream, decoder=open_export("jax-export", folder))


def test_what_is_missing_is_said(tmp_path, monkeypatch, exported):
    with pytest.raises(UsageError, match=r"no backend 'cuda'.*jax-export"):
        open_backend("cuda")
    with pytest.raises(ModelError, match="holds no exported decoder"):
        open_export("jax-export", tmp_path)
    with pytest.raises(UsageError, match="runs exports of format onnx, not stablehlo"):
        monkeypatch.setattr(backends.Backend, "installed", True)
        open_export("openvino", exported("stablehlo"))
    monkeypatch.setattr(backends.Backend, "installed", False)
    with pytest.raises(UsageError, match=r"pip install 'cbvc-jax\[onnx\]'"):
        open_backend("onnxruntime")
    with pytest.raises(UsageError, match="no backend is installed"):
        default_backend(exported("stablehlo"))


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"version": 1}', '{"version": 2, "size": null}'])
def test_a_damaged_manifest_is_an_error_in_words(tmp_path, damage):
    (tmp_path / "manifest.json").write_text(damage)
    with pytest.raises(ModelError, match=r"damaged|only 2 is known"):
        read_manifest(tmp_path)
