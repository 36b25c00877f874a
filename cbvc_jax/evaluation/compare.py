"""Two videos, frame by frame -> quality of each frame and of the whole, holding one pair of frames at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from jaxtyping import UInt8

from cbvc_jax.errors import VideoError
from cbvc_jax.evaluation import metrics

Frame = UInt8[np.ndarray, "h w 3"]
AnyFrame = UInt8[np.ndarray, "_ _ 3"]  # of any size: two of them need not agree


@dataclass(frozen=True)
class FrameQuality:
    """One frame of the test video against the reference; definitions are those of `cbvc_jax.evaluation.metrics`.

    Attributes:
      mse_rgb: mean squared difference over RGB samples of 0..255.
      psnr_rgb_db: in dB, as all PSNRs; infinity for identical frames.
      psnr_y_db, psnr_u_db, psnr_v_db: of the 8-bit 4:2:0 planes.
      psnr_yuv_db: their mean with weights 6:1:1.
      ms_ssim: over R, G and B, 0..1, or None where a side is too short for its five scales.
      ms_ssim_y: of the Y plane, likewise.
    """

    mse_rgb: float
    psnr_rgb_db: float
    psnr_y_db: float
    psnr_u_db: float
    psnr_v_db: float
    psnr_yuv_db: float
    ms_ssim: float | None
    ms_ssim_y: float | None


@dataclass(frozen=True)
class Comparison:
    """Quality of a test video against its reference.

    Attributes:
      width, height: size of the frames in pixels.
      matrix: the Y'CbCr matrix that the Y, U and V figures were taken in.
      frames: one record a frame, in order; never empty.
    """

    width: int
    height: int
    matrix: str
    frames: tuple[FrameQuality, ...]

    def mean(self, field: str) -> float | None:
        """Mean over the frames of one field of `FrameQuality`, dB averaged as dB; None if it is not available."""
        values = [getattr(frame, field) for frame in self.frames]
        return None if None in values else math.fsum(values) / len(values)

    @property
    def psnr_rgb_db(self) -> float:
        """Mean of the frames' RGB PSNRs in dB, which is what codec papers print."""
        return math.fsum(frame.psnr_rgb_db for frame in self.frames) / len(self.frames)

    @property
    def psnr_of_mean_mse_db(self) -> float:
        """RGB PSNR in dB of the mean MSE of all frames; never above `psnr_rgb_db`."""
        return float(metrics.psnr_from_mse(math.fsum(frame.mse_rgb for frame in self.frames) / len(self.frames)))

    @property
    def ms_ssim(self) -> float | None:
        """Mean of the frames' MS-SSIM, or None if the frames are too small for it."""
        return self.mean("ms_ssim")

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON; infinity is the string "inf", what is not available is None."""
        fields = [name for name in FrameQuality.__dataclass_fields__ if name != "mse_rgb"]
        means = {name: self.mean(name) for name in fields} | {"psnr_of_mean_mse_db": self.psnr_of_mean_mse_db}
        return {
            "width": self.width,
            "height": self.height,
            "matrix": self.matrix,
            "frame_count": len(self.frames),
            "mean": _plain(means),
            "frames": [_plain(asdict(frame)) for frame in self.frames],
        }


def compare(reference: Iterable[AnyFrame], test: Iterable[AnyFrame], *, matrix: str = "bt709") -> Comparison:
    """The quality of every frame of `test` against the same frame of `reference`.

    Args:
      reference, test: frames in order, uint8 RGB [h w 3], 0..255; all of one size.
      matrix: "bt601", "bt709" or "bt2020", in which the Y, U and V figures are taken.

    Raises:
      VideoError: the two differ in size or in number of frames, the size changes midway, or there are no frames.
      UsageError: the matrix is unknown, or frames are not uint8 RGB.
    """
    qualities: list[FrameQuality] = []
    size: tuple[int, int] | None = None
    for x, x_hat in _pairs(reference, test):
        size = size or (x.shape[1], x.shape[0])
        for name, frame in (("reference", x), ("test", x_hat)):
            check_size(len(qualities) + 1, name, size, frame)
        qualities.append(frame_quality(x, x_hat, matrix))
    if size is None:
        raise VideoError("neither video has any frames to compare")
    return Comparison(*size, matrix, tuple(qualities))


def frame_quality(x: Frame, x_hat: Frame, matrix: str) -> FrameQuality:
    """The record of one pair of frames of equal size; arguments and errors as in `compare`."""
    pair = x[None], x_hat[None]
    mse = metrics.mse_rgb(*pair)
    yuv = metrics.psnr_yuv420(*pair, matrix)
    ms_ssim = ms_ssim_y = None
    if min(x.shape[:2]) >= metrics.ms_ssim_min_side():
        ms_ssim, ms_ssim_y = (float(value[0]) for value in metrics.ms_ssim_rgb_y(*pair, matrix))
    return FrameQuality(
        mse_rgb=float(mse[0]),
        psnr_rgb_db=float(metrics.psnr_from_mse(mse)[0]),
        psnr_y_db=float(yuv.y[0]),
        psnr_u_db=float(yuv.u[0]),
        psnr_v_db=float(yuv.v[0]),
        psnr_yuv_db=float(yuv.yuv[0]),
        ms_ssim=ms_ssim,
        ms_ssim_y=ms_ssim_y,
    )


def format_table(comparison: Comparison) -> str:
    """A text table: mean and worst frame (counted from 1) of every metric, "n/a" where it is not defined."""
    rows = [
        ("PSNR RGB", "psnr_rgb_db", " dB", 3),
        ("PSNR Y", "psnr_y_db", " dB", 3),
        ("PSNR U", "psnr_u_db", " dB", 3),
        ("PSNR V", "psnr_v_db", " dB", 3),
        ("PSNR YUV 6:1:1", "psnr_yuv_db", " dB", 3),
        ("MS-SSIM", "ms_ssim", "", 5),
        ("MS-SSIM Y", "ms_ssim_y", "", 5),
    ]
    lines = [
        f"{len(comparison.frames)} frames of {comparison.width}x{comparison.height}, "
        f"Y, U and V as 8-bit limited-range 4:2:0 of {comparison.matrix}",
        f"{'':<20}{'mean':>12}{'worst':>12}  in frame",
    ]
    for label, field, unit, digits in rows:
        mean = comparison.mean(field)
        if mean is None:
            lines.append(f"{label:<20}{'n/a':>12}{'n/a':>12}  sides under {metrics.ms_ssim_min_side()} pixels")
            continue
        values = [getattr(frame, field) for frame in comparison.frames]
        worst = min(range(len(values)), key=values.__getitem__)
        number = f"{mean:.{digits}f}{unit}"
        lines.append(f"{label:<20}{number:>12}{f'{values[worst]:.{digits}f}{unit}':>12}  {worst + 1}")
    lines.append(f"{'PSNR of mean RGB MSE':<20}{f'{comparison.psnr_of_mean_mse_db:.3f} dB':>12}")
    return "\n".join(lines)


def _pairs(reference: Iterable[AnyFrame], test: Iterable[AnyFrame]) -> Iterator[tuple[AnyFrame, AnyFrame]]:
    for number, (x, x_hat) in enumerate(zip_longest(reference, test), 1):
        if x is None or x_hat is None:
            short, long = ("reference", "test") if x is None else ("test", "reference")
            raise VideoError(
                f"the {short} video ends after {number - 1} frames, but the {long} video has a frame {number}"
            )
        yield x, x_hat


def check_size(number: int, name: str, size: tuple[int, int], frame: AnyFrame) -> None:
    """Returns nothing; VideoError if frame `number` of a video is not of the `size` (width, height) in pixels."""
    width, height = frame.shape[1], frame.shape[0]
    if (width, height) != size:
        raise VideoError(
            f"frame {number} of the {name} video is {width}x{height} pixels, "
            f"but the reference video starts with {size[0]}x{size[1]}"
        )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: "inf" if value == math.inf else value for key, value in values.items()}
