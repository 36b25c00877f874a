"""`cbvc info FILE`: what a `.cbv` stream holds, every checksum verified. Needs no model."""

from __future__ import annotations

import argparse
import json
from typing import Any

from cbvc_jax.bitstream import StreamSummary, summarize
from cbvc_jax.cli.input import open_input


def add_parser(subparsers: Any) -> None:
    """Adds this subcommand."""
    parser = subparsers.add_parser("info", help="what a .cbv holds", description=__doc__)
    parser.add_argument("input", metavar="FILE", help=".cbv file, or - for standard input")
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the summary and returns 0, or 1 if the stream is damaged or cut short."""
    with open_input(args.input) as file:
        summary = summarize(file)
    facts = describe(summary)
    if args.json:
        print(json.dumps(facts, indent=2))
    else:
        width = max(map(len, facts))
        for name, value in facts.items():
            print(f"{name.replace('_', ' '):<{width}}  {_text(value)}")
    return 0 if summary.complete else 1


def describe(summary: StreamSummary) -> dict[str, Any]:
    """The facts of a summary under stable names, ready for JSON."""
    h = summary.header
    pixels = h.width * h.height * max(summary.frames, 1)
    return {
        "version": ".".join(map(str, h.version)),
        "model_sha256": h.model_sha256.hex(),
        "width": h.width,
        "height": h.height,
        "frames": summary.frames,
        "duration_s": round(float(summary.duration), 6),
        "frame_rate": None if h.frame_rate is None else str(h.frame_rate),
        "time_base_s": str(h.time_base),
        "gop": h.gop,
        "matrix": h.color_matrix,
        "range": h.color_range,
        "frames_by_rate": summary.frames_by_rate,
        "frames_by_coding": summary.frames_by_coding,
        "codebook_sizes": {"key": list(h.key_sizes), **{r: list(s) for r, s in h.predicted_sizes}},
        "size_bytes": summary.size_bytes,
        "payload_bytes": summary.payload_bytes,
        "payload_bytes_at_fixed_length": summary.fixed_payload_bytes,
        "bytes_by_stage": {rate: list(sizes) for rate, sizes in summary.stage_bytes.items()},
        "bytes_by_stage_at_fixed_length": {rate: list(sizes) for rate, sizes in summary.fixed_stage_bytes.items()},
        "container_share": round(1 - summary.payload_bytes / summary.size_bytes, 6),
        "bpp": round(8 * summary.size_bytes / pixels, 6),
        "bits_per_s": round(8 * summary.size_bytes / float(summary.duration)) if summary.duration else None,
        "complete": summary.complete,
        "error": None if summary.error is None else str(summary.error),
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_text(v)}" for k, v in value.items()) or "-"
    if isinstance(value, list):
        return "{" + ", ".join(map(str, value)) + "}"
    if value is None:
        return "-"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
