"""Models on disk: what is read is what was written, names and copies do not matter, damage is told in words."""

from __future__ import annotations

import json
import shutil
import struct

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cbvc_jax.errors import ModelError
from cbvc_jax.weights import (
    CARD_FILE,
    WEIGHTS_FILE,
    file_identity,
    find_model,
    flatten,
    installed_models,
    load_model,
    save_model,
)


@pytest.fixture
def folder(tmp_path, model_folder):
    """A copy of the random model that a test may harm."""
    return shutil.copytree(model_folder, tmp_path / "copy")


def metadata_of(file) -> dict[str, str]:
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length])["__metadata__"]


def rewrite(folder, change) -> None:
    """Writes the model again after `change(tensors, metadata)`."""
    file = folder / WEIGHTS_FILE
    tensors, metadata = load_file(file), metadata_of(file)
    change(tensors, metadata)
    save_file(tensors, file, metadata)


def test_what_is_written_is_read(tmp_path, model):
    preset, codebooks = model.preset, model.codebooks
    params = jax.tree.map(lambda x: x + 1e-3, model.params)
    identity = save_model(tmp_path / "m", preset, params, codebooks, "# card\n")
    model = load_model(tmp_path / "m")
    assert (model.sha256, model.preset, model.path) == (identity, preset, tmp_path / "m")
    assert (tmp_path / "m" / CARD_FILE).read_text() == "# card\n"
    written, read = flatten(params, codebooks), flatten(model.params, model.codebooks)
    assert list(written) == list(read)
    for name, value in written.items():
        assert read[name].dtype == np.float32
        np.testing.assert_array_equal(read[name], np.asarray(value, np.float16).astype(np.float32))
    assert save_model(tmp_path / "again", preset, model.params, model.codebooks, "") == identity
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == [CARD_FILE, WEIGHTS_FILE]


def test_tensors_are_written_whatever_their_order_in_memory(tmp_path, model):
    params = jax.tree.map(np.asfortranarray, model.params)
    assert save_model(tmp_path / "columns", model.preset, params, model.codebooks, "") == model.sha256
    assert load_model(tmp_path / "columns").sha256 == model.sha256


def test_identity_is_that_of_the_tensors_not_of_the_file(folder, model):
    def reorder(tensors, metadata):
        items = list(tensors.items())[::-1]
        tensors.clear()
        tensors.update(items)
        metadata["note"] = "written again"
        preset = json.loads(metadata["preset"])
        metadata["preset"] = json.dumps(dict(list(preset.items())[::-1]) | {"name": "renamed"}, indent=1)

    before = (folder / WEIGHTS_FILE).read_bytes()
    rewrite(folder, reorder)
    assert (folder / WEIGHTS_FILE).read_bytes() != before
    assert file_identity(folder / WEIGHTS_FILE) == model.sha256
    assert load_model(folder.rename(folder.with_name("moved"))).sha256 == model.sha256


def test_identity_changes_with_any_number(folder, model):
    def nudge(tensors, _):
        name = sorted(tensors)[len(tensors) // 2]
        flat = tensors[name].reshape(-1)
        flat[-1] = np.nextafter(flat[-1], np.float16(2))

    rewrite(folder, nudge)
    assert load_model(folder).sha256 != model.sha256


def _poison(tensors, _):
    tensors[sorted(tensors)[0]].reshape(-1)[0] = np.nan


def _reshape(tensors, _):
    name = sorted(tensors)[0]
    tensors[name] = tensors[name][..., None]


def _widen(tensors, _):
    name = sorted(tensors)[0]
    tensors[name] = tensors[name].astype(np.float32)


def _drop(tensors, _):
    del tensors[sorted(tensors)[0]]


def _add(tensors, _):
    tensors["params/more"] = np.zeros(3, np.float16)


def _other_preset(_, metadata):
    metadata["preset"] = json.dumps(json.loads(metadata["preset"]) | {"latent_channels": 64})


def _unknown_field(_, metadata):
    metadata["preset"] = json.dumps(json.loads(metadata["preset"]) | {"flavour": 1})


def _no_preset(_, metadata):
    del metadata["preset"]


def _list_preset(_, metadata):
    metadata["preset"] = "[1, 2]"


def _negative_preset(_, metadata):
    metadata["preset"] = json.dumps(json.loads(metadata["preset"]) | {"latent_channels": -8})


def _text_preset(_, metadata):
    metadata["preset"] = json.dumps(json.loads(metadata["preset"]) | {"heads": "many"})


def _endless_preset(_, metadata):
    metadata["preset"] = json.dumps(json.loads(metadata["preset"]) | {"decoder_depth": 10**9})


def _foreign_preset(_, metadata):
    metadata["preset"] = json.dumps(json.loads(metadata["preset"]) | {"blocks": "wooden"})


def _displacing_preset(_, metadata):
    metadata["preset"] = json.dumps(json.loads(metadata["preset"]) | {"context": "displacement"})


def _other_format(_, metadata):
    metadata["format"] = "someone-else"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_poison, "not finite"),
        (_reshape, "tensor"),
        (_widen, "float32"),
        (_drop, "does not fit its preset"),
        (_add, "does not fit its preset"),
        (_other_preset, "model file"),
        (_unknown_field, "damaged"),
        (_no_preset, "damaged"),
        (_list_preset, "damaged"),
        (_negative_preset, "latent_channels"),
        (_text_preset, "heads"),
        (_endless_preset, "decoder_depth"),
        (_foreign_preset, "blocks"),
        (_displacing_preset, "16 channels for latents that are pictures"),
        (_other_format, "not a model of this project"),
    ],
)
def test_a_model_that_is_not_right_is_refused(folder, change, words):
    rewrite(folder, change)
    with pytest.raises(ModelError, match=words):
        load_model(folder)


