"""The cross-check as one HTML page that needs nothing else: table, drift along the GOP, amplified differences."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

import cbvc_jax
from cbvc_jax.evaluation.report.tables import Table, page
from cbvc_jax.export.chart import line_chart
from cbvc_jax.export.parity import COLUMNS, Parity
from cbvc_jax.video.atomic import write_whole

FLOOR = 1e-7
"""Differences below it are drawn there, in 8-bit levels: zero has no place on a logarithmic scale."""
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
div { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #8884; }
th[scope="row"] { text-align: left; }
svg { max-width: 100%; height: auto; } figure { margin: 0 0 1rem; }
img { max-width: 100%; }
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
        note = (
            f"{results[0].frames} frames, each decoded in a process of its own. Differences to JAX in float32, in "
            f"8-bit levels before rounding. SHA-256 of the indices: {results[0].indices_sha256[:16]}... "
            f"cbvc {cbvc_jax.__version__}."
        )
        table = Table("Differences", note, COLUMNS, tuple(parity.cells() for parity in results))
        title = html.escape(f"Cross-check of {self.stream}")
        figures = "".join(
            f"<figure><figcaption>{html.escape(name)}: worst frame, difference amplified until the largest is black or "
            f'white</figcaption><img alt="difference of {html.escape(name)}" src="{_data_url(picture)}"></figure>'
            for name, picture in self._differences.items()
        )
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>{title}</title><style>{STYLE}</style><body><h1>{title}</h1>"
            f"{page(table)}<h2>Drift: RMS difference by frame</h2>{drift_chart(results)}<h2>Where</h2>{figures}"
            "</body></html>\n"
        )


def drift_chart(results: Sequence[Parity]) -> str:
    """The RMS differences to the reference, the first of `results`, by frame, as SVG."""
    lines = {p.variant: list(enumerate(p.rms_by_frame)) for p in results[1:]}
    return line_chart(lines, "frame", "RMS difference in 8-bit levels", floor=FLOOR)


def _data_url(picture: UInt8[np.ndarray, "h w 3"]) -> str:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
