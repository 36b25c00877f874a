"""The cross-check as one HTML page that needs nothing else: table, drift along the GOP, amplified differences."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

import cbvc_jax
from cbvc_jax.export.parity import COLUMNS, Parity
from cbvc_jax.video.atomic import write_whole

WIDTH, HEIGHT, MARGIN = 760, 320, 52
FLOOR = 1e-7
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999999", "#dd7733", "#117733")
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
div { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #8884; } td:first-child { text-align: left; }
svg { max-width: 100%; height: auto; } svg text { fill: currentColor; font-size: 12px; } figure { margin: 0 0 1rem; }
img { max-width: 100%; } .fail { color: #c33; font-weight: bold; }
"""


class Report:
    """Collects difference pictures while the check runs, and writes the page after it."""

    def __init__(self, stream: str | Path):
        self.stream = Path(stream).name
        self._differences: dict[str, UInt8[np.ndarray, "h w 3"]] = {}

    def add_difference(self, variant: str, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """Keeps the amplified difference of a variant's worst frame; returns nothing."""
        self._differences[variant] = picture

    def write(self, folder: Path, results: Sequence[Parity]) -> None:
        """Writes report.html and crosscheck.json into `folder`, which is made at need; returns nothing."""
        records = [dataclasses.asdict(parity) for parity in results]
        write_whole(folder / "crosscheck.json", json.dumps(records, indent=1) + "\n")
        write_whole(folder / "report.html", self._page(results))

    def _page(self, results: Sequence[Parity]) -> str:
        title = html.escape(f"Cross-check of {self.stream}")
        figures = "".join(
            f"<figure><figcaption>{html.escape(name)}: worst frame, difference amplified until the largest is black or "
            f'white</figcaption><img alt="difference of {html.escape(name)}" src="{_data_url(picture)}"></figure>'
            for name, picture in self._differences.items()
        )
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>{title}</title><style>{STYLE}</style><body><h1>{title}</h1>"
            f"<p>{results[0].frames} frames, each decoded in a process of its own. Differences to JAX in float32, in "
            f"8-bit levels before rounding. SHA-256 of the indices: <code>{results[0].indices_sha256[:16]}…</code>. "
            f"cbvc {cbvc_jax.__version__}.</p><div>{_table(results)}</div>"
            f"<h2>Drift: RMS difference by frame</h2>{_chart(results[1:])}<h2>Where</h2>{figures}</body></html>\n"
        )


def _table(results: Sequence[Parity]) -> str:
    lines = [_line("th", COLUMNS)]
    for parity in results:
        line = _line("td", parity.cells())
        lines.append(line.replace("<td>", '<td class="fail">') if parity.passed is False else line)
    return f"<table>{''.join(lines)}</table>"


def _line(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _chart(results: Sequence[Parity]) -> str:
    """RMS by frame on a logarithmic scale; zero is drawn at the floor."""
    values = [max(v, FLOOR) for p in results for v in p.rms_by_frame]
    if not values:
        return "<p>Nothing to compare.</p>"
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)
    high = max(high, low + 1)
    frames = max(2, *(len(p.rms_by_frame) for p in results))

    def place(t: int, value: float) -> str:
        x = MARGIN + (WIDTH - 2 * MARGIN) * t / (frames - 1)
        y = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (math.log10(max(value, FLOOR)) - low) / (high - low)
        return f"{x:.1f},{y:.1f}"

    parts = []
    for decade in range(low, high + 1):
        y = place(0, 10.0**decade).split(",")[1]
        parts.append(f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y}" y2="{y}" stroke="#8886"/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{y}" text-anchor="end">1e{decade}</text>')
    for i, p in enumerate(results):
        colour = COLOURS[i % len(COLOURS)]
        line = " ".join(place(t, v) for t, v in enumerate(p.rms_by_frame))
        name = html.escape(p.variant)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{line}"><title>{name}</title>')
        row, column = divmod(i, 4)
        place_of_name = f'x="{MARGIN + 165 * column}" y="{14 + 15 * row}"'
        parts.append(f'</polyline><text {place_of_name} style="fill:{colour}">{name}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 14}" text-anchor="middle">frame, 0 to {frames - 1}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="drift">{"".join(parts)}</svg>'


def _data_url(picture: UInt8[np.ndarray, "h w 3"]) -> str:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
