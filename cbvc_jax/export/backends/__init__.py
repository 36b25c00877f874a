"""Runtimes that run an exported decoder, one file each. None of them imports JAX, but for the one that is JAX's own."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float, Int32, UInt8, UInt16

from cbvc_jax.bitstream import IndexTables, Skip, StreamHeader, check_blocks
from cbvc_jax.cache import cache_folder
from cbvc_jax.errors import ModelError, UsageError
from cbvc_jax.export.manifest import INDEX_NAMES, REFERENCE_NAMES, Manifest, read_manifest, read_tables
from cbvc_jax.export.manifest import VERSION as MANIFEST_VERSION
from cbvc_jax.geometry import padded_size, stage_grids
from cbvc_jax.presets import KEYFRAME

if TYPE_CHECKING:
    from cbvc_jax.weights import Model

IndexMaps = Sequence[UInt16[np.ndarray, "g rows cols"]]


class Steps(Protocol):
    """A runtime with one model's steps loaded. `y_hat` is whatever the runtime keeps a tensor in."""

    def __call__(self, kind: str, arguments: dict[str, Any]) -> tuple[Float[np.ndarray, "1 h w 3"], Any]:
        """(x_hat in 8-bit levels, y_hat) of one frame.

        Args:
          kind: "key" or the name of a rate.
          arguments: of the step (`cbvc_jax.export.steps`) in order, by name: arrays, but "y_ref", the last y_hat.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Backend:
    """One runtime.

    Attributes:
      name: of the backend, and of its module here.
      format: that it reads.
      package: that must be there.
      extra: that installs the package.
      any_size: one export serves frames of any size.
    """

    name: str
    format: str
    package: str
    extra: str
    any_size: bool = True

    @property
    def installed(self) -> bool:
        return is_installed(self.package)

    @property
    def how_to_install(self) -> str:
        return f"pip install 'cbvc-jax[{self.extra}]'"

    def check(self) -> None:
        """Returns nothing; UsageError if the runtime is not installed."""
        if not self.installed:
            raise UsageError(f"backend '{self.name}' needs the package {self.package}: {self.how_to_install}")

    def load(self, folder: Path, manifest: Manifest) -> Steps:
        """The steps of the export in `folder`; UsageError if the runtime is not installed or runs another format."""
        self.check()
        if manifest.format != self.format:
            raise UsageError(f"backend '{self.name}' runs exports of format {self.format}, not {manifest.format}")
        module = importlib.import_module(f"cbvc_jax.export.backends.{self.name.replace('-', '_')}")
        return module.load(folder, manifest)


@dataclasses.dataclass(frozen=True)
class NodeBackend(Backend):
    """A runtime that is a package of npm; it takes `node` on the path, too."""

    version: str = ""

    @property
    def installed(self) -> bool:
        return shutil.which("node") is not None and (node_folder() / "node_modules" / self.package).is_dir()

    @property
    def how_to_install(self) -> str:
        node = "" if shutil.which("node") else "install Node.js 20 or later (its command is node), then "
        return f"{node}npm install --prefix {shlex.quote(str(node_folder()))} {self.package}@{self.version}"


def node_folder() -> Path:
    """The folder that npm installs into: $CBVC_NODE, or one in the user's cache."""
    return Path(os.environ.get("CBVC_NODE") or cache_folder() / "node").absolute()


BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("jax-export", "stablehlo", "jax", "export"),
        # One for any size checks shapes in a way that TensorFlow up to 2.21 cannot read from JAX 0.11 and later.
        Backend("tensorflow", "savedmodel", "tensorflow", "tensorflow", any_size=False),
        Backend("onnxruntime", "onnx", "onnxruntime", "onnx"),
        Backend("openvino", "onnx", "openvino", "openvino"),
        NodeBackend("wasm", "onnx", "onnxruntime-web", "onnx", version="1.30.0"),
        Backend("litert", "tflite", "ai_edge_litert", "litert", any_size=False),
        Backend("iree", "iree", "iree.runtime", "iree", any_size=False),
    )
}


