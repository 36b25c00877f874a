"""What the cross-check found over many streams, as tables and charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cbvc_jax
from cbvc_jax.errors import UsageError
from cbvc_jax.evaluation.curve import bd_rate
from cbvc_jax.evaluation.report.tables import NONE, Table
from cbvc_jax.export.chart import line_chart
from cbvc_jax.export.parity import VERDICTS
from cbvc_jax.export.report import FLOOR
from cbvc_jax.export.variants import REFERENCE

Point = dict[str, Any]
"""As `cbvc_jax.export.tables.Points` keeps it: a stream's settings, rate, and results by variant."""
POSITIONS = (0, 1, 2, 4, 8, 16, 31, 63, 95, 127, 255, 511, 1000)
METRICS = {"PSNR": "source_psnr_db", "MS-SSIM": "source_ms_ssim"}


def summarise(points: Sequence[Point], names: Sequence[str]) -> list[Table]:
    """The tables of all points for the variants of these names, the reference among them."""
    return [_differences(points, names), _bd_rates(points, names), _curves(points, names), _drift(points, names)]


def charts(points: Sequence[Point], names: Sequence[str]) -> dict[str, str]:
    """SVGs by name: "rate_distortion", where there are several rates, and "drift"."""
    drift = {n: list(enumerate(_rms_by_frame(_found(points, n)))) for n in names if n != REFERENCE.name}
    made = {"drift": line_chart(drift, "frame", "RMS difference to JAX in 8-bit levels", floor=FLOOR)}
    if len(_rates(points)) > 1:
        lines = {name: [(bpp, value) for _, bpp, value, _ in _means(points, name)] for name in names}
        rd = line_chart(lines, "bits a pixel", "PSNR RGB in dB, mean over clips", marked=True)
        made = {"rate_distortion": rd, **made}
    return made


def _differences(points: Sequence[Point], names: Sequence[str]) -> Table:
    rows = []
    for name in names:
        found = _found(points, name)
        if not found:
            rows.append((name, "0", *[NONE] * 7))
            continue
        references = [p["results"][REFERENCE.name] for p in points if name in p["results"]]
        same = sum(r["indices_sha256"] == f["indices_sha256"] for r, f in zip(references, found, strict=True))
        shares = [(f["equal_share"], f["frames"] * p["width"] * p["height"]) for f, p in _with_points(points, name)]
        near = max(abs(f["source_psnr_db"] - r["source_psnr_db"]) for r, f in zip(references, found, strict=True))
        verdicts = [f["passed"] for f in found]
        verdict = False if False in verdicts or len(found) < len(points) else verdicts[0]
        rows.append(
            (
                name,
                f"{sum(f['frames'] for f in found)}",
                f"{same} of {len(points)}",
                f"{max(f['worst'] for f in found):.2e}",
                f"{_root_mean([v for f in found for v in f['rms_by_frame']]):.2e}",
                str(max(f["worst_8bit"] for f in found)),
                f"{100 * sum(s * n for s, n in shares) / sum(n for _, n in shares):.5f} %",
                f"{near:.5f} dB",
                VERDICTS[verdict],
            )
        )
    clips, rates = list(dict.fromkeys(p["settings"]["clip"] for p in points)), _rates(points)
    settings = points[0]["settings"]
    note = (
        f"{len(points)} streams: {', '.join(clips)}; rates {', '.join(rates)}; GOP {settings['gop']}. Model "
        f"{settings['model_sha256'][:12]}, cbvc {cbvc_jax.__version__}. Differences to JAX in float32, in 8-bit "
        "levels: the largest and the root of the mean square before rounding, the largest after it. The last column "
        "but one: by how much the PSNR of any stream to its source, in RGB, differs at the most."
    )
    header = ("backend", "frames", "indices equal", "worst", "RMS", "worst 8-bit", "equal pixels", "PSNR off by", "")
    return Table("Every backend", note, header, tuple(rows))


