"""The measurements of the paper's tables and figures, to be made anew with any model, and the paper's own figures.

The latter stand in `paper.json`, are shown beside ours in rows that say whose they are, and enter no curve or mean.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from cbvc_jax.bitstream import STREAM_CODINGS, StreamCoding
from cbvc_jax.errors import UsageError
from cbvc_jax.evaluation.anchors import BASELINE
from cbvc_jax.evaluation.measure import curve_models

GOP = 32
TABLE7 = ("x264-crf", "x265-crf")
H264, H265 = "x264-crf-gop12", BASELINE


@dataclass(frozen=True)
class Preset:
    """Options of `cbvc rd` that make the counterpart of one of the paper's tables or figures.

    Attributes:
      shows: what it is the counterpart of.
      gops: of our models.
      codings: of their indices; those of `cbvc encode` when empty.
      anchors: conventional codecs, by name.
      metrics: besides PSNR and MS-SSIM.
      baseline: what others are compared with: a series, or "gopN" for the first model at that GOP.
      timed: whether the models' complexity and the times of their parts belong to it.
    """

    shows: str
    gops: tuple[int, ...] = (GOP,)
    codings: tuple[StreamCoding, ...] = ()
    anchors: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    baseline: str | None = None
    timed: bool = False

    def series(self, models: Sequence[str]) -> str | None:
        """Name of the baseline's series, given our models; None leaves the choice to the report."""
        if self.baseline is not None and self.baseline.startswith("gop"):
            return f"{curve_models(models[0])[0]}-{self.baseline}" if models else None
        return self.baseline


NO_PRESET = Preset("", anchors=("x265-crf",))
PRESETS = {
    "table1": Preset("Table 1 and Figure 5", anchors=TABLE7, baseline=H265),
    "table3": Preset("Table 3 and Figure 10", baseline=f"gop{GOP}", timed=True),
    "table4": Preset("Table 4", codings=tuple(STREAM_CODINGS), anchors=("x265-crf",), baseline=H265),
    "table6": Preset("Table 6 and Figure 11", gops=(7, 12, 24, 32, 48, 96), baseline=f"gop{GOP}"),
    "figure12": Preset(
        "Figures 12 to 14",
        gops=(12, 32),
        anchors=tuple(
            f"{codec}-{control}-gop{gop}" for codec in ("x264", "x265") for control in ("crf", "qp") for gop in (12, 32)
        ),
        metrics=("lpips_vgg", "lpips_alex"),
        baseline=H265,
    ),
}
OTHER_NAMES = {
    "figure5": "table1",
    "figure10": "table3",
    "figure11": "table6",
    "figure13": "figure12",
    "figure14": "figure12",
}
NAMES = ", ".join((*PRESETS, *OTHER_NAMES))


@dataclass(frozen=True)
class Published:
    """A table of the paper, as it is printed.

    Attributes:
      title: its number and subject.
      note: whose figures they are, and how they were made.
      header, rows: cells as text; the first column names the row.
    """

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def preset_name(name: str) -> str:
    """The key in `PRESETS` for a table or figure of the paper; UsageError if it has no counterpart."""
    if name not in PRESETS and name not in OTHER_NAMES:
        raise UsageError(f"--paper {name}: there are {NAMES}")
    return OTHER_NAMES.get(name, name)


def published(preset: str) -> Published | None:
    """The paper's own table that a preset is the counterpart of; None where the paper only plots."""
    text = (resources.files("cbvc_jax.evaluation") / "paper.json").read_text()
    for t in json.loads(text):
        if t["preset"] == preset:
            return Published(t["title"], t["note"], tuple(t["header"]), tuple(map(tuple, t["rows"])))
    return None
