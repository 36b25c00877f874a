"""The files of a report: OUT/report.html, OUT/tables.md, OUT/points.csv and OUT/bd_rate.csv."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from cbvc_jax.evaluation import paper
from cbvc_jax.evaluation.parts import load_parts
from cbvc_jax.evaluation.records import Records
from cbvc_jax.evaluation.report.counterpart import counterpart
from cbvc_jax.evaluation.report.curves import Results
from cbvc_jax.evaluation.report.page import make_page
from cbvc_jax.evaluation.report.tables import markdown, tables
from cbvc_jax.video.atomic import write_whole

TITLE = "Rate and distortion"


def write_report(records: Records, out: Path, baseline: str | None = None, preset: str | None = None) -> Results:
    """Writes all files of the report below `out` and returns what they show.

    Args:
      records: every point that is to be shown.
      out: an existing folder; pictures of points, and the times of models' parts, lie below it.
      baseline: the series that others are compared with; by default x265 as in the paper, or the first there is.
      preset: name of the preset in `cbvc_jax.evaluation.paper` whose published table is shown with ours in it.

    Raises:
      UsageError: there are no points, or none of the baseline, or a file below `out` is damaged.
    """
    results = Results(records, baseline)
    shown = [*(counterpart(preset, results, load_parts(out)) if preset else ()), *tables(results)]
    title = f"{TITLE}: our counterpart of the paper's {paper.PRESETS[preset].shows}" if preset else TITLE
    write_whole(out / "points.csv", records.csv())
    write_whole(out / "bd_rate.csv", _csv(results.bd_rates()))
    write_whole(out / "tables.md", "\n".join(["# " + title, "", *map(markdown, shown)]))
    write_whole(out / "report.html", make_page(results, shown, out, title))
    return results


def _csv(rows: list[dict]) -> str:
    text = io.StringIO()
    names = ("clip", "series", "baseline", "metric", "method", "percent", "overlap", "low", "high", "note")
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
