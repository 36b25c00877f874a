"""Configuration files and changes to them from outside. A wrong name is told with the nearest right one."""

from __future__ import annotations

import difflib
import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags

from cbvc_jax.errors import UsageError

PREFIX = "--config."


def load_module(path: str | Path) -> Any:
    """The Python file `path` as a module; UsageError where there is none."""
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"there is no configuration '{file}'")
    spec: Any = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_config(name: str) -> ml_collections.ConfigDict:
    """The configuration of `FILE` or `FILE:VARIANT`, as `--config` takes it."""
    path, _, variant = name.partition(":")
    module = load_module(path)
    return module.get_config(variant) if variant else module.get_config()


def fields(config: Any, prefix: str = "") -> Iterator[str]:
    """Names of all fields, such as "codebook.decay"."""
    for name, value in config.items():
        yield prefix + name
        if isinstance(value, ml_collections.ConfigDict):
            yield from fields(value, f"{prefix}{name}.")


def check_fields(config: Any, names: Sequence[str]) -> None:
    """UsageError for the first of `names` that the configuration has not, with the field nearest to it."""
    known = list(fields(config))
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise UsageError(f"the configuration has no field '{name}'; the nearest is '{near[0]}'")


def parse_flags(arguments: Sequence[str]) -> list[str]:
    """A parser for `absl.app.run`: command-line names of fields are checked before anything is set."""
    names = [a.removeprefix(PREFIX).partition("=")[0] for a in arguments if a.startswith(PREFIX)]
    files = [a.removeprefix("--config=") for a in arguments if a.startswith("--config=")]
    files += [value for flag, value in itertools.pairwise(arguments) if flag == "--config"]
    try:
        if files and names:
            check_fields(load_config(files[-1]), names)
        return flags.FLAGS(list(arguments))
    except UsageError as error:
        raise SystemExit(f"{Path(arguments[0]).name}: {error}") from error
    except flags.Error as error:
        raise SystemExit(f"{Path(arguments[0]).name}: {error}") from error
