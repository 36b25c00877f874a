"""The cross-backend check: one stream decoded on every backend, each in a process of its own, compared with JAX.

Differences are taken before rounding to 8 bits, in 8-bit levels. A float32 backend passes if its rounded pixels differ
by one level at the most, and its PSNR against the source, where that is given, by 0.005 dB.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

import cbvc_jax
from cbvc_jax.bitstream import StreamReader
from cbvc_jax.errors import CbvcError, UsageError
from cbvc_jax.export.backends import BACKENDS, exported_model, to_8bit
from cbvc_jax.video import open_video
from cbvc_jax.weights import find_model, load_model

MAX_LEVELS = 1
MAX_SOURCE_DB = 0.005
TIMEOUT_S = 3600


class ParityError(CbvcError):
    """A backend could not decode the stream at all."""


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


@dataclasses.dataclass(frozen=True)
class Parity:
    """How one variant compares with the reference.

    Attributes:
      variant: name.
      frames, indices_sha256: what was decoded.
      worst, rms: difference to the reference in 8-bit levels, before rounding.
      worst_8bit: largest difference of rounded pixels, in levels.
      equal_share: of rounded pixels.
      psnr_db: of the rounded frames to the reference's, over all of them; None where they are equal.
      source_psnr_db: mean over frames of the PSNR to the source; None without one.
      rms_by_frame: the drift.
      load_s, fps, peak_bytes: of the process; the speed leaves the first two frames out.
      passed: within the tolerances, indices included; None where none apply.
    """

    variant: str
    frames: int
    indices_sha256: str
    worst: float
    rms: float
    worst_8bit: int
    equal_share: float
    psnr_db: float | None
    source_psnr_db: float | None
    rms_by_frame: list[float]
    load_s: float
    fps: float | None
    peak_bytes: int
    passed: bool | None

    def cells(self) -> tuple[str, ...]:
        """A line of a table, as `COLUMNS` names it; differences in 8-bit levels."""
        return (
            self.variant,
            f"{self.worst:.2e}",
            f"{self.rms:.2e}",
            str(self.worst_8bit),
            f"{100 * self.equal_share:.5f} %",
            "equal" if self.psnr_db is None else f"{self.psnr_db:.1f} dB",
            "" if self.source_psnr_db is None else f"{self.source_psnr_db:.4f} dB",
            "" if self.fps is None else f"{self.fps:.1f}",
            f"{self.peak_bytes / 2**20:.0f}",
            {True: "pass", False: "FAIL", None: "loss stated"}[self.passed],
        )


COLUMNS = (
    "backend",
    "worst difference",
    "RMS",
    "worst 8-bit",
    "equal pixels",
    "PSNR to JAX",
    "PSNR to source",
    "fps",
    "peak MiB",
    "verdict",
)


def available() -> list[str]:
    """Names of the variants whose backends are installed."""
    return [v.name for v in VARIANTS.values() if v.installed]


def crosscheck(
    stream: str | Path,
    names: Sequence[str] | None = None,
    *,
    model: str | None = None,
    source: str | Path | None = None,
    frames: int | None = None,
    tell: Callable[[Parity], None] = lambda parity: None,
    difference: Callable[[str, UInt8[np.ndarray, "h w 3"]], None] | None = None,
) -> list[Parity]:
    """Decodes `stream` on every variant and compares; the reference comes first.

    Args:
      stream: a `.cbv` file.
      names: of `VARIANTS`; by default all that are installed.
      model: name or folder, by default the installed one that the stream names.
      source: the video that was encoded, for PSNR against it.
      frames: no more than these.
      tell: is called with each result as it comes.
      difference: is called with the name and the picture of the worst frame's difference, amplified to be seen.

    Raises:
      UsageError: an unknown variant. BitstreamError, ModelError: as of `StreamDecoder`. ParityError: a process failed.
    """
    chosen = _choose(names)
    with Path(stream).open("rb") as file:
        header = StreamReader(file).header
    loaded = find_model(header.model_sha256) if model is None else load_model(model)
    truth = (
        None if source is None else [f.rgb for f, _ in zip(open_video(source), range(frames or 1 << 30), strict=False)]
    )
    results: list[Parity] = []
    with tempfile.TemporaryDirectory(prefix="cbvc-crosscheck-") as scratch:
        reference_file = Path(scratch) / "reference"
        for variant in chosen:
            out = reference_file if variant is REFERENCE else Path(scratch) / "frames"
            job: dict[str, Any] = {
                "stream": str(stream),
                "backend": variant.backend,
                "rounded_to": variant.rounded_to,
                "devices": variant.devices,
                "model": str(loaded.path),
                "frames": frames,
                "out": str(out),
            }
            if variant.backend != "jax":
                job["export"] = str(exported_model(variant.backend, loaded, (header.height, header.width)))
            told = _run(variant, job)
            shape = (told["frames"], header.height, header.width, 3)
            ours: Float32[np.ndarray, "t h w 3"] = np.memmap(out, "<f4", "r", shape=shape)
            reference = np.memmap(reference_file, "<f4", "r", shape=shape)
            parity, worst_frame = _compare(variant, told, ours, reference, truth, results)
            results.append(parity)
            tell(parity)
            if difference is not None and variant is not REFERENCE:
                difference(variant.name, _amplified(ours[worst_frame], reference[worst_frame]))
    return results


def _choose(names: Sequence[str] | None) -> list[Variant]:
    if names is None:
        names = available()
    unknown = [n for n in names if n not in VARIANTS]
    if unknown:
        raise UsageError(f"there is no backend '{unknown[0]}' to check; there are: {', '.join(VARIANTS)}")
    return [REFERENCE, *(VARIANTS[n] for n in names if n != REFERENCE.name)]


def _run(variant: Variant, job: dict[str, Any]) -> dict[str, Any]:
    environment = dict(os.environ)
    if variant.xla_flags:
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {variant.xla_flags}".strip()
    if variant.python_in is not None:
        # It has packages of its own, but not this one.
        environment["PYTHONPATH"] = str(Path(cbvc_jax.__file__).parents[1])
    command = [*variant.python, "-m", "cbvc_jax.export.worker", json.dumps(job)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ParityError(f"{variant.name} failed with status {done.returncode}: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def _compare(variant: Variant, told: dict[str, Any], ours, reference, truth, earlier) -> tuple[Parity, int]:
    squares, source_db = [], []
    worst, worst_8bit, worst_frame, unequal, square_8bit = 0.0, 0, 0, 0, 0.0
    for t, (frame, expected) in enumerate(zip(ours, reference, strict=True)):
        error = frame.astype(np.float64) - expected
        largest = float(np.max(np.abs(error)))
        if largest > worst:
            worst, worst_frame = largest, t
        squares.append(float(np.mean(np.square(error))))
        rounded = to_8bit(frame)
        error_8bit = np.abs(rounded.astype(np.int16) - to_8bit(expected))
        worst_8bit = max(worst_8bit, int(error_8bit.max()))
        unequal += int(np.count_nonzero(error_8bit))
        square_8bit += float(np.sum(np.square(error_8bit, dtype=np.float64)))
        if truth is not None and t < len(truth):
            source_db.append(_psnr(float(np.mean(np.square(rounded.astype(np.float64) - truth[t])))))
    source_psnr = float(np.mean(source_db)) if source_db else None
    first = earlier[0] if earlier else None
    same_indices = first is None or told["indices_sha256"] == first.indices_sha256
    near = source_psnr is None or first is None or abs(source_psnr - first.source_psnr_db) <= MAX_SOURCE_DB
    parity = Parity(
        variant=variant.name,
        frames=told["frames"],
        indices_sha256=told["indices_sha256"],
        worst=worst,
        rms=float(np.sqrt(np.mean(squares))) if squares else 0.0,
        worst_8bit=worst_8bit,
        equal_share=1.0 - unequal / ours.size if ours.size else 1.0,
        psnr_db=_psnr(square_8bit / ours.size) if square_8bit else None,
        source_psnr_db=source_psnr,
        rms_by_frame=[float(np.sqrt(s)) for s in squares],
        load_s=told["load_s"],
        fps=told["fps"],
        peak_bytes=told["peak_bytes"],
        passed=(same_indices and worst_8bit <= MAX_LEVELS and near)
        if variant.exact
        else (None if same_indices else False),
    )
    return parity, worst_frame


def _psnr(mse: float) -> float:
    return 10.0 * np.log10(255.0**2 / mse) if mse else float("inf")


def _amplified(frame, reference) -> UInt8[np.ndarray, "h w 3"]:
    """The difference around mid-grey, scaled so that the largest one is black or white."""
    error = frame.astype(np.float64) - reference
    return to_8bit(127.5 + error * (127.5 / max(float(np.max(np.abs(error))), 1e-12)))
