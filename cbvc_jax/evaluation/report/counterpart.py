"""The paper's tables with ours in the same columns: a second column says whose the figures of each row are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from cbvc_jax.evaluation.paper import GOP, H264, H265, Published, published
from cbvc_jax.evaluation.parts import ModelParts
from cbvc_jax.evaluation.report.curves import METRICS, Metric, Results
from cbvc_jax.evaluation.report.tables import NONE, Table, at_quality, bd_mean

PAPER, OURS = "paper", "ours"
PSNR, MS_SSIM = (next(m for m in METRICS if m.key == key) for key in ("psnr_rgb_db", "ms_ssim"))
Row = tuple[str, ...]


def counterpart(preset: str, results: Results, parts: Sequence[ModelParts] = ()) -> list[Table]:
    """The paper's table that a preset is the counterpart of, with the rows of ours; nothing where the paper only plots.

    Args:
      preset: a key of `cbvc_jax.evaluation.paper.PRESETS`.
      results: what was measured.
      parts: complexity and times of our models, for "table3".
    """
    theirs = published(preset)
    if theirs is None:
        return []
    if preset == "table3":
        return [complexity_table(parts, results)]
    makers: dict[str, Callable[[Results, Published], Iterable[Row]]]
    makers = {"table1": _bd_rates, "table4": _same_quality, "table6": _by_gop}
    return [_joined(theirs, makers[preset](results, theirs), NOTES[preset])]


NOTES = {
    "table1": f"Ours: mean of the clips' BD-rates by PCHIP, H.264 being {H264} and H.265 {H265}; MS-SSIM and PSNR "
    "over RGB.",
    "table3": "Ours: MACs as Table 3 counts them, of encoding and decoding together, at 1920x1024. "
    "Context time is that of one context module, the mean of the two. In brackets: times the first model of the same "
    "rows, the paper's or ours. BD-rates: mean over all clips, against the first.",
    "table4": "Ours: each point of ours, and the rate at which x265 (between its measured points) has the same PSNR. "
    "'-fixed' has indices of fixed length, as the paper's.",
    "table6": f"Ours: mean of the clips' BD-rates against the same model at GOP {GOP}. On clips that are shorter than "
    "two GOPs, the GOPs are one.",
}


def complexity_table(parts: Sequence[ModelParts], results: Results | None = None) -> Table:
    """Table 3: parameters, MACs and times of context models, and, of what was measured, BD-rates against the first."""
    theirs = published("table3")
    assert theirs is not None
    times = [tuple(float(cell.split()[0]) for cell in row[3:6]) for row in theirs.rows]
    rows = [(*row[:3], *_times(t, times[0]), *row[6:]) for row, t in zip(theirs.rows, times, strict=True)]
    ours = results.ours if results else []
    sizes = {f"{one.width}x{one.height} on {one.device}" for one in parts}
    made = []
    for one in parts:
        found = [s for s in ours if s.startswith(f"{one.name}-gop")] or [None]
        taken, first = ([1e3 * s for s in (p.context_s, p.encode_s, p.decode_s)] for p in (one, parts[0]))
        facts = (f"{one.parameters / 1e6:.3f}M", f"{one.macs / 1e12:.3f}T", *_times(taken, first))
        made += [(s or one.name, *facts, *_against_first(results, s)) for s in found]
    timed = {s for s in ours for one in parts if s.startswith(f"{one.name}-gop")}
    made += [(s, *[NONE] * 5, *_against_first(results, s)) for s in ours if s not in timed]
    note = NOTES["table3"] + (f" Timed: {', '.join(sorted(sizes))}." if sizes else "")
    return _joined(Published(theirs.title, theirs.note, theirs.header, tuple(rows)), made, note)


def _times(taken: Sequence[float], first: Sequence[float]) -> tuple[str, ...]:
    return tuple(
        NONE if math.isnan(ms) else f"{ms:.1f} ms ({ms / of:.2f}x)" for ms, of in zip(taken, first, strict=True)
    )


def _against_first(results: Results | None, series: str | None) -> tuple[str, str]:
    if results is None or series is None:
        return NONE, NONE
    first = results.baseline if results.baseline in results.ours else results.ours[0]
    ssim, psnr = (_bd(results, results.clips, series, metric, first) for metric in (MS_SSIM, PSNR))
    return ssim, psnr


def _bd_rates(results: Results, theirs: Published) -> Iterable[Row]:
    """Table 1: a row a data set and series of ours."""
    del theirs
    for dataset in results.datasets:
        clips = results.dataset_clips(dataset)
        for series in (s for s in results.ours if any(results.records(c, s) for c in clips)):
            cells = [
                _bd(results, clips, one, metric, H265) for metric in (MS_SSIM, PSNR) for one in (H264, H265, series)
            ]
            yield f"{dataset}, {series}", *cells


def _same_quality(results: Results, theirs: Published) -> Iterable[Row]:
    """Table 4, a row a clip and point of ours."""
    del theirs
    for clip in results.clips:
        curve = results.curve(clip, H265, PSNR)
        for series in results.ours:
            for point in results.curve(clip, series, PSNR):
                name = f"{clip}, {series} {point.setting}"
                yield name, f"{point.quality:.3f}", f"{point.bpp:.4f}", at_quality(curve, point.quality)


def _by_gop(results: Results, theirs: Published) -> Iterable[Row]:
    """Table 6: a row a data set, model and metric, a column a GOP."""
    gops = theirs.header[1:]
    by_model: dict[str, dict[str, str]] = {}
    for record in results.records():
        if record["series"] in results.ours:
            gop = str(record["gop"])
            model = record["series"].replace(f"-gop{gop}", "-gop*")
            by_model.setdefault(model, {})[gop] = record["series"]
    for dataset in results.datasets:
        clips = results.dataset_clips(dataset)
        for model, series in by_model.items():
            base = series.get(str(GOP))
            for name, metric in (("SSIM", MS_SSIM), ("PSNR", PSNR)):
                cells = (_bd(results, clips, series[g], metric, base) if g in series else NONE for g in gops)
                yield f"{name}, {dataset}, {model.replace('-gop*', '')}", *cells


def _bd(results: Results, clips: Sequence[str], series: str, metric: Metric, against: str | None) -> str:
    """Mean of the clips' BD-rates of a series against another one; "0 %" against itself."""
    if against is None or not any(results.records(clip, against) for clip in clips):
        return NONE
    if series == against:
        return "0 %"
    clips = [clip for clip in clips if results.records(clip, series)]
    return bd_mean([results.bd_rate(clip, series, metric, against=against) for clip in clips])


def _joined(theirs: Published, ours: Iterable[Row], note: str) -> Table:
    """The paper's rows, then ours."""
    rows = [(row[0], PAPER, *row[1:]) for row in theirs.rows]
    made = [(row[0], OURS, *row[1:]) for row in ours]
    header = (theirs.header[0], "whose", *theirs.header[1:])
    return Table(
        f"Beside the paper's {theirs.title}",
        f"Rows of '{PAPER}': {theirs.note} {note}",
        header,
        (*rows, *made),
        theirs=frozenset(range(len(rows))),
    )
