"""`cbvc crosscheck FILE.cbv`: the same stream on every backend, compared pixel by pixel with JAX."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from cbvc_jax.cli.arguments import check_frames
from cbvc_jax.errors import UsageError


def add_parser(subparsers: Any) -> None:
    """Adds this subcommand."""
    parser = subparsers.add_parser("crosscheck", help="decode on every backend and compare", description=__doc__)
    parser.add_argument("stream", metavar="FILE.cbv")
    parser.add_argument("--backends", nargs="+", metavar="NAME", help="default: all that are installed")
    parser.add_argument("--source", metavar="CLIP", help="the video that was encoded: adds PSNR against it")
    parser.add_argument("--model", help="name or folder of the model (default: the installed one the stream names)")
    parser.add_argument("--frames", type=int, help="no more than these")
    parser.add_argument("--json", action="store_true", help="print everything, drift by frame included")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write report.html and crosscheck.json there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints a table and returns 0 if every float32 backend is within the tolerances, 1 if not."""
    check_frames(args.frames)
    from cbvc_jax.cli.input import open_input
    from cbvc_jax.evaluation.clips import find_clips
    from cbvc_jax.export.parity import COLUMNS, crosscheck
    from cbvc_jax.export.report import Report
    from cbvc_jax.markdown import head, row

    with open_input(args.stream):
        pass
    source, *others = find_clips([args.source]) if args.source else [None]
    if others:
        raise UsageError(f"--source {args.source}: a folder with several videos; give the one that was encoded")
    report = Report(args.stream) if args.report else None
    if not args.json:
        print(head(COLUMNS), flush=True)
    results = crosscheck(
        args.stream,
        args.backends,
        model=args.model,
        source=source.rgb if source else None,
        frames=args.frames,
        tell=lambda parity: None if args.json else print(row(parity.cells()), flush=True),
        difference=report.add_difference if report else None,
    )
    records = [dataclasses.asdict(parity) for parity in results]
    if args.json:
        print(json.dumps(records, indent=2))
    if report:
        report.write(args.report, results)
    return 0 if all(parity.passed is not False for parity in results) else 1
