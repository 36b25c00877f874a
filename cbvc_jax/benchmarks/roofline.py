"""How near a model's parts come to this machine's matrix product.

    python -m cbvc_jax.benchmarks.roofline [--models tiny small] [--size 640x360]

The peak is a float32 product of 1024 x 1024 matrices, taken before and after everything else in the same run: the
better one counts, and the other says how steady the machine was. Parts are timed as in `cbvc_jax.evaluation.parts`;
weights are all alike: times do not depend on them. For a training step: `python -m cbvc_jax.training.cost`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from cbvc_jax import complexity, markdown
from cbvc_jax.benchmarks.context import untrained
from cbvc_jax.cache import use_compilation_cache
from cbvc_jax.complexity import DECODE_PARTS, ENCODE_PARTS, PARTS, Complexity
from cbvc_jax.errors import CbvcError
from cbvc_jax.evaluation.parts import PRODUCT_SIDE as SIDE
from cbvc_jax.evaluation.parts import REPETITIONS, measure_parts, product_rate


def part_macs(cost: Complexity, part: str, rate: str) -> int:
    """MACs of one part for a predicted frame; those of the search belong to "VQ encode"."""
    return cost.parts[part].macs + (cost.search_macs[rate] if part == "VQ encode" else 0)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; prints Markdown and returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m cbvc_jax.benchmarks.roofline",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", default=["tiny", "small"], help="presets (default: tiny small)")
    parser.add_argument("--size", default="640x360", metavar="WxH", help="of the frame (default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="of each part (default: %(default)s)")
    args = parser.parse_args(argv)
    use_compilation_cache()
    try:
        width, height = map(int, args.size.split("x"))
        models = [untrained(name) for name in args.models]
        peaks = [product_rate()]
        found = measure_parts(models, height, width, args.repetitions)
        peaks.append(product_rate())
    except CbvcError as error:
        sys.exit(f"roofline: {error}")
    peak = max(peaks)
    rows = []

    def add(name: str, what: str, macs: float, seconds: float) -> None:
        speed = macs / seconds
        rows.append(
            (name, what, f"{macs / 1e9:.2f}", f"{1e3 * seconds:.1f}", f"{speed / 1e9:.1f}", f"{speed / peak:.0%}")
        )

    for model, one in zip(models, found, strict=True):
        cost, rate = complexity.measure(model.preset, height, width), model.preset.rates[0]
        for part in PARTS:
            add(model.name, part, part_macs(cost, part, rate), one.seconds[part])
        add(model.name, f"encode, {rate}", sum(part_macs(cost, p, rate) for p in ENCODE_PARTS), one.encode_s)
        add(model.name, "decode", sum(part_macs(cost, p, rate) for p in DECODE_PARTS), one.decode_s)
    print(f"Product of {SIDE} x {SIDE}: {peaks[0] / 1e9:.1f} GMAC/s before, {peaks[1] / 1e9:.1f} after. {args.size}.\n")
    print(markdown.table(("model", "part", "GMAC", "ms", "GMAC/s", "of the product"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
