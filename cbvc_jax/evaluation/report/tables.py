"""Tables of a report, as plain cells, and how they are written in Markdown and HTML."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cbvc_jax.errors import UsageError
from cbvc_jax.evaluation.curve import BDRate, bpp_at_quality, quality_at_bpp
from cbvc_jax.evaluation.report.curves import SHORT, Metric, Point, Results, columns
from cbvc_jax.geometry import gop_bpp
from cbvc_jax.markdown import table as tabled
from cbvc_jax.presets import RATES, get_preset

POSITIONS = (0, 1, 4, 8, 15, 31, 32, 63, 95)
NONE = "-"


@dataclass(frozen=True)
class Table:
    """A table with a title, a note on how to read it, a header and rows of text. The first column names the row.

    `theirs` are the numbers of the rows whose figures others have published.
    """

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    theirs: frozenset[int] = frozenset()


def markdown(table: Table) -> str:
    """The table in Markdown, under a heading of the second level."""
    lines = [f"## {table.title}", "", table.note, ""] if table.note else [f"## {table.title}", ""]
    return "\n".join([*lines, tabled(table.header, table.rows)]) + "\n"


def page(table: Table) -> str:
    """The table in HTML; figures that others have published look different."""
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in table.header)
    kinds = {True: ' class="theirs"', False: ""}
    body = "".join(
        f"<tr{kinds[number in table.theirs]}>"
        f'<th scope="row">{html.escape(row[0])}</th>{"".join(f"<td>{html.escape(c)}</td>" for c in row[1:])}</tr>\n'
        for number, row in enumerate(table.rows)
    )
    return (
        f"<section><h2>{html.escape(table.title)}</h2><p>{html.escape(table.note)}</p>\n"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div></section>\n'
    )


def tables(results: Results) -> list[Table]:
    """All tables of a report that there are points for."""
    made = [_bd_rates(results), _gaps(results)] if results.baseline else []
    if any(len(results.dataset_clips(dataset)) > 1 for dataset in results.datasets):
        made.append(_means(results))
    if results.ours:
        made += [_rates(results), _positions(results)]
    made.append(_speeds(results))
    return [table for table in made if table.rows]


def _bd_rates(results: Results) -> Table:
    metrics = [metric for metric in results.metrics if metric.key in SHORT]
    rows = []
    for series in (s for s in results.series if s != results.baseline):
        for dataset in results.datasets:
            clips = [clip for clip in results.dataset_clips(dataset) if results.records(clip, series)]
            found = [[results.bd_rate(clip, series, metric) for metric in metrics] for clip in clips]
            rows += [(series, clip, *map(_bd_cell, cells)) for clip, cells in zip(clips, found, strict=True)]
            if len(clips) > 1:
                means = (bd_mean([cells[i] for cells in found]) for i in range(len(metrics)))
                rows.append((series, f"mean of {dataset}", *means))
    return Table(
        f"BD-rate against {results.baseline}",
        "Mean difference in bits at equal quality, by PCHIP over log rate; below 0 saves bits. In brackets: the share "
        "of both curves' range of quality that they have in common, which is what a figure rests on. Where they have "
        "none in common, or quality does not rise with rate, there is no figure. Akima and the cubic fit: bd_rate.csv.",
        ("series", "clip", *(metric.label for metric in metrics)),
        tuple(rows),
    )


def _bd_cell(found: BDRate | str) -> str:
    if isinstance(found, BDRate):
        return f"{found.percent:+.1f} % ({100 * found.overlap:.0f} %)"
    reasons = {"do not overlap": "no overlap", "not monotone": "not monotone"}
    return next((short for words, short in reasons.items() if words in found), NONE)


def bd_mean(found: Sequence[BDRate | str]) -> str:
    """The mean of the BD-rates that there are, as a cell of a table, and of how many clips it is."""
    known = [one.percent for one in found if isinstance(one, BDRate)]
    return f"{math.fsum(known) / len(known):+.1f} % ({len(known)} of {len(found)} clips)" if known else NONE


def _gaps(results: Results) -> Table:
    """How far each series is from the baseline at the rates that the family has at fixed length, in GOPs of 32."""
    preset = get_preset("wca4")
    sizes = (preset.codebook_sizes(rate) for rate in reversed(RATES))
    bpps = [gop_bpp(1024, 1920, preset.key_sizes, of_rate, 32) for of_rate in sizes]
    metrics = [metric for metric in results.metrics if metric.key in ("psnr_rgb_db", "ms_ssim")]
    wanted = [(metric, bpp) for metric in metrics for bpp in bpps]
    rows = []
    for series, dataset in itertools.product((s for s in results.series if s != results.baseline), results.datasets):
        clips = [clip for clip in results.dataset_clips(dataset) if results.records(clip, series)]
        found = [[_gap(results, clip, series, metric, bpp) for metric, bpp in wanted] for clip in clips]
        for clip, gaps in zip(clips, found, strict=True):
            cells = (NONE if g is None else f"{g:+.{m.digits}f}" for g, (m, _) in zip(gaps, wanted, strict=True))
            rows.append((series, clip, *cells))
        if len(clips) > 1:
            means = (_gap_mean([gaps[i] for gaps in found], metric) for i, (metric, _) in enumerate(wanted))
            rows.append((series, f"mean of {dataset}", *means))
    return Table(
        f"Difference to {results.baseline} at equal bits",
        f"Quality less that of {results.baseline}, each read off its curve (PCHIP over log rate) at the bpp that the "
        "family's three rates take at fixed length in GOPs of 32 frames of 1920x1024. Nothing where a curve does not "
        "reach that far.",
        ("series", "clip", *(f"{metric.label} at {bpp:.4f}" for metric, bpp in wanted)),
        tuple(rows),
    )


def _gap(results: Results, clip: str, series: str, metric: Metric, bpp: float) -> float | None:
    curves = (results.curve(clip, name, metric) for name in (series, results.baseline or ""))
    try:
        one, other = (quality_at_bpp(*columns(curve), bpp) for curve in curves)
    except UsageError:
        return None
    return one - other


def _gap_mean(gaps: Sequence[float | None], metric: Metric) -> str:
    known = [gap for gap in gaps if gap is not None]
    mean = f"{math.fsum(known) / len(known):+.{metric.digits}f}" if known else NONE
    return f"{mean} ({len(known)} of {len(gaps)} clips)" if 0 < len(known) < len(gaps) else mean


def _means(results: Results) -> Table:
    metrics = [metric for metric in results.metrics if metric.key in SHORT]
    rows = []
    for dataset in results.datasets:
        clips = len(results.dataset_clips(dataset))
        for series in results.series if clips > 1 else ():
            curves = [{p.setting: p for p in results.dataset_curve(dataset, series, metric)} for metric in metrics]
            for setting, point in curves[0].items():
                cells = [
                    metric.text(curve[setting].quality * (1 if metric.higher else -1)) if setting in curve else NONE
                    for metric, curve in zip(metrics, curves, strict=True)
                ]
                rows.append((f"{dataset} ({clips} clips)", series, setting, f"{point.bpp:.4f}", *cells))
    return Table(
        "Means of the data sets",
        "Over the clips, at each setting that all clips of a set were measured at.",
        ("data set", "series", "rate", "bpp", *(f"{metric.label} {metric.unit}".strip() for metric in metrics)),
        tuple(rows),
    )


def _rates(results: Results) -> Table:
    """Rate and quality of ours, and what the baseline has at the same rate, and takes for the same PSNR."""
    baseline = results.baseline if results.baseline not in results.ours else None
    metrics = [metric for metric in results.metrics if metric.key in ("psnr_rgb_db", "ms_ssim", "lpips_vgg", "vmaf")]
    header = ["clip", "series", "frames", "rate", "bpp"]
    for metric in metrics:
        header += [f"{metric.label} {metric.unit}".strip(), *([baseline] if baseline else [])]
    rows = []
    for clip in results.clips:
        for record in (r for s in results.ours for r in sorted(results.records(clip, s), key=lambda r: r["bpp"])):
            cells = [clip, record["series"], str(record["frames"]), record["setting"], f"{record['bpp']:.4f}"]
            for metric in metrics:
                value = record["mean"].get(metric.key)
                cells.append(metric.text(value) if isinstance(value, float) else str(value or NONE))
                if baseline:
                    cells.append(_at_rate(results.curve(clip, baseline, metric), record["bpp"], metric))
            if baseline:
                curve = results.curve(clip, baseline, metrics[0])
                cells.append(at_quality(curve, record["mean"]["psnr_rgb_db"]))
            rows.append(tuple(cells))
    note = "bpp is 8 x the size of the file over all pixels. Quality is the mean over the frames."
    thinned = {r["lpips_every"] for r in results.records() if r.get("lpips_every", 1) > 1}
    if thinned:
        note += f" LPIPS: over one frame in {' or '.join(map(str, sorted(thinned)))}."
    if baseline:
        header.append(f"bpp of {baseline} at our PSNR")
        note += (
            f" Beside it {baseline} at our bpp, and last the bpp that it takes for our PSNR, both between its measured "
            "points (PCHIP over log rate), never beyond them."
        )
    return Table("Rate and quality", note, tuple(header), tuple(rows))


def _at_rate(curve: list[Point], bpp: float, metric: Metric) -> str:
    try:
        value = quality_at_bpp(*columns(curve), bpp)
    except UsageError:
        return f"none (from {curve[0].bpp:.3f} bpp)" if curve and bpp < curve[0].bpp else NONE
    return metric.text(value if metric.higher else -value)


def at_quality(curve: list[Point], quality: float) -> str:
    """The rate at which a curve has a quality, as a cell of a table."""
    try:
        return f"{bpp_at_quality(*columns(curve), quality):.4f}"
    except (UsageError, TypeError):
        below = curve and isinstance(quality, float) and quality < curve[0].quality
        return f"below {curve[0].bpp:.4f}" if below else NONE


def _positions(results: Results) -> Table:
    rows = []
    longest = max(len(r["per_frame"].get("psnr_rgb_db", [])) for s in results.ours for r in results.records(series=s))
    shown = [position for position in POSITIONS if position < longest]
    for clip in results.clips:
        for record in (r for s in results.ours for r in sorted(results.records(clip, s), key=lambda r: r["bpp"])):
            by_frame = record["per_frame"].get("psnr_rgb_db", [])
            cells = [_number(by_frame[p]) if p < len(by_frame) else "" for p in shown]
            rows.append((clip, record["series"], record["setting"], *cells))
    return Table(
        "PSNR by frame",
        "RGB, dB, by position in the video: where predicted frames drift, it falls within a GOP.",
        ("clip", "series", "rate", *(f"frame {p}" for p in shown)),
        tuple(rows),
    )


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.2f}"


def _speeds(results: Results) -> Table:
    rows = tuple(row for series in results.series for row in _speed_rows(results, series))
    return Table(
        "Speed",
        "Frames a second, the mean over all points of a size, on the machine that measured them. Ours: without the "
        "first three frames, in which programs are compiled. Others: the whole process of the encoder (x264 and "
        "x265 on as few threads as their settings say) and FFmpeg's decoder with the conversion to RGB.",
        ("series", "size", "points", "encode", "decode", "measured at once"),
        rows,
    )


def _speed_rows(results: Results, series: str) -> Iterator[tuple[str, ...]]:
    sizes: dict[tuple[int, int], list[dict]] = {}
    for record in results.records(series=series):
        if record.get("encode_fps") and record.get("decode_fps"):
            sizes.setdefault((record["width"], record["height"]), []).append(record)
    for (width, height), found in sorted(sizes.items()):
        speeds = [f"{math.fsum(r[k] for r in found) / len(found):.1f}" for k in ("encode_fps", "decode_fps")]
        jobs = sorted({r.get("jobs", 1) for r in found})
        yield (
            series,
            f"{width}x{height}",
            str(len(found)),
            *speeds,
            " to ".join(map(str, dict.fromkeys((jobs[0], jobs[-1])))),
        )
