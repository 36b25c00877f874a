"""The cross-backend check: one stream decoded on every backend, each in a process of its own, compared with JAX.

Differences are taken before rounding to 8 bits, in 8-bit levels. A float32 backend passes if its rounded pixels differ
by one level at the most, and its PSNR against the source, where that is given, by 0.005 dB.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

import cbvc_jax
from cbvc_jax.bitstream import StreamReader
from cbvc_jax.errors import CbvcError
from cbvc_jax.evaluation.compare import check_size
from cbvc_jax.evaluation.metrics import ms_ssim, ms_ssim_min_side, psnr_rgb
from cbvc_jax.export.backends import exported_model, to_8bit
from cbvc_jax.export.variants import REFERENCE, Variant, choose
from cbvc_jax.weights import Model, find_model, load_model

Frame = UInt8[np.ndarray, "h w 3"]
Floats = Float32[np.ndarray, "h w 3"]

MAX_LEVELS = 1
MAX_SOURCE_DB = 0.005
TIMEOUT_S = 3600


VERDICTS = {True: "pass", False: "FAIL", None: "loss stated"}


class ParityError(CbvcError):
    """A backend could not decode the stream at all."""


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
      source_ms_ssim: likewise, 0..1; None for frames that are too small for it, too.
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
    source_ms_ssim: float | None
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
            "" if self.fps is None else f"{self.fps:.3g}",
            f"{self.peak_bytes / 2**20:.0f}",
            VERDICTS[self.passed],
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


def crosscheck(
    stream: str | Path,
    names: Sequence[str] | None = None,
    *,
    model: str | None = None,
    source: Callable[[], Iterable[Frame]] | None = None,
    frames: int | None = None,
    tell: Callable[[Parity], None] = lambda parity: None,
    difference: Callable[[str, Frame], None] | None = None,
) -> list[Parity]:
    """Decodes `stream` on every variant and compares; the reference comes first.

    A variant that fails does not keep the others from being told.

    Args:
      stream: a `.cbv` file.
      names: of `VARIANTS`; by default all that are installed.
      model: name or folder, by default the installed one that the stream names.
      source: makes the frames that were encoded, from the first on, for PSNR and MS-SSIM against them; called for each
        variant.
      frames: no more than these.
      tell: is called with each result as it comes.
      difference: is called with the name and the picture of the worst frame's difference, amplified to be seen.

    Raises:
      UsageError: an unknown variant. BitstreamError, ModelError: as of `StreamDecoder`. VideoError: the source's frames
      have another size. ParityError: a process failed; the first that did, when all have been run.
    """
    chosen = choose(names)
    with Path(stream).open("rb") as file:
        header = StreamReader(file).header
    size = (header.height, header.width)
    loaded = find_model(header.model_sha256) if model is None else load_model(model)
    results: list[Parity] = []
    failures: list[ParityError] = []
    with tempfile.TemporaryDirectory(prefix="cbvc-crosscheck-") as scratch:
        reference, qualities = np.empty((0, *size, 3), np.float32), []
        for variant in chosen:
            try:
                ours, told = _decode(variant, Path(stream), loaded, size, frames, Path(scratch))
            except ParityError as error:
                if variant is REFERENCE:
                    raise
                failures.append(error)
                continue
            if variant is REFERENCE:
                reference = ours
            found = _qualities(source, ours, reference, qualities)
            qualities = qualities or found
            parity, worst_frame = _compare(variant, told, ours, reference, found, results)
            results.append(parity)
            tell(parity)
            if difference is not None and variant is not REFERENCE:
                difference(variant.name, _amplified(ours[worst_frame], reference[worst_frame]))
    if failures:
        raise failures[0]
    return results


def _decode(
    variant: Variant, stream: Path, model: Model, size: tuple[int, int], frames: int | None, scratch: Path
) -> tuple[Float32[np.ndarray, "t h w 3"], dict[str, Any]]:
    """Frames [t, h, w, 3] before rounding, in a file in `scratch`, and what else the process told."""
    out = scratch / ("reference" if variant is REFERENCE else "frames")
    job: dict[str, Any] = {
        "stream": str(stream),
        "backend": variant.backend,
        "rounded_to": variant.rounded_to,
        "devices": variant.devices,
        "model": str(model.path),
        "frames": frames,
        "out": str(out),
    }
    if variant.backend != "jax":
        job["export"] = str(exported_model(variant.backend, model, size))
    told = _run(variant, job)
    return np.memmap(out, "<f4", "r", shape=(told["frames"], *size, 3)), told


def _run(variant: Variant, job: dict[str, Any]) -> dict[str, Any]:
    environment = dict(os.environ)
    if variant.xla_flags:
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {variant.xla_flags}".strip()
    if variant.python_in is not None:
        # It has packages of its own, but not this one.
        environment["PYTHONPATH"] = str(Path(cbvc_jax.__file__).parents[1])
    command = [*variant.python, "-m", "cbvc_jax.export.worker", json.dumps(job)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise ParityError(f"{variant.name} was not done after {TIMEOUT_S} s") from None
    except OSError as error:
        raise ParityError(f"{variant.name} cannot be run: {error.strerror or error}: {command[0]}") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise ParityError(f"{variant.name} failed with status {done.returncode}: {last}")
    return json.loads(done.stdout.splitlines()[-1])


Quality = tuple[float, float | None]
"""PSNR in dB and MS-SSIM of one frame; no MS-SSIM of frames that are too small."""


def _qualities(source: Callable[[], Iterable[Frame]] | None, ours, reference, known: list[Quality]) -> list[Quality]:
    """Of every frame, as far as the source goes; those of a frame that equals the reference's are in `known`."""
    found: list[Quality] = []
    if source is None or not len(ours):
        return found
    height, width = ours.shape[1:3]
    for t, (x, frame) in enumerate(zip(itertools.islice(source(), len(ours)), ours, strict=False)):
        check_size(t + 1, "source", (width, height), x)
        x_hat = to_8bit(frame)
        if t < len(known) and np.array_equal(x_hat, to_8bit(reference[t])):
            found.append(known[t])
            continue
        similarity = float(ms_ssim(x[None], x_hat[None])[0]) if min(height, width) >= ms_ssim_min_side() else None
        found.append((float(psnr_rgb(x[None], x_hat[None])[0]), similarity))
    return found


