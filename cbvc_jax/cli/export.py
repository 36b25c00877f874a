"""`cbvc export MODEL DIR`: the decoder alone, for other runtimes."""

from __future__ import annotations

import argparse
from typing import Any

from cbvc_jax.cli.arguments import parse_size


def add_parser(subparsers: Any) -> None:
    """Adds this subcommand."""
    parser = subparsers.add_parser("export", help="the decoder for other runtimes", description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="name or folder of the model")
    parser.add_argument("folder", metavar="DIR", help="new folder for the export")
    parser.add_argument("--format", required=True, help="stablehlo, savedmodel, onnx, tflite or iree")
    parser.add_argument(
        "--size", metavar="WxH", help="for frames of this size (default: any; tflite and iree need one)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Writes the export and returns 0."""
    size = parse_size(args.size)
    from cbvc_jax.export.write import write_export
    from cbvc_jax.weights import load_model

    manifest = write_export(load_model(args.model), args.folder, args.format, size and (size[1], size[0]))
    shown = "any size" if manifest.size is None else f"{manifest.size[1]}x{manifest.size[0]}"
    kinds = ", ".join(manifest.programs)
    print(f"{args.folder}: {manifest.format}, frames of {shown}, steps for {kinds}, model {manifest.model_sha256[:12]}")
    return 0
