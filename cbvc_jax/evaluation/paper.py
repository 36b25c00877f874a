"""The measurements of the paper's tables and figures, to be made anew with any model, and the paper's own figures.

The latter stand in `paper.json`, are shown beside ours under the paper's name, and enter no curve or mean.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from cbvc_jax.evaluation.report.tables import Table

FRAMES, GOP = 96, 32
TABLE7 = ("x264-crf", "x265-crf")


@dataclass(frozen=True)
class Preset:
    """Options of `cbvc rd` that make the counterpart of one of the paper's tables or figures.

    Attributes:
      shows: what it is the counterpart of.
      gops: of our models.
      anchors: conventional codecs, by name.
      metrics: besides PSNR and MS-SSIM.
      baseline: what others are compared with: a series, or "gopN" for the first model at that GOP.
    """

    shows: str
    gops: tuple[int, ...] = (GOP,)
    anchors: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    baseline: str | None = None

    def series(self, models: Sequence[str]) -> str | None:
        """Name of the baseline's series, given our models; None leaves the choice to the report."""
        if self.baseline is not None and self.baseline.startswith("gop"):
            return f"{Path(models[0]).name}-{self.baseline}" if models else None
        return self.baseline


PRESETS = {
    "table1": Preset("Table 1 and Figure 5", anchors=TABLE7, baseline="x265-crf-gop12"),
    "table3": Preset("Table 3 and Figure 10"),
    "table4": Preset("Table 4", anchors=("x265-crf",), baseline="x265-crf-gop12"),
    "table6": Preset("Table 6 and Figure 11", gops=(7, 12, 24, 32, 48, 96), baseline="gop32"),
    "figure12": Preset(
        "Figures 12 to 14",
        gops=(12, 32),
        anchors=tuple(
            f"{codec}-{control}-gop{gop}" for codec in ("x264", "x265") for control in ("crf", "qp") for gop in (12, 32)
        ),
        metrics=("lpips_vgg",),
        baseline="x265-crf-gop12",
    ),
}


def published(preset: str) -> list[Table]:
    """The paper's own tables that a preset is the counterpart of; none for those that the paper only plots."""
    text = (resources.files("cbvc_jax.evaluation") / "paper.json").read_text()
    return [
        Table(f"The paper's figures: {t['title']}", t["note"], tuple(t["header"]), tuple(map(tuple, t["rows"])))
        for t in json.loads(text)
        if t["preset"] == preset
    ]
