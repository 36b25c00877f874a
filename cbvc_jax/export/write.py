"""A model's decoder written in one format: a folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import jax

from cbvc_jax.errors import UsageError
from cbvc_jax.export.manifest import Manifest
from cbvc_jax.geometry import padded_size
from cbvc_jax.video.atomic import Staging
from cbvc_jax.weights import Model

# Format: (package that writes it, extra that installs the package).
FORMATS = {
    "stablehlo": ("jax", "export"),
    "savedmodel": ("tensorflow", "tensorflow"),
    "onnx": ("jax2onnx", "onnx"),
}
VERSIONS_OF = ("jax", "jaxlib", "flax", "tensorflow", "tensorflow-cpu", "jax2onnx", "onnx")


def write_export(model: Model, folder: str | Path, format: str, size: tuple[int, int] | None = None) -> Manifest:
    """Writes the decoder of `model` into a new `folder`, and returns its manifest.

    Args:
      model: from `load_model`.
      folder: must not exist yet.
      format: "stablehlo", "savedmodel" or "onnx".
      size: (height, width) of frames in pixels, which are padded; None for frames of any size.

    Raises:
      UsageError: there is no such format, or the package that writes it is not installed.
      VideoError: the folder exists or cannot be written.
    """
    if format not in FORMATS:
        raise UsageError(f"there is no export format '{format}'; the formats are: {', '.join(FORMATS)}")
    package, extra = FORMATS[format]
    if importlib.util.find_spec(package) is None:
        raise UsageError(f"format {format} needs the package {package}: pip install 'cbvc-jax[{extra}]'")
    if Path(folder).exists():
        raise UsageError(f"{folder} exists already; remove it, or give another folder")
    padded = None if size is None else padded_size(*size)
    staging = Staging(Path(folder), overwrite=False, folder=True)
    try:
        with _quiet(), _no_source_paths():
            programs = importlib.import_module(f"cbvc_jax.export.{format}").write(model, staging.path, padded)
        preset = model.preset
        manifest = Manifest(
            format, model.sha256.hex(), preset.name, preset.latent_channels, programs, padded, _versions()
        )
        manifest.write(staging.path)
        staging.commit()
    except BaseException:
        staging.discard()
        raise
    return manifest


def _versions() -> dict[str, str]:
    found = {}
    for name in VERSIONS_OF:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@contextlib.contextmanager
def _no_source_paths() -> Iterator[None]:
    """Programs name no files of this machine."""
    before = jax.config.values["jax_traceback_in_locations_limit"]
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Converters print what only their authors can use."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
