"""Native code of IREE, on the CPU's threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from iree import runtime

from cbvc_jax.export.backends import Steps
from cbvc_jax.export.manifest import Manifest


def load(folder: Path, manifest: Manifest) -> Steps:
    """The steps of every kind of frame."""
    config = runtime.Config("local-task")
    programs = {}
    for kind, file in manifest.programs.items():
        # A context for each: they all call their module by the same name.
        context = runtime.SystemContext(config=config)
        module = runtime.VmModule.copy_buffer(context.instance, (folder / file).read_bytes())
        context.add_vm_module(module)
        programs[kind] = context.modules[module.name]["main"]

    def run(kind: str, arguments: dict[str, Any]) -> tuple[np.ndarray, Any]:
        ready = [np.ascontiguousarray(a) if isinstance(a, np.ndarray) else a for a in arguments.values()]
        x_hat, y_hat = programs[kind](*ready)
        return np.asarray(x_hat.to_host()), y_hat

    return run
