"""The context models of the family side by side, sizes, costs and times as in the paper's Table 3, and its own beside.

    python -m cbvc_jax.benchmarks.context [--presets resblock ca64 wca4 light] [--size 960x512] [--parts ctxE ctxD]

One run, no training: the presets take turns part by part and the best time of each counts, so that the ratios to
the first one stand where other work shares the machine. Prints Markdown. For trained models and their BD-rates:
`cbvc rd CLIP... --out DIR --paper table3 --model NAME...`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from cbvc_jax import markdown
from cbvc_jax.cache import use_compilation_cache
from cbvc_jax.complexity import PARTS
from cbvc_jax.errors import CbvcError
from cbvc_jax.evaluation.parts import REPETITIONS, ModelParts, measure_parts
from cbvc_jax.evaluation.report.counterpart import complexity_table
from cbvc_jax.evaluation.report.tables import markdown as section
from cbvc_jax.model import init_params
from cbvc_jax.presets import PRESETS, get_preset
from cbvc_jax.weights import Model

TABLE3 = ("resblock", "ca64", "wca4", "light")


def untrained(name: str) -> Model:
    """The preset called `name` with weights that are all alike: times do not depend on them."""
    preset = get_preset(name)
    # Making real ones takes minutes of compilation for the largest windows.
    shapes = jax.eval_shape(lambda rng: init_params(rng, preset), jax.random.key(0))
    params, codebooks = jax.tree.map(lambda s: jnp.full(s.shape, 0.01, s.dtype), shapes)
    return Model(name, preset, params, codebooks, bytes(32))


def part_times(found: Sequence[ModelParts]) -> str:
    """A Markdown table of each part's time in ms, and of the MACs that a context module runs."""
    parts = [part for part in PARTS if part in found[0].seconds]
    rows = (
        (one.name, f"{one.context_macs / 1e9:.2f} G", *(f"{1e3 * one.seconds[part]:.1f}" for part in parts))
        for one in found
    )
    return markdown.table(("model", "MACs of a context module, 1920x1024", *(f"{part}, ms" for part in parts)), rows)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns 0."""
    parser = argparse.ArgumentParser(
        prog="python -m cbvc_jax.benchmarks.context", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=TABLE3, help="compared with the first")
    parser.add_argument("--size", default="960x512", metavar="WxH", help="of the frame (default: %(default)s)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="to time (default: all)")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="of each part (default: %(default)s)")
    args = parser.parse_args(argv)
    use_compilation_cache()
    try:
        width, height = map(int, args.size.split("x"))
        models = [untrained(name) for name in args.presets]
        tell = lambda what: print(what, file=sys.stderr)  # noqa: E731
        found = measure_parts(models, height, width, args.repetitions, args.parts, tell)
    except CbvcError as error:
        sys.exit(f"context: {error}")
    print(section(complexity_table(found)))
    print(part_times(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
