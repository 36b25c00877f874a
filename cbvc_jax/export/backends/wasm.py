"""ONNX in onnxruntime-web: WebAssembly under Node, in a process beside this one (wasm.mjs)."""

from __future__ import annotations

import json
import struct
import subprocess
import tempfile
import weakref
from pathlib import Path
from typing import IO, Any

import numpy as np

from cbvc_jax.errors import CbvcError
from cbvc_jax.export.backends import Steps, node_folder
from cbvc_jax.export.manifest import Manifest

SCRIPT = Path(__file__).with_suffix(".mjs")
DTYPES = {"int32": "<i4", "float32": "<f4"}


class WasmError(CbvcError):
    """The Node process that runs the decoder ended or could not go on."""


def load(folder: Path, manifest: Manifest) -> Steps:
    """The steps of every kind of frame; WasmError if Node cannot run them."""
    return _Node(folder, manifest)


class _Node:
    """The process: started here, asked once a frame, ended with this object."""

    def __init__(self, folder: Path, manifest: Manifest):
        programs = [f"{kind}={folder / file}" for kind, file in manifest.programs.items()]
        command = ["node", str(SCRIPT), str(node_folder()), *programs]
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints
        )
        weakref.finalize(self, _end, self._process, self._complaints)
        self._answer()

    def __call__(self, kind: str, arguments: dict[str, Any]) -> tuple[np.ndarray, Any]:
        fields = [{"name": name, "type": str(a.dtype), "dims": a.shape} for name, a in arguments.items()]
        request = json.dumps({"kind": kind, "tensors": fields}).encode()
        try:
            self._stdin.write(struct.pack("<I", len(request)) + request)
            for array in arguments.values():
                self._stdin.write(array.astype(DTYPES[str(array.dtype)], order="C").data)
            self._stdin.flush()
        except OSError:
            self._fail()
        x_hat, y_hat = (
            np.frombuffer(self._read(4 * int(np.prod(dims))), "<f4").reshape(dims) for dims in self._answer()["dims"]
        )
        return x_hat, y_hat

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _answer(self) -> dict[str, Any]:
        (length,) = struct.unpack("<I", self._read(4))
        return json.loads(self._read(length))

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if len(data) < size:
            self._fail()
        return data

    def _fail(self) -> None:
        status = self._process.wait()
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        told = [line for line in lines if "Error" in line] or lines or ["it said nothing"]
        raise WasmError(f"node ended with status {status}: {told[-1].strip()}")


def _end(process: subprocess.Popen[bytes], complaints: IO[bytes]) -> None:
    process.kill()
    process.communicate()
    complaints.close()
