"""Exports appear whole or not at all, and name no file of the machine that wrote them."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import pytest
from jax import export

import cbvc_jax
from cbvc_jax.errors import UsageError
from cbvc_jax.export import stablehlo
from cbvc_jax.export.backends import is_installed
from cbvc_jax.export.write import FORMATS, write_export

# IREE compiles half a minute even what is small.
SLOW = {"iree": pytest.mark.slow}


@pytest.mark.parametrize("format", [pytest.param(f, marks=SLOW.get(f, ())) for f in FORMATS])
def test_an_export_names_no_file_or_folder_of_this_machine(format, exported, tmp_path_factory):
    if not is_installed(FORMATS[format].package):
        pytest.skip(f"{FORMATS[format].package} is not installed")
    files = [f for f in exported(format).rglob("*") if f.is_file()]
    assert files
    here = [
        tmp_path_factory.getbasetemp(),
        Path(cbvc_jax.__file__).parents[1],
        sys.prefix,
        sys.base_prefix,
        Path.home(),
    ]
    # A prefix such as /usr may stand there for other reasons.
    names = [str(place).encode() for place in here if len(Path(place).parts) > 2]
    leaking = [b"cbvc_jax/", b"site-packages", *names]
    assert not [(f.name, name) for f in files for name in leaking if name in f.read_bytes()]


def test_one_artefact_serves_every_platform(exported):
    program = export.deserialize(bytearray((exported("stablehlo") / "key.stablehlo").read_bytes()))
    assert program.platforms == stablehlo.PLATFORMS
    assert [str(a.shape) for a in program.in_avals] == ["(1, 4*a, 4*b, 2)", "(1, 2*a, 2*b, 2)", "(1, a, b, 2)"]


def test_what_is_there_is_not_overwritten(tmp_path, mini):
    (tmp_path / "old").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        write_export(mini, tmp_path / "old", "stablehlo")
    with pytest.raises(UsageError, match=r"no export format 'tarball'.*stablehlo"):
        write_export(mini, tmp_path / "new", "tarball")


def test_formats_for_one_size_ask_for_it(tmp_path, mini, monkeypatch):
    monkeypatch.setattr("cbvc_jax.export.write.is_installed", lambda package: True)
    with pytest.raises(UsageError, match="--size"):
        write_export(mini, tmp_path / "new", "tflite")


def test_a_failure_leaves_nothing_behind(tmp_path, mini, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(stablehlo, "write", fail)
    before = jax.config.values["jax_traceback_in_locations_limit"]
    with pytest.raises(KeyboardInterrupt):
        write_export(mini, tmp_path / "new", "stablehlo")
    assert list(tmp_path.iterdir()) == []
    assert jax.config.values["jax_traceback_in_locations_limit"] == before
