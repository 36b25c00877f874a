"""Rate and quality of a model on a set of clips, from real files, beside x265 at the same rate.

python -m cbvc_jax.evaluation.table CLIP... --model tiny --out docs/results

Every clip is encoded at every rate into a file, decoded by the ordinary decoder, and compared with its source. The
anchor's points lie in OUT/anchors, ours in OUT/MODEL, one JSON file a clip; what is there already is not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from cbvc_jax.cache import use_compilation_cache
from cbvc_jax.codec import DEFAULT_GOP, encode
from cbvc_jax.errors import CbvcError, UsageError
from cbvc_jax.evaluation.anchors import AnchorSettings, run_anchor
from cbvc_jax.evaluation.compare import Comparison, compare
from cbvc_jax.evaluation.curve import quality_at_bpp
from cbvc_jax.stream import StreamDecoder
from cbvc_jax.video import open_video
from cbvc_jax.weights import Model, load_model

ANCHOR_CRF_FIRST, ANCHOR_CRF_STEP = 51, 3
ANCHOR_BPP_ENOUGH = 0.16
"""Anchor points are made from the coarsest on, until they span our rates."""


def anchor_points(clip: Path, frames: int) -> list[dict[str, Any]]:
    """x265's points on a clip, from its coarsest to the first one above our rates."""
    points: list[dict[str, Any]] = []
    for crf in range(ANCHOR_CRF_FIRST, 0, -ANCHOR_CRF_STEP):
        point = run_anchor(clip, crf, AnchorSettings(frames=frames))
        points.append(
            {
                "crf": crf,
                "bpp": point.bpp,
                "bytes": point.stream_bytes,
                **_quality(point.comparison),
                "command": point.command,
                "ffmpeg": point.ffmpeg_version,
                "matrix": point.matrix,
                "range": point.color_range,
            }
        )
        if point.bpp > ANCHOR_BPP_ENOUGH:
            break
    return points


def measure(clip: Path, model: Model, rate: str, frames: int, gop: int) -> dict[str, Any]:
    """One encoding of a clip: real bytes, and the quality of every decoded frame."""
    with tempfile.TemporaryFile() as file:
        with open_video(clip) as video:
            info = video.info
            for _ in encode(islice(video, frames), file, model, info, rate, gop):
                pass
        size_bytes = file.tell()
        file.seek(0)
        with open_video(clip) as video:
            source = (frame.rgb for frame in islice(video, frames))
            decoded = (frame.rgb for frame in StreamDecoder(file, model))
            comparison = compare(source, decoded, matrix="bt709" if info.matrix == "rgb" else info.matrix)
    pixels = info.width * info.height * len(comparison.frames)
    return {
        "rate": rate,
        "gop": gop,
        "width": info.width,
        "height": info.height,
        "frames": len(comparison.frames),
        "bytes": size_bytes,
        "bpp": 8 * size_bytes / pixels,
        **_quality(comparison),
        "psnr_rgb_db_by_frame": [round(f.psnr_rgb_db, 4) for f in comparison.frames],
    }


def _quality(comparison: Comparison) -> dict[str, Any]:
    return {"psnr_rgb_db": comparison.psnr_rgb_db, "ms_ssim": comparison.ms_ssim}


def _cached(file: Path, make: Any) -> Any:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".part")
        temporary.write_text(json.dumps(make(), indent=1) + "\n")
        temporary.replace(file)
    return json.loads(file.read_text())


def format_results(results: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]]) -> str:
    """A markdown table from (ours, anchor points) by clip; the anchor's figures are interpolated at our bpp."""
    lines = [
        "| clip | frames | rate | bpp | PSNR dB | x265 dB | MS-SSIM | x265 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for clip, (ours, anchors) in results.items():
        for row in ours:
            cells = [clip, str(row["frames"]), row["rate"], f"{row['bpp']:.4f}"]
            for metric, digits in (("psnr_rgb_db", 2), ("ms_ssim", 4)):
                cells.append(f"{row[metric]:.{digits}f}")
                cells.append(_anchor_at(anchors, row["bpp"], metric, digits))
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _anchor_at(anchors: list[dict[str, Any]], bpp: float, metric: str, digits: int) -> str:
    try:
        value = quality_at_bpp([p["bpp"] for p in anchors], [p[metric] for p in anchors], bpp)
    except UsageError:
        return f"none (from {min(p['bpp'] for p in anchors):.3f} bpp)" if anchors else "-"
    return f"{value:.{digits}f}"


def format_positions(results: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]]) -> str:
    """PSNR by position in the video, for each clip and rate: where predicted frames drift, it falls within a GOP."""
    positions = (0, 1, 4, 8, 15, 31, 32, 63, 95)
    lines = [
        "| clip | rate | " + " | ".join(f"frame {p}" for p in positions) + " |",
        "|---|---|" + "---|" * len(positions),
    ]
    for clip, (ours, _) in results.items():
        for row in ours:
            by_frame = row["psnr_rgb_db_by_frame"]
            cells = [f"{by_frame[p]:.2f}" if p < len(by_frame) else "" for p in positions]
            lines.append(f"| {clip} | {row['rate']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m cbvc_jax.evaluation.table", description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--model", default="tiny", help="name or folder of the model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=96, help="of each clip, from its start (default 96)")
    parser.add_argument("--gop", type=int, default=DEFAULT_GOP)
    parser.add_argument("--anchors-only", action="store_true", help="only make the anchor's points")
    args = parser.parse_args(argv)
    use_compilation_cache()
    try:
        results = {}
        model = None if args.anchors_only else load_model(args.model)
        for clip in args.clips:
            anchors = _cached(args.out / "anchors" / f"{clip.stem}.json", lambda c=clip: anchor_points(c, args.frames))
            if model is None:
                continue
            rates = reversed(model.preset.rates)
            ours = _cached(
                args.out / Path(args.model).name / f"{clip.stem}.json",
                lambda c=clip, m=model, r=rates: [measure(c, m, rate, args.frames, args.gop) for rate in r],
            )
            results[clip.stem] = (ours, anchors)
            print(format_results({clip.stem: results[clip.stem]}), flush=True)
    except CbvcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if results:
        text = f"## Rate and quality\n\n{format_results(results)}\n\n## PSNR by frame\n\n{format_positions(results)}\n"
        (args.out / Path(args.model).name / "tables.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
