"""The report as one HTML file that needs nothing else: style, script, points and pictures are inside it."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import cbvc_jax
from cbvc_jax.evaluation.measure import PICTURE_SIZE
from cbvc_jax.evaluation.records import picture_file
from cbvc_jax.evaluation.report import tables
from cbvc_jax.evaluation.report.curves import Metric, Point, Results
from cbvc_jax.evaluation.report.tables import Table

POSITION_METRICS = ("psnr_rgb_db", "ms_ssim", "lpips_vgg", "lpips_alex", "vmaf")


def make_page(results: Results, shown: Sequence[Table], pictures: Path, title: str) -> str:
    """The HTML of the report.

    Args:
      results: what was measured.
      shown: its tables.
      pictures: the folder OUT that pictures of points were written below; only those that are there are shown.
      title: of the page.
    """
    room = resources.files("cbvc_jax.evaluation.report")
    style, script, page = ((room / f"page.{suffix}").read_text() for suffix in ("css", "js", "html"))
    parts = {
        "TITLE": html.escape(title),
        "SUMMARY": html.escape(_summary(results)),
        "STYLE": style,
        "TABLES": "".join(map(tables.page, shown)),
        "PICTURES": _pictures(results, pictures),
        # "<" could end the script element.
        "DATA": json.dumps(_data(results), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        "SCRIPT": script,
    }
    for name, text in parts.items():
        page = page.replace(f"<!--{name}-->", text)
    return page


def _summary(results: Results) -> str:
    frames = sum(max(r["frames"] for r in results.records(clip)) for clip in results.clips)
    points = len(results.records())
    against = f", compared with {results.baseline}" if results.baseline else ""
    return (
        f"{points} points of {len(results.series)} codecs on {len(results.clips)} clips ({frames} frames){against}. "
        f"Rates are sizes of real files; quality is of what the ordinary decoder shows. cbvc {cbvc_jax.__version__}."
    )


def _data(results: Results) -> dict[str, Any]:
    """What the script draws: metrics, series, curves by clip and data set, quality by frame."""
    return {
        "metrics": [
            {"key": m.key, "label": m.label, "unit": m.unit, "digits": m.digits, "higher": m.higher}
            for m in results.metrics
        ],
        "series": [{"name": name, "ours": name in results.ours} for name in results.series],
        "datasets": [
            {
                "name": f"{name}: mean of {len(results.dataset_clips(name))} clips",
                "curves": _curves(results, lambda s, m, name=name: results.dataset_curve(name, s, m)),
            }
            for name in results.datasets
            if len(results.dataset_clips(name)) > 1
        ],
        "clips": [
            {
                "name": _clip_title(results, clip),
                "curves": _curves(results, lambda s, m, clip=clip: results.curve(clip, s, m)),
                "frames": _by_frame(results, clip),
            }
            for clip in results.clips
        ],
    }


def _clip_title(results: Results, clip: str) -> str:
    records = results.records(clip)
    lengths = sorted({r["frames"] for r in records})
    frames = " or ".join(map(str, lengths))
    return f"{clip}: {records[0]['width']}x{records[0]['height']}, {frames} frames"


def _curves(results: Results, curve) -> dict[str, dict[str, list[list[Any]]]]:
    """Points as [setting, bpp, value] by metric and series."""
    return {
        metric.key: {
            series: [_point(p, metric) for p in found] for series in results.series if (found := curve(series, metric))
        }
        for metric in results.metrics
    }


def _point(point: Point, metric: Metric) -> list[Any]:
    return [point.setting, round(point.bpp, 5), round(point.quality if metric.higher else -point.quality, 5)]


def _by_frame(results: Results, clip: str) -> list[dict[str, Any]]:
    """Quality by frame of our points, and of the baseline's point nearest in rate to the middle one of ours."""
    ours = sorted((r for s in results.ours for r in results.records(clip, s)), key=lambda r: r["bpp"])
    others = results.records(clip, results.baseline) if results.baseline not in (None, *results.ours) else []
    if ours and others:
        middle = ours[len(ours) // 2]["bpp"]
        others = [min(others, key=lambda r: abs(r["bpp"] - middle))]
    return [
        {
            "series": r["series"],
            "setting": r["setting"],
            "bpp": round(r["bpp"], 4),
            "gop": r["gop"],
            "values": {
                key: [round(v, 4) if isinstance(v, float) else None for v in r["per_frame"][key]]
                for key in POSITION_METRICS
                if key in r["per_frame"]
            },
        }
        for r in (*ours, *others)
    ]


def _pictures(results: Results, out: Path) -> str:
    """Crops of the source, of our points, and of the baseline's points nearest to them in rate."""
    parts = []
    for clip in results.clips:
        source = out / "pictures" / clip / "source.png"
        rows = [
            _picture_row(results, out, record)
            for series in results.ours
            for record in sorted(results.records(clip, series), key=lambda r: r["bpp"])
            if (file := picture_file(out, clip, series, record["setting"])) and file.exists()
        ]
        if rows and source.exists():
            parts += [f"<h3>{html.escape(clip)}</h3>\n", _row([(source, "source")]), *rows]
    if not parts:
        return ""
    note = (
        f"The centre of the middle frame, {PICTURE_SIZE[0]}x{PICTURE_SIZE[1]} pixels, as decoded. Beside ours stands "
        "the measured point of the other codec that is nearest in rate."
    )
    return f'<section class="pictures"><h2>Pictures at equal rate</h2><p>{note}</p>{"".join(parts)}</section>'


def _picture_row(results: Results, out: Path, record: dict[str, Any]) -> str:
    others = results.records(record["clip"], results.baseline) if results.baseline not in (None, *results.ours) else []
    nearest = [min(others, key=lambda r: abs(r["bpp"] - record["bpp"]))] if others else []
    shown = []
    for one in (record, *nearest):
        file = picture_file(out, one["clip"], one["series"], one["setting"])
        if file is not None and file.exists():
            shown.append((file, f"{one['series']} {one['setting']}: {one['bpp']:.4f} bpp, {_psnr(one)}"))
    return _row(shown)


def _row(shown: Sequence[tuple[Path, str]]) -> str:
    figures = []
    for file, caption in shown:
        text = html.escape(caption)
        url = "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
        figures.append(f'<figure><img src="{url}" alt="{text}"><figcaption>{text}</figcaption></figure>')
    return f'<div class="row">{"".join(figures)}</div>\n'


def _psnr(record: dict[str, Any]) -> str:
    value = record["mean"]["psnr_rgb_db"]
    return f"{value:.2f} dB" if isinstance(value, float) else f"{value} dB"
