"""The process beside ours: what is missing or goes wrong there is told here, at once."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from cbvc_jax.errors import UsageError
from cbvc_jax.export.backends import BACKENDS, ExportedDecoder, open_backend
from cbvc_jax.export.manifest import read_manifest

WASM = BACKENDS["wasm"]
needs_node = pytest.mark.skipif(not WASM.installed, reason="node or its package onnxruntime-web is not installed")


def test_a_missing_package_is_told_with_the_command_that_installs_it(tmp_path, monkeypatch):
    (tmp_path / "node").write_text("#!/bin/sh\n")
    (tmp_path / "node").chmod(0o755)
    monkeypatch.setenv("CBVC_NODE", str(tmp_path / "here"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        UsageError, match=rf"^backend 'wasm' needs .*: npm install --prefix {tmp_path}/here onnxruntime-web@"
    ):
        open_backend("wasm")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match=r"install Node\.js 20 or later .*, then npm install"):
        open_backend("wasm")


@needs_node
def test_a_program_that_cannot_be_read_is_told(tmp_path, exported):
    from cbvc_jax.export.backends.wasm import WasmError

    manifest = read_manifest(exported("onnx"))
    for file in manifest.programs.values():
        (tmp_path / file).write_bytes(b"no model")
    with pytest.raises(WasmError, match=r"node ended with status 1: .*Error"):
        WASM.load(tmp_path, manifest)


@needs_node
def test_a_process_that_dies_ends_in_an_error(exported):
    from cbvc_jax.export.backends.wasm import WasmError

    steps = WASM.load(exported("onnx"), read_manifest(exported("onnx")))
    decoder = ExportedDecoder(steps, 64, 64)
    maps = [np.zeros((2, n, n), np.uint16) for n in (4, 2, 1)]
    assert decoder.push("key", maps).shape == (64, 64, 3)
    os.kill(steps._process.pid, signal.SIGKILL)
    with pytest.raises(WasmError, match="node ended with status -9"):
        decoder.push("low", maps)