def _bd_rates(points: Sequence[Point], names: Sequence[str]) -> Table:
    clips = list(dict.fromkeys(p["settings"]["clip"] for p in points))
    note = (
        "Counterpart of the paper's Tables 2 and 5: the same streams decoded elsewhere; BD-rate against their decoding "
        f"by JAX in float32, mean over clips. Rates: {', '.join(_rates(points))}."
    )
    rows = []
    for name in names:
        cells = []
        for field in METRICS.values():
            found = [v for clip in clips if (v := _bd_rate(points, name, clip, field)) is not None]
            of = "" if len(found) == len(clips) else f" ({len(found)} of {len(clips)} clips)"
            cells.append(f"{_tidy(math.fsum(found) / len(found))} %{of}" if found else NONE)
        rows.append((name, *cells))
    header = ("decoded by", *(f"BD-rate by {metric}" for metric in METRICS))
    return Table("BD-rate of backends and precisions", note, header, tuple(rows if len(_rates(points)) > 1 else ()))


def _bd_rate(points: Sequence[Point], name: str, clip: str, field: str) -> float | None:
    """None where there is no curve: fewer than two rates, frames too small, or a quality that does not rise."""
    of_clip = [p for p in points if p["settings"]["clip"] == clip and name in p["results"]]
    curves = [[p["results"][n][field] for p in of_clip] for n in (REFERENCE.name, name)]
    if None in (*curves[0], *curves[1]):
        return None
    bpps = [p["bpp"] for p in of_clip]
    try:
        return bd_rate(bpps, curves[0], bpps, curves[1]).percent
    except UsageError:
        return None


def _tidy(percent: float) -> str:
    """A percentage with enough digits to be told from zero, and no more than are meant."""
    return "0" if percent == 0 else f"{percent:+.1e}" if abs(percent) < 1e-3 else f"{percent:+.4f}"


def _curves(points: Sequence[Point], names: Sequence[str]) -> Table:
    """The points of the counterpart of Figure 9."""
    rows = [
        (name, rate, f"{bpp:.4f}", f"{psnr:.5f} dB", NONE if similarity is None else f"{similarity:.7f}")
        for name in names
        for rate, bpp, psnr, similarity in _means(points, name)
    ]
    note = "Counterpart of the paper's Figure 9: mean over clips."
    return Table("Rate and distortion", note, ("decoded by", "rate", "bpp", "PSNR RGB", "MS-SSIM"), tuple(rows))


def _means(points: Sequence[Point], name: str) -> list[tuple[str, float, float, float | None]]:
    """(rate, bpp, PSNR, MS-SSIM) at every rate, each a mean over the streams that the variant has decoded."""
    made = []
    for rate in _rates(points):
        found = [p for p in points if p["settings"]["rate"] == rate and name in p["results"]]
        if not found:
            continue
        similarities = [p["results"][name]["source_ms_ssim"] for p in found]
        similarity = None if None in similarities else math.fsum(similarities) / len(found)
        psnr = math.fsum(p["results"][name]["source_psnr_db"] for p in found) / len(found)
        made.append((rate, math.fsum(p["bpp"] for p in found) / len(found), psnr, similarity))
    return made


def _drift(points: Sequence[Point], names: Sequence[str]) -> Table:
    longest = max(len(r["rms_by_frame"]) for p in points for r in p["results"].values())
    positions = [t for t in POSITIONS if t < longest]
    rows = []
    for name in names:
        rms = _rms_by_frame(_found(points, name))
        rows.append((name, *(f"{rms[t]:.1e}" if t < len(rms) else NONE for t in positions)))
    note = "RMS difference to JAX in 8-bit levels at a frame, counted from 0, over all streams that are so long."
    return Table("Drift", note, ("backend", *(f"frame {t}" for t in positions)), tuple(rows))


def _rms_by_frame(found: Sequence[dict[str, Any]]) -> list[float]:
    longest = max((len(f["rms_by_frame"]) for f in found), default=0)
    return [_root_mean([f["rms_by_frame"][t] for f in found if t < len(f["rms_by_frame"])]) for t in range(longest)]


def _root_mean(values: Sequence[float]) -> float:
    return math.sqrt(math.fsum(v * v for v in values) / len(values))


def _rates(points: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(p["settings"]["rate"] for p in points))


def _found(points: Sequence[Point], name: str) -> list[dict[str, Any]]:
    return [p["results"][name] for p in points if name in p["results"]]


def _with_points(points: Sequence[Point], name: str) -> list[tuple[dict[str, Any], Point]]:
    return [(p["results"][name], p) for p in points if name in p["results"]]