def _compare(
    variant: Variant, told: dict[str, Any], ours, reference, qualities: list[Quality], earlier: Sequence[Parity]
) -> tuple[Parity, int]:
    squares = []
    worst, worst_8bit, worst_frame, unequal, square_8bit = 0.0, 0, 0, 0, 0.0
    for t, (frame, expected) in enumerate(zip(ours, reference, strict=True)):
        error = frame.astype(np.float64) - expected
        largest = float(np.max(np.abs(error)))
        if largest > worst:
            worst, worst_frame = largest, t
        squares.append(float(np.mean(np.square(error))))
        error_8bit = np.abs(to_8bit(frame).astype(np.int16) - to_8bit(expected))
        worst_8bit = max(worst_8bit, int(error_8bit.max()))
        unequal += int(np.count_nonzero(error_8bit))
        square_8bit += float(np.sum(np.square(error_8bit, dtype=np.float64)))
    psnrs, similarities = [p for p, _ in qualities], [s for _, s in qualities if s is not None]
    source_psnr = math.fsum(psnrs) / len(psnrs) if psnrs else None
    first = earlier[0] if earlier else None
    same_indices = first is None or told["indices_sha256"] == first.indices_sha256
    expected_psnr = source_psnr if first is None else first.source_psnr_db
    near = source_psnr is None or expected_psnr is None or abs(source_psnr - expected_psnr) <= MAX_SOURCE_DB
    parity = Parity(
        variant=variant.name,
        frames=told["frames"],
        indices_sha256=told["indices_sha256"],
        worst=worst,
        rms=float(np.sqrt(np.mean(squares))) if squares else 0.0,
        worst_8bit=worst_8bit,
        equal_share=1.0 - unequal / ours.size if ours.size else 1.0,
        psnr_db=10.0 * math.log10(255.0**2 / (square_8bit / ours.size)) if square_8bit else None,
        source_psnr_db=source_psnr,
        source_ms_ssim=math.fsum(similarities) / len(similarities) if similarities else None,
        rms_by_frame=[float(np.sqrt(s)) for s in squares],
        load_s=told["load_s"],
        fps=told["fps"],
        peak_bytes=told["peak_bytes"],
        passed=(same_indices and worst_8bit <= MAX_LEVELS and near)
        if variant.exact
        else (None if same_indices else False),
    )
    return parity, worst_frame


def _amplified(frame, reference) -> Frame:
    """The difference around mid-grey, scaled so that the largest one is black or white."""
    error = frame.astype(np.float64) - reference
    return to_8bit(127.5 + error * (127.5 / max(float(np.max(np.abs(error))), 1e-12)))