def tables_of(preset, entry=3):
    kinds = {"key": preset.key_sizes, **dict(preset.predicted_sizes)}
    return {kind: tuple(np.full((2, k), entry, np.uint16) for k in sizes) for kind, sizes in kinds.items()}


@pytest.fixture
def tabled(tmp_path, model):
    """The folder of a model with initial tables."""
    arguments = model.preset, model.params, model.codebooks, "# tables\n"
    save_model(tmp_path / "tabled", *arguments, tables_of(model.preset))
    return tmp_path / "tabled"


def test_tables_are_read_as_they_were_written_and_belong_to_the_identity(tabled, tmp_path, model):
    read, wanted = load_model(tabled), tables_of(model.preset)
    assert read.tables is not None
    assert read.tables.keys() == wanted.keys()
    for kind, stages in wanted.items():
        for a, b in zip(read.tables[kind], stages, strict=True):
            assert a.dtype == np.uint16
            np.testing.assert_array_equal(a, b)
    assert read.sha256 == file_identity(tabled / WEIGHTS_FILE)
    arguments = read.preset, read.params, read.codebooks, ""
    others = [save_model(tmp_path / "m", *arguments, t) for t in (read.tables, tables_of(read.preset, 4), None)]
    assert others[0] == read.sha256
    assert others[2] == model.sha256
    assert len(set(others)) == 3


def _tables_without_one(tensors, _):
    del tensors["tables/high/1"]


def _tables_of_another_rate(tensors, _):
    tensors["tables/best/0"] = tensors["tables/high/0"]


def _tables_in_bytes(tensors, _):
    tensors["tables/key/0"] = tensors["tables/key/0"].astype(np.uint8)


def _tables_in_floats(tensors, _):
    tensors["tables/key/0"] = tensors["tables/key/0"].astype(np.float16)


def _tables_too_short(tensors, _):
    tensors["tables/key/0"] = tensors["tables/key/0"][:, 1:]


def _tables_flat(tensors, _):
    tensors["tables/key/0"] = tensors["tables/key/0"].reshape(-1)


def _tables_with_a_zero(tensors, _):
    tensors["tables/low/2"][1, -1] = 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_tables_without_one, "does not fit its preset.*tables/high/1"),
        (_tables_of_another_rate, "does not fit its preset.*tables/best/0"),
        (_tables_in_bytes, "'tables/key/0' is uint8"),
        (_tables_in_floats, "'tables/key/0' is float16"),
        (_tables_too_short, "needs 2 initial tables of 32"),
        (_tables_flat, "'tables/key/0' is uint16"),
        (_tables_with_a_zero, "not in 1 .. 65535"),
    ],
)
def test_tables_that_are_not_right_are_refused(tabled, change, words):
    rewrite(tabled, change)
    with pytest.raises(ModelError, match=words):
        load_model(tabled)


def test_tables_that_do_not_fit_are_not_written(tmp_path, model):
    tables = tables_of(model.preset, 0)
    with pytest.raises(ModelError, match=r"1 .. 65535; the model is not written"):
        save_model(tmp_path / "m", model.preset, model.params, model.codebooks, "", tables)
    assert not (tmp_path / "m" / WEIGHTS_FILE).exists()


def test_the_bundled_model_has_tables():
    assert load_model("tiny").tables is not None


@pytest.mark.parametrize("length", [0, 5, 8, 200, 100_000, -1])
def test_a_file_that_was_cut_is_refused(folder, length):
    file = folder / WEIGHTS_FILE
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ModelError, match="damaged"):
        load_model(folder)


def test_a_header_of_absurd_length_is_refused(folder):
    file = folder / WEIGHTS_FILE
    file.write_bytes(b"\xff" * 8 + file.read_bytes()[8:])
    with pytest.raises(ModelError, match="damaged"):
        load_model(folder)


def test_values_beyond_float16_are_not_written(tmp_path, model):
    params = jax.tree.map(lambda x: x + 1e9, model.params)
    with pytest.raises(ModelError, match="not finite"):
        save_model(tmp_path / "m", model.preset, params, model.codebooks, "")
    assert not (tmp_path / "m" / WEIGHTS_FILE).exists()


def test_models_are_found_in_the_folders_of_the_variable(folder, model, monkeypatch, tmp_path):
    monkeypatch.setenv("CBVC_MODELS", f"{tmp_path / 'nowhere'}:{tmp_path}:")
    assert installed_models()["copy"] == folder
    assert find_model(model.sha256).sha256 == model.sha256
    assert load_model("copy").path == folder
    with pytest.raises(ModelError, match=f"copy {model.sha256.hex()[:12]}"):
        find_model(bytes(32))


def test_a_damaged_neighbour_does_not_hide_a_model(folder, model, monkeypatch, tmp_path):
    monkeypatch.setenv("CBVC_MODELS", str(tmp_path))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / WEIGHTS_FILE).write_bytes(b"broken")
    assert find_model(model.sha256).path == folder


def test_an_unknown_name_is_told(tmp_path):
    with pytest.raises(ModelError, match="no model 'nothing'"):
        load_model("nothing")
    with pytest.raises(ModelError, match=WEIGHTS_FILE):
        load_model(tmp_path)
