"""A trained model on disk: tensors, preset and card; its identity is a hash of what decides the decoder's output.

    DIR/model.safetensors   parameters and codebooks, float16; initial tables of index coding, uint16, if the model has
                            any; the preset as JSON in the file's metadata
    DIR/MODEL_CARD.md       data, recipe, quality, limits

The identity is the SHA-256 of the preset and of every tensor's name, type, shape and bytes: copying, renaming or
writing the file again does not change it, any change of the model does. Streams carry it, and find their model by it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from cbvc_jax.bitstream import CheckedTables, IndexTables, check_tables
from cbvc_jax.errors import ModelError, UsageError
from cbvc_jax.geometry import LATENT_STRIDE
from cbvc_jax.model import CodebookSet, Params, init_params
from cbvc_jax.presets import ADDED, KEYFRAME, PRESETS, RATES, Preset

WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "MODEL_CARD.md"
DEFAULT_MODEL = "small"
MODEL_PATH_VARIABLE = "CBVC_MODELS"
FORMAT = "cbvc-model-1"
MAX_BYTES = 4 << 30
MAX_CHANNELS = 4096
PICTURE_CHANNELS = 3 * LATENT_STRIDE**2
MAX_DEPTH = 64
MAX_CODEBOOK_SIZE = 1 << 16
SEPARATOR = "/"
TABLES = "tables"
"""What the names of initial tables begin with."""
_OPTIONAL = ("width", *ADDED)
_CHOICES = {
    "blocks": ("conv", "compact"),
    "context": ("attention", "resblock", "displacement"),
    "decoder": ("full", "light"),
    "interpolation": ("cubic",),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A model ready for use.

    Attributes:
      name: how it was asked for, for messages.
      preset: what it is built of.
      params, codebooks: float32.
      sha256: identity, 32 bytes.
      path: folder that it was read from, or None.
      tables: initial tables of index coding, uint16 [groups, K] by kind and stage, or None; its streams need them.
    """

    name: str
    preset: Preset
    params: Params
    codebooks: CodebookSet
    sha256: bytes
    path: Path | None = None
    tables: CheckedTables | None = None


def bundled_models() -> dict[str, Path]:
    """Folders of the models that the package ships, by name; the default one first."""
    found = _models_below(Path(str(resources.files("cbvc_jax"))) / "assets" / "models")
    return dict(sorted(found.items(), key=lambda item: item[0] != DEFAULT_MODEL))


def installed_models() -> dict[str, Path]:
    """Bundled models, and those in the folders that $CBVC_MODELS names (separated like $PATH)."""
    found = bundled_models()
    for folder in filter(None, os.environ.get(MODEL_PATH_VARIABLE, "").split(os.pathsep)):
        found |= {name: path for name, path in _models_below(Path(folder)).items() if name not in found}
    return found