def is_installed(package: str) -> bool:
    """Whether `import package` would find something; a dotted name is looked for in its parent."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


MakeDecoder = Callable[[StreamHeader], "ExportedDecoder"]


def get_backend(name: str) -> Backend:
    """The backend called `name`; UsageError with the known names otherwise."""
    if name not in BACKENDS:
        raise UsageError(f"there is no backend '{name}'; the backends are: jax, {', '.join(BACKENDS)}")
    return BACKENDS[name]


def default_backend(folder: str | Path) -> str:
    """The first installed backend that runs the export in `folder`; UsageError if there is none."""
    manifest = read_manifest(folder)
    able = [b for b in BACKENDS.values() if b.format == manifest.format]
    for backend in able:
        if backend.installed:
            return backend.name
    ways = " or ".join(b.how_to_install for b in able)
    raise UsageError(f"{folder} is in format {manifest.format}, for which no backend is installed: {ways}")


class ExportedDecoder:
    """Decodes one frame after the other on a backend: what `cbvc_jax.codec.Decoder` does on JAX.

    Args:
      steps: of the backend.
      height, width: of every frame, in pixels.
      tables: initial tables of index coding that the model has: those of its streams' reader.
      displaces: whether the model has displacements, so that blocks may move.
    """

    def __init__(
        self, steps: Steps, height: int, width: int, tables: IndexTables | None = None, displaces: bool = True
    ):
        self.tables = tables
        self._displaces = displaces
        self._steps, self._size = steps, (height, width)
        self._grids = stage_grids(*padded_size(height, width))
        self._y_ref: Any = None

    def push(
        self, rate: str, indices: IndexMaps, skip: Skip | None = None, *, show: bool = True
    ) -> UInt8[np.ndarray, "h w 3"] | None:
        """The next frame, or None if it is not shown; arguments and errors as of `cbvc_jax.codec.Decoder.push`."""
        x_hat = self.push_float(rate, indices, skip)
        return to_8bit(x_hat) if show else None

    def push_float(self, rate: str, indices: IndexMaps, skip: Skip | None = None) -> Float[np.ndarray, "h w 3"]:
        """The next frame in 8-bit levels, before it is rounded and clipped."""
        if rate != KEYFRAME and self._y_ref is None:
            raise UsageError("a predicted frame needs the frame before it; decoding starts at a keyframe")
        arguments: dict[str, Any] = {
            name: fill(maps, grid).transpose(1, 2, 0)[None]
            for name, maps, grid in zip(INDEX_NAMES, indices, self._grids, strict=True)
        }
        if rate != KEYFRAME:
            blocks = np.zeros(indices[0].shape[1:], np.uint8) if skip is None else skip
            check_blocks(blocks, self._displaces)
            skipped = fill(blocks[None], self._grids[0])
            arguments |= zip(REFERENCE_NAMES, (self._y_ref, skipped), strict=True)
        x_hat, self._y_ref = self._steps(rate, arguments)
        return x_hat[0, : self._size[0], : self._size[1]]


def to_8bit(x_hat: Float[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """A frame in 8-bit levels, rounded to the nearest and clipped."""
    return np.clip(np.rint(x_hat), 0.0, 255.0).astype(np.uint8)


def as_steps(programs: dict[str, Any]) -> Steps:
    """Steps from a compiled program for each kind of frame, which takes its arguments in order."""

    def run(kind: str, arguments: dict[str, Any]) -> tuple[np.ndarray, Any]:
        x_hat, y_hat = programs[kind](*arguments.values())
        return np.asarray(x_hat), y_hat

    return run


def fill(maps: UInt16[np.ndarray, "n rows cols"], grid: tuple[int, int]) -> Int32[np.ndarray, "n r c"]:
    """Maps as a step takes them: outside of what was sent, the nearest entry inside (FORMAT.md, Decoding)."""
    _, rows, columns = maps.shape
    return np.pad(maps.astype(np.int32), ((0, 0), (0, grid[0] - rows), (0, grid[1] - columns)), mode="edge")


def open_export(name: str, folder: str | Path) -> MakeDecoder:
    """What makes decoders on backend `name` from the export in `folder`, for `StreamDecoder`.

    The result takes a stream's header. It raises ModelError if the export is of another model than the stream's, or of
    another frame size.
    """
    manifest = read_manifest(folder)
    steps = get_backend(name).load(Path(folder), manifest)

    def make(header: StreamHeader) -> ExportedDecoder:
        if header.model_sha256.hex() != manifest.model_sha256:
            raise ModelError(
                f"this stream was made with model {header.model_sha256.hex()[:12]}, "
                f"but {folder} holds {manifest.model_sha256[:12]}"
            )
        padded = padded_size(header.height, header.width)
        if manifest.size is not None and manifest.size != padded:
            raise ModelError(
                f"{folder} is for frames padded to {manifest.size[1]}x{manifest.size[0]}, "
                f"and this stream's are {padded[1]}x{padded[0]}: export for that size"
            )
        tables = read_tables(folder, manifest, header)
        return ExportedDecoder(steps, header.height, header.width, tables, manifest.displaces)

    return make


def exported_model(name: str, model: Model, size: tuple[int, int]) -> Path:
    """The folder, in the user's cache, of `model` for backend `name`; it is exported if it is not there yet.

    Args:
      name: of the backend.
      model: from `load_model`.
      size: (height, width) of the frames in pixels, for formats that are for one size.
    """
    backend = get_backend(name)
    backend.check()
    folder = _cached(backend, model.sha256, size)
    if not folder.exists():
        from cbvc_jax.export.write import write_export

        folder.parent.mkdir(parents=True, exist_ok=True)
        write_export(model, folder, backend.format, None if backend.any_size else size)
    return folder


def open_backend(name: str, model: str | Path | None = None) -> MakeDecoder:
    """What makes decoders on backend `name`, exporting the stream's model (or `model`) at need into the user's cache.

    Only an export that is not there yet takes JAX.
    """
    backend = get_backend(name)
    backend.check()

    def make(header: StreamHeader) -> ExportedDecoder:
        size = (header.height, header.width)
        folder = _cached(backend, header.model_sha256, size)
        if not folder.exists():
            from cbvc_jax.weights import find_model, load_model

            chosen = find_model(header.model_sha256) if model is None else load_model(model)
            folder = exported_model(name, chosen, size)
        return open_export(name, folder)(header)

    return make


def _cached(backend: Backend, model_sha256: bytes, size: tuple[int, int]) -> Path:
    shown = "any" if backend.any_size else "{1}x{0}".format(*padded_size(*size))
    return cache_folder() / "exports" / f"{model_sha256.hex()}-{backend.format}-{shown}-{MANIFEST_VERSION}"
