"""A model's decoder written in one format: a folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax

from cbvc_jax.errors import UsageError
from cbvc_jax.export.backends import is_installed
from cbvc_jax.export.manifest import TABLES_FILE, Manifest, write_tables
from cbvc_jax.geometry import padded_size
from cbvc_jax.video.atomic import Staging
from cbvc_jax.weights import Model


class Format(NamedTuple):
    """A format: the package that writes it, the extra that installs that, and whether one export serves any size."""

    package: str
    extra: str
    any_size: bool


FORMATS = {
    "stablehlo": Format("jax", "export", True),
    "savedmodel": Format("tensorflow", "tensorflow", True),
    "onnx": Format("jax2onnx", "onnx", True),
    "tflite": Format("tensorflow", "litert", False),
    "iree": Format("iree.compiler", "iree", False),
}
VERSIONS_OF = ("jax", "jaxlib", "flax", "tensorflow", "tensorflow-cpu", "jax2onnx", "onnx", "iree-base-compiler")


def write_export(model: Model, folder: str | Path, format: str, size: tuple[int, int] | None = None) -> Manifest:
    """Writes the decoder of `model` into a new `folder`, and returns its manifest.

    Args:
      model: from `load_model`.
      folder: must not exist yet.
      format: a key of `FORMATS`.
      size: (height, width) of frames in pixels, which are padded; None for frames of any size, where the format can.

    Raises:
      UsageError: there is no such format, it takes a size, or the package that writes it is not installed.
      VideoError: the folder exists or cannot be written.
    """
    if format not in FORMATS:
        raise UsageError(f"there is no export format '{format}'; the formats are: {', '.join(FORMATS)}")
    package, extra, any_size = FORMATS[format]
    if not is_installed(package):
        raise UsageError(f"format {format} needs the package {package}: pip install 'cbvc-jax[{extra}]'")
    if size is None and not any_size:
        raise UsageError(f"format {format} is for frames of one size: give it with --size WxH")
    if Path(folder).exists():
        raise UsageError(f"{folder} exists already; remove it, or give another folder")
    padded = None if size is None else padded_size(*size)
    staging = Staging(Path(folder), overwrite=False, folder=True)
    try:
        with _quiet(), _no_source_paths():
            programs = importlib.import_module(f"cbvc_jax.export.{format}").write(model, staging.path, padded)
        preset = model.preset
        manifest = Manifest(
            format=format,
            model_sha256=model.sha256.hex(),
            preset=preset.name,
            latent_channels=preset.latent_channels,
            displaces=preset.displaces,
            programs=programs,
            size=padded,
            versions=_versions(),
            tables=None if model.tables is None else TABLES_FILE,
        )
        if model.tables is not None:
            write_tables(staging.path, model.tables)
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
