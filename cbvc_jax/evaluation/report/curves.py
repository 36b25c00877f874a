"""Records -> curves by clip and data set, and the BD-rate of each against a baseline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cbvc_jax.errors import UsageError
from cbvc_jax.evaluation.anchors import BASELINE
from cbvc_jax.evaluation.curve import METHODS, BDRate, Method, bd_rate
from cbvc_jax.evaluation.measure import Record

OURS = "cbvc"


@dataclass(frozen=True)
class Metric:
    """How a metric is shown: `key` in the records, `unit`, `digits` after the point, and whether higher is better."""

    key: str
    label: str
    unit: str
    digits: int
    higher: bool = True

    def text(self, value: float) -> str:
        return f"{value:.{self.digits}f}"


METRICS = (
    Metric("psnr_rgb_db", "PSNR RGB", "dB", 2),
    Metric("psnr_yuv_db", "PSNR YUV 6:1:1", "dB", 2),
    Metric("psnr_y_db", "PSNR Y", "dB", 2),
    Metric("psnr_u_db", "PSNR U", "dB", 2),
    Metric("psnr_v_db", "PSNR V", "dB", 2),
    Metric("ms_ssim", "MS-SSIM RGB", "", 4),
    Metric("ms_ssim_y", "MS-SSIM Y", "", 4),
    Metric("lpips_vgg", "LPIPS VGG", "", 4, higher=False),
    Metric("lpips_alex", "LPIPS AlexNet", "", 4, higher=False),
    Metric("vmaf", "VMAF", "", 2),
)
SHORT = ("psnr_rgb_db", "psnr_yuv_db", "ms_ssim", "ms_ssim_y", "lpips_vgg", "lpips_alex", "vmaf")
"""Metrics that tables of BD-rate have columns for."""


@dataclass(frozen=True)
class Point:
    """One point of a curve: its setting, rate in bits a pixel, and quality, higher being better."""

    setting: str
    bpp: float
    quality: float


class Results:
    """Measured points, looked up by clip and series.

    Attributes:
      clips, datasets, series: names in the order in which they are shown: our series first.
      metrics: those that any point has.
      baseline: the series that others are compared with, or None if there is but one.

    Raises:
      UsageError: there are no records, or none of the baseline that is asked for.
    """

    def __init__(self, records: Iterable[Record], baseline: str | None = None):
        self._by_clip: dict[str, dict[str, list[Record]]] = {}
        for record in records:
            self._by_clip.setdefault(record["clip"], {}).setdefault(record["series"], []).append(record)
        if not self._by_clip:
            raise UsageError("there are no measured points to report on")
        self.clips = sorted(self._by_clip)
        everything = self.records()
        self.ours = sorted({r["series"] for r in everything if r["codec"] == OURS}, key=_by_gop)
        self.series = [*self.ours, *sorted({r["series"] for r in everything} - set(self.ours))]
        self.datasets = sorted({r["dataset"] for r in everything})
        self.metrics = [m for m in METRICS if any(_finite(r["mean"].get(m.key)) is not None for r in everything)]
        self.baseline = self._baseline(baseline)

    def _baseline(self, wanted: str | None) -> str | None:
        if wanted is not None:
            if wanted not in self.series:
                raise UsageError(f"there is no series '{wanted}' to compare with; there are {', '.join(self.series)}")
            return wanted
        anchors = [s for s in self.series if s not in self.ours]
        preferred = [s for s in anchors if s == BASELINE] or anchors or self.series
        return preferred[0] if len(self.series) > 1 else None

    def records(self, clip: str | None = None, series: str | None = None) -> list[Record]:
        """The records of one clip or of all, of one series or of all."""
        clips = self.clips if clip is None else [clip]
        return [r for c in clips for s, found in self._by_clip.get(c, {}).items() if series in (None, s) for r in found]

    def curve(self, clip: str, series: str, metric: Metric) -> list[Point]:
        """Points that have the metric, by rate; a distance such as LPIPS is negated."""
        points = []
        for record in self.records(clip, series):
            value = _finite(record["mean"].get(metric.key))
            if value is not None:
                points.append(Point(record["setting"], record["bpp"], value if metric.higher else -value))
        return sorted(points, key=lambda point: point.bpp)

    def dataset_clips(self, dataset: str) -> list[str]:
        """The clips of a data set."""
        return [clip for clip in self.clips if any(r["dataset"] == dataset for r in self.records(clip))]

    def dataset_curve(self, dataset: str, series: str, metric: Metric) -> list[Point]:
        """Means over the clips of a data set, of rate and quality, at every setting that all its clips have."""
        curves = [{p.setting: p for p in self.curve(c, series, metric)} for c in self.dataset_clips(dataset)]
        common = set.intersection(*(set(curve) for curve in curves))
        return sorted(
            (
                Point(setting, _mean([c[setting].bpp for c in curves]), _mean([c[setting].quality for c in curves]))
                for setting in common
            ),
            key=lambda point: point.bpp,
        )

    def bd_rate(
        self, clip: str, series: str, metric: Metric, method: Method = "pchip", against: str | None = None
    ) -> BDRate | str:
        """The BD-rate of a series on a clip against another (by default the baseline), or why there is none."""
        against = against or self.baseline
        assert against is not None
        anchor, curve = (self.curve(clip, s, metric) for s in (against, series))
        try:
            return bd_rate(*columns(anchor), *columns(curve), method)
        except UsageError as error:
            return str(error)

    def bd_rates(self) -> list[dict[str, str | float | None]]:
        """Every BD-rate as rows for a CSV file: clip, series, metric and method, the figure, or why there is none."""
        rows = []
        for clip in self.clips if self.baseline else ():
            for series in (s for s in self.series if s != self.baseline and self.records(clip, s)):
                for metric in self.metrics:
                    for method in METHODS:
                        found = self.bd_rate(clip, series, metric, method)
                        row = {"clip": clip, "series": series, "baseline": self.baseline, "metric": metric.key}
                        facts = {"percent": None, "overlap": None, "low": None, "high": None, "note": found}
                        if isinstance(found, BDRate):
                            facts = {**vars(found), "note": None}
                        rows.append({**row, "method": method, **facts})
        return rows


def columns(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    """Rates and qualities of a curve, as `cbvc_jax.evaluation.curve` takes them."""
    return [point.bpp for point in points], [point.quality for point in points]


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _by_gop(series: str) -> tuple[str, int, str]:
    name, _, rest = series.rpartition("-gop")
    gop, _, setting = rest.partition("-")
    return (name, int(gop), setting) if gop.isdigit() else (series, 0, "")
