"""What an exported decoder is: manifest.json beside its programs. Imports no JAX."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from cbvc_jax.errors import ModelError

MANIFEST_FILE = "manifest.json"
VERSION = 2
INDEX_NAMES = ("i1", "i2", "i3")
REFERENCE_NAMES = ("y_ref", "skip")
"""What a step's arguments are called, in this order; keyframes have the indices only."""
SAVED_MODEL_FOLDER = "saved_model"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Contents of manifest.json.

    Attributes:
      format: of the programs, e.g. "savedmodel".
      model_sha256: identity of the model, 64 hexadecimal digits.
      preset: its name.
      latent_channels: c of y_hat.
      programs: file (or signature) of the step of each kind of frame: "key" and every rate.
      size: padded (height, width) in pixels that the programs are for, or None for any.
      versions: of the software that wrote the export.
      version: of this manifest.
    """

    format: str
    model_sha256: str
    preset: str
    latent_channels: int
    programs: dict[str, str]
    size: tuple[int, int] | None
    versions: dict[str, str]
    version: int = VERSION

    def write(self, folder: Path) -> None:
        """Writes manifest.json into `folder`; returns nothing."""
        (folder / MANIFEST_FILE).write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")


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
