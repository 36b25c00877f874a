"""One model of two that were trained apart: keyframes of the first, predicted frames of the second.

    python -m cbvc_jax.training.join KEYFRAMES PREDICTED --out DIR [--card MODEL_CARD.md]

Where latents are pictures the two share no network, and each is trained on what suits it: keyframes on large batches of
photographs, predicted frames on chunks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cbvc_jax.bitstream import CheckedTables
from cbvc_jax.errors import CbvcError, ModelError
from cbvc_jax.model import KEYFRAME_NETWORKS, CodebookSet, Params
from cbvc_jax.presets import KEYFRAME
from cbvc_jax.weights import Model, load_model, save_model


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; prints the model's identity."""
    parser = argparse.ArgumentParser(
        prog="python -m cbvc_jax.training.join",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("keyframes", help="model, by name or folder, that gives the networks of keyframes")
    parser.add_argument("predicted", help="model that gives everything else")
    parser.add_argument("--out", required=True, help="folder of the model")
    parser.add_argument("--card", help="its MODEL_CARD.md; one line otherwise")
    args = parser.parse_args(argv)
    try:
        card = Path(args.card).read_text() if args.card else f"# Keyframes of {args.keyframes}, else {args.predicted}\n"
        predicted = load_model(args.predicted)
        params, codebooks, tables = join(load_model(args.keyframes), predicted)
        identity = save_model(args.out, predicted.preset, params, codebooks, card, tables)
    except (CbvcError, OSError) as error:
        sys.exit(f"join: {error}")
    print(f"{args.out}: model {identity.hex()}")
    return 0


def join(keyframes: Model, predicted: Model) -> tuple[Params, CodebookSet, CheckedTables | None]:
    """Parameters, codebooks and tables: keyframes of one model and predicted frames of another of the same preset.

    Raises:
      ModelError: their presets differ, share networks among kinds of frames, or one alone has tables.
    """
    if keyframes.preset != predicted.preset:
        raise ModelError(f"'{keyframes.name}' and '{predicted.name}' cannot be joined: their presets differ")
    if not predicted.preset.displaces:
        raise ModelError(f"'{predicted.name}' cannot be joined: in its preset all kinds of frames share networks")
    if (keyframes.tables is None) != (predicted.tables is None):
        raise ModelError(f"'{keyframes.name}' and '{predicted.name}' cannot be joined: one alone has tables")
    params = {**predicted.params, **{name: keyframes.params[name] for name in KEYFRAME_NETWORKS}}
    codebooks = {**predicted.codebooks, KEYFRAME: keyframes.codebooks[KEYFRAME]}
    tables = predicted.tables and keyframes.tables and {**predicted.tables, KEYFRAME: keyframes.tables[KEYFRAME]}
    return params, codebooks, tables


if __name__ == "__main__":
    sys.exit(main())
