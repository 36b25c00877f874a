"""What an exported decoder is: manifest.json beside its programs. Imports no JAX."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from cbvc_jax.bitstream import CheckedTables, IndexTables, StreamHeader, check_tables
from cbvc_jax.errors import ModelError, UsageError

MANIFEST_FILE = "manifest.json"
VERSION = 4
INDEX_NAMES = ("i1", "i2", "i3")
REFERENCE_NAMES = ("y_ref", "skip")
"""What a step's arguments are called, in this order; keyframes have the indices only."""
TABLES_FILE = "tables.json"
SAVED_MODEL_FOLDER = "saved_model"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Contents of manifest.json.

    Attributes:
      format: of the programs, e.g. "savedmodel".
      model_sha256: identity of the model, 64 hexadecimal digits.
      preset: its name.
      latent_channels: c of y_hat.
      displaces: whether blocks may move or follow.
      programs: file (or signature) of the step of each kind of frame: "key" and every rate.
      size: padded (height, width) in pixels that the programs are for, or None for any.
      versions: of the software that wrote the export.
      version: of this manifest.
      tables: file with the initial tables of index coding that the model has, or None.
    """

    format: str
    model_sha256: str
    preset: str
    latent_channels: int
    displaces: bool
    programs: dict[str, str]
    size: tuple[int, int] | None
    versions: dict[str, str]
    version: int = VERSION
    tables: str | None = None

    def write(self, folder: Path) -> None:
        """Writes manifest.json into `folder`; returns nothing."""
        (folder / MANIFEST_FILE).write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def write_tables(folder: Path, tables: IndexTables) -> None:
    """Writes initial tables as lists, [stage][group][K] of each kind of frame, into `folder`; returns nothing."""
    lists = {kind: [np.asarray(stage).tolist() for stage in stages] for kind, stages in tables.items()}
    (folder / TABLES_FILE).write_text(json.dumps(lists, separators=(",", ":")) + "\n")


def read_tables(folder: str | Path, manifest: Manifest, header: StreamHeader) -> CheckedTables | None:
    """The initial tables of the export in `folder` for a stream of its model; None if the model has none.

    Raises:
      ModelError: they are damaged, or do not fit the stream.
    """
    if manifest.tables is None:
        return None
    file = Path(folder) / manifest.tables
    try:
        lists = json.loads(file.read_text())
        return check_tables(lists, {kind: layout.codebook_sizes for kind, layout in header.layouts().items()})
    except (OSError, ValueError, TypeError, KeyError, AttributeError, UsageError) as error:
        raise ModelError(f"{file} is damaged ({error}): export again") from None


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of the export in `folder`; ModelError if there is none, or it is damaged or of a later version."""
    file = Path(folder) / MANIFEST_FILE
    try:
        fields = json.loads(file.read_text())
        if fields.get("version") != VERSION:
            raise ModelError(f"{file} has version {fields.get('version')}, and only {VERSION} is known: export again")
        fields["size"] = tuple(fields["size"]) if fields["size"] else None
        manifest = Manifest(**fields)
        bytes.fromhex(manifest.model_sha256)
    except OSError as error:
        raise ModelError(f"{folder} holds no exported decoder: {error.strerror or error}: {file.name}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{file} is damaged ({error}): export again") from None
    return manifest
