"""The ways to decode that the cross-check compares: backends, processors, numbers of devices, precisions."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Sequence

from cbvc_jax.errors import UsageError
from cbvc_jax.export.backends import BACKENDS


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to decode: a backend, and what is special about it.

    Attributes:
      name: in tables.
      backend: "jax", or a key of `BACKENDS`.
      exact: computes in float32 with the model's own parameters, so that the tolerances hold.
      rounded_to: type that parameters are rounded to, JAX only.
      devices: that share each frame, JAX only (`cbvc_jax.export.backends.jax.load`).
      xla_flags: for the process.
      python_in: environment variable with the command of the Python to run it in, on another kind of machine; the
        variant is there if that is set.
    """

    name: str
    backend: str
    exact: bool = True
    rounded_to: str | None = None
    devices: int = 1
    xla_flags: str = ""
    python_in: str | None = None

    @property
    def installed(self) -> bool:
        if self.python_in is not None:
            return bool(os.environ.get(self.python_in))
        return self.backend == "jax" or BACKENDS[self.backend].installed

    @property
    def python(self) -> list[str]:
        """The command of the Python that the variant runs in; UsageError if the variable that names it is not set."""
        if self.python_in is None:
            return [sys.executable]
        command = shlex.split(os.environ.get(self.python_in, ""))
        if not command:
            raise UsageError(
                f"variant '{self.name}' needs {self.python_in}, the command of a Python there: "
                "tests/export/aarch64_python.sh prepares one"
            )
        return command


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("jax", "jax"),
        Variant("jax-sse4.2", "jax", xla_flags="--xla_cpu_max_isa=SSE4_2"),
        Variant("jax-8-devices", "jax", devices=8, xla_flags="--xla_force_host_platform_device_count=8"),
        Variant("jax-aarch64", "jax-export", python_in="CBVC_AARCH64_PYTHON"),
        Variant("jax-export", "jax-export"),
        Variant("tensorflow", "tensorflow"),
        Variant("onnxruntime", "onnxruntime"),
        Variant("openvino", "openvino"),
        Variant("wasm", "wasm"),
        Variant("litert", "litert"),
        Variant("iree", "iree"),
        Variant("jax-bfloat16", "jax", exact=False, rounded_to="bfloat16"),
        Variant("jax-float16", "jax", exact=False, rounded_to="float16"),
    )
}
REFERENCE = VARIANTS["jax"]


def available() -> list[str]:
    """Names of the variants whose backends are installed."""
    return [v.name for v in VARIANTS.values() if v.installed]


def choose(names: Sequence[str] | None) -> list[Variant]:
    """The variants of these names, all that are installed with None, the reference first; UsageError for others."""
    if names is None:
        names = available()
    unknown = [n for n in names if n not in VARIANTS]
    if unknown:
        raise UsageError(f"there is no backend '{unknown[0]}' to check; there are: {', '.join(VARIANTS)}")
    return [REFERENCE, *(VARIANTS[n] for n in names if n != REFERENCE.name)]