def _models_below(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {p.parent.name: p.parent for p in sorted(folder.glob(f"*/{WEIGHTS_FILE}"))}


def load_model(name: str | Path = DEFAULT_MODEL) -> Model:
    """A model by the name of an installed one, or by its folder.

    Raises:
      ModelError: there is no such model, or its file is damaged or does not fit its preset.
    """
    installed = installed_models()
    folder = installed.get(str(name), Path(name))
    file = folder / WEIGHTS_FILE
    if not file.is_file():
        raise ModelError(
            f"there is no model '{name}': it is neither installed ({', '.join(installed) or 'none is'}) "
            f"nor a folder with {WEIGHTS_FILE}"
        )
    return _read(file, str(name))


def find_model(sha256: bytes) -> Model:
    """The installed model with the given identity: the one that a stream was made with.

    Raises:
      ModelError: none has it; the message names the identities that there are.
    """
    known = []
    for name, folder in installed_models().items():
        try:
            identity = file_identity(folder / WEIGHTS_FILE)
        except ModelError:
            known.append(f"{name} damaged")
            continue
        if identity == sha256:
            return load_model(folder)
        known.append(f"{name} {identity.hex()[:12]}")
    raise ModelError(
        f"this stream was made with model {sha256.hex()[:12]}, which is not installed ({', '.join(known) or 'none is'})"
        f"; give its folder with --model, or list the folder above it in ${MODEL_PATH_VARIABLE}"
    )


def file_identity(file: Path) -> bytes:
    """The identity of the model in a file, from its tensors alone (no parameters are built)."""
    preset, tensors = _read_tensors(file)
    return _identity(preset, tensors)


def save_model(
    folder: str | Path,
    preset: Preset,
    params: Params,
    codebooks: CodebookSet,
    card: str,
    tables: IndexTables | None = None,
) -> bytes:
    """Writes a model and returns its identity. Tensors are rounded to float16: that is the model from then on.

    Raises:
      ModelError: a tensor is not finite in float16, or `tables` do not fit the preset. Nothing was written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        checked = {} if tables is None else check_tables(tables, _table_sizes(preset))
    except UsageError as error:
        raise ModelError(f"{error}; the model is not written") from None
    with np.errstate(over="ignore"):
        # In row order: safetensors writes an array's memory as it lies.
        tensors = {name: np.asarray(value, np.float16, order="C") for name, value in flatten(params, codebooks).items()}
    for name, value in tensors.items():
        if not np.isfinite(value).all():
            raise ModelError(f"tensor '{name}' holds values that are not finite in float16; the model is not written")
    tensors |= {_table_name(kind, s): table for kind, stages in checked.items() for s, table in enumerate(stages)}
    data = save(tensors, {"format": FORMAT, "preset": _preset_json(preset)})
    _replace(folder / WEIGHTS_FILE, data)
    _replace(folder / CARD_FILE, card.encode())
    return _identity(preset, tensors)


def _replace(file: Path, data: bytes) -> None:
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    try:
        temporary.write_bytes(data)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def flatten(params: Params, codebooks: CodebookSet) -> dict[str, Any]:
    """Every tensor by name: `params/encoder/...`, `codebooks/key/0`."""
    flat = {}
    for path, value in jax.tree_util.tree_leaves_with_path({"params": params, "codebooks": codebooks}):
        flat[SEPARATOR.join(str(getattr(k, "key", getattr(k, "idx", k))) for k in path)] = value
    return flat


def _table_sizes(preset: Preset) -> dict[str, tuple[int, ...]]:
    return {kind: preset.codebook_sizes(kind) for kind in (KEYFRAME, *preset.rates)}


def _table_name(kind: str, stage: int) -> str:
    return SEPARATOR.join((TABLES, kind, str(stage)))


def _identity(preset: Preset, tensors: Mapping[str, np.ndarray]) -> bytes:
    architecture = {k: v for k, v in json.loads(_preset_json(preset)).items() if k != "name"}
    digest = hashlib.sha256(json.dumps(architecture, sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\n{name} {value.dtype.str} {list(value.shape)}\n".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.digest()


def _preset_json(preset: Preset) -> str:
    fields = dataclasses.asdict(preset)
    # What came later and is not set has no part in the identity of models that were there before.
    return json.dumps({name: value for name, value in fields.items() if value is not None}, sort_keys=True)


def _preset_from_json(text: str) -> Preset:
    fields = json.loads(text)
    fields["key_sizes"] = tuple(fields["key_sizes"])
    fields["predicted_sizes"] = tuple((rate, tuple(sizes)) for rate, sizes in fields["predicted_sizes"])
    preset = Preset(**fields)
    _check(preset)
    return preset


def _check(preset: Preset) -> None:
    """Returns nothing; ValueError for a preset that no network can be built of, since a file may come from anywhere."""
    sizes = (*preset.key_sizes, *(size for _, of_rate in preset.predicted_sizes for size in of_rate))
    if not sizes or not all(type(size) is int and 1 < size <= MAX_CODEBOOK_SIZE for size in sizes):
        raise ValueError(f"its preset has codebooks of {list(sizes)} codewords")
    if not preset.rates or not set(preset.rates) <= set(RATES):
        raise ValueError(f"its preset has the rates {list(preset.rates)}")
    for name, value in dataclasses.asdict(preset).items():
        if name in _CHOICES:
            sound = value in _CHOICES[name]
        elif isinstance(getattr(PRESETS["small"], name), int):
            limit = MAX_DEPTH if name.endswith("_depth") else MAX_CHANNELS
            sound = type(value) is int and 0 <= value <= limit
        else:
            sound = True
        if not sound and (name not in _OPTIONAL or value is not None):
            raise ValueError(f"its preset has {name} {value!r}")
    if preset.displaces and (preset.blocks != "compact" or preset.latent_channels != PICTURE_CHANNELS):
        raise ValueError(f"its preset has {preset.latent_channels} channels for latents that are pictures")


def _read_tensors(file: Path) -> tuple[Preset, dict[str, np.ndarray]]:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ModelError(f"'{file}' is larger than any model")
        with safe_open(file, framework="numpy") as stored:
            metadata = stored.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ModelError(f"'{file}' is not a model of this project (format '{metadata.get('format')}')")
            return _preset_from_json(metadata["preset"]), {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"model file '{file}' is damaged: {error}") from None


@functools.cache
def _shapes(preset: Preset) -> Any:
    return jax.eval_shape(functools.partial(init_params, preset=preset), jax.ShapeDtypeStruct((2,), np.uint32))


def _read(file: Path, name: str) -> Model:
    preset, stored = _read_tensors(file)
    params, codebooks = _shapes(preset)
    wanted = flatten(params, codebooks)
    tables = _tables(file, preset, stored)
    tensors = {key: value for key, value in stored.items() if not _is_table(key)}
    if wanted.keys() != tensors.keys():
        odd = sorted(wanted.keys() ^ tensors.keys())
        raise ModelError(f"model file '{file}' does not fit its preset: {len(odd)} tensors differ, first '{odd[0]}'")
    for key, shape in wanted.items():
        value = tensors[key]
        if value.shape != shape.shape or value.dtype != np.float16:
            raise ModelError(f"model file '{file}': tensor '{key}' is {value.dtype} {list(value.shape)}")
        if not np.isfinite(value).all():
            raise ModelError(f"model file '{file}': tensor '{key}' holds values that are not finite")
    leaves, tree = jax.tree_util.tree_flatten({"params": params, "codebooks": codebooks})
    ordered = [tensors[key].astype(np.float32) for key in wanted]
    assert len(ordered) == len(leaves)
    restored = jax.device_put(jax.tree_util.tree_unflatten(tree, ordered))
    return Model(
        name, preset, restored["params"], restored["codebooks"], _identity(preset, stored), file.parent, tables
    )


def _is_table(name: str) -> bool:
    return name.startswith(TABLES + SEPARATOR)


def _tables(file: Path, preset: Preset, tensors: Mapping[str, np.ndarray]) -> CheckedTables | None:
    """The initial tables among the tensors; None if there are none. ModelError where they are not whole and sound."""
    found = {name: tensors[name] for name in tensors if _is_table(name)}
    if not found:
        return None
    sizes = _table_sizes(preset)
    wanted = {_table_name(kind, s) for kind, stages in sizes.items() for s in range(len(stages))}
    if wanted != found.keys():
        odd = sorted(wanted ^ found.keys())
        raise ModelError(f"model file '{file}' does not fit its preset: {len(odd)} tensors differ, first '{odd[0]}'")
    for name, table in found.items():
        if table.ndim != 2 or table.dtype != np.uint16:
            raise ModelError(f"model file '{file}': tensor '{name}' is {table.dtype} {list(table.shape)}")
    try:
        return check_tables({k: [found[_table_name(k, s)] for s in range(len(v))] for k, v in sizes.items()}, sizes)
    except UsageError as error:
        raise ModelError(f"model file '{file}': {error}") from None
