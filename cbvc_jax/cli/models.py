"""`cbvc models [NAME]`: the family of models, how large each is, what a frame costs, and what its rates are."""

from __future__ import annotations

import argparse
import json
from typing import Any

from cbvc_jax.errors import ModelError
from cbvc_jax.geometry import frame_bits, gop_bpp
from cbvc_jax.presets import KEYFRAME, PRESETS, Preset, get_preset

WIDTH, HEIGHT, GOP = 1920, 1024, 32
"""The frame size and GOP of the paper's measurements, at which costs and rates are given."""


def add_parser(subparsers: Any) -> None:
    """Adds this subcommand."""
    parser = subparsers.add_parser("models", help="the family of models", description=__doc__)
    parser.add_argument("name", nargs="?", metavar="NAME", help="details of one model; without it, a table of all")
    parser.add_argument("--json", action="store_true", help="the details as JSON: one object, or a list of all")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the family or one model and returns 0; ModelError for an unknown NAME."""
    presets = [get_preset(args.name)] if args.name else list(PRESETS.values())
    if args.json:
        facts = [describe(preset) for preset in presets]
        print(json.dumps(facts[0] if args.name else facts, indent=2))
    elif args.name:
        print(_details(describe(presets[0])))
    else:
        # Counting takes a second or so a model: each is shown as soon as it is known.
        print(_header(), flush=True)
        for preset in presets:
            print(_row(describe(preset)), flush=True)
        print(_FOOTNOTE)
        print(_installed())
    return 0


def _installed() -> str:
    from cbvc_jax.weights import DEFAULT_MODEL, WEIGHTS_FILE, file_identity, installed_models

    known = []
    for name, folder in installed_models().items():
        try:
            what = file_identity(folder / WEIGHTS_FILE).hex()[:12]
        except ModelError:
            what = "damaged"
        known.append(f"{name} {what}" + (" (used where --model names none)" if name == DEFAULT_MODEL else ""))
    return f"Trained and installed: {', '.join(known) or 'none'}."


def describe(preset: Preset) -> dict[str, Any]:
    """Size, cost and rates of a model under stable names, ready for JSON. MACs are per pixel at 1920x1024."""
    from cbvc_jax.complexity import DECODE_PARTS, ENCODE_PARTS, measure

    cost = measure(preset, HEIGHT, WIDTH)
    kinds = (KEYFRAME, *preset.rates)
    return {
        "name": preset.name,
        "blocks": preset.blocks,
        "width": WIDTH,
        "height": HEIGHT,
        "gop": GOP,
        "parameters": {
            "table3": cost.table3.table3_parameters,
            "networks": cost.network_parameters,
            "codebooks": {kind: cost.codebook_parameters[kind] for kind in kinds},
            "all_one_rate": cost.all_parameters(preset.rates[0]),
            "all_rates": cost.all_parameters(*preset.rates),
        },
        "parts": {
            name: {
                "table3_parameters": part.table3_parameters,
                "table3_macs_per_pixel": cost.per_pixel(part.table3_macs),
                "layer_macs_per_pixel": cost.per_pixel(part.layer_macs),
                "attention_macs_per_pixel": cost.per_pixel(part.attention_macs),
                "gdn_macs_per_pixel": cost.per_pixel(part.gdn_macs),
                "in_encode": name in ENCODE_PARTS,
                "in_decode": name in DECODE_PARTS,
            }
            for name, part in cost.parts.items()
        },
        "macs_per_pixel": {
            "table3": cost.per_pixel(cost.table3.table3_macs),
            "search": {kind: cost.per_pixel(cost.search_macs[kind]) for kind in kinds},
            "encode": {rate: cost.per_pixel(cost.encode_macs(rate)) for rate in preset.rates},
            "decode": cost.per_pixel(cost.decode_macs()),
        },
        "rates": {kind: _rate(preset, kind) for kind in kinds},
    }


def _rate(preset: Preset, kind: str) -> dict[str, Any]:
    sizes = preset.codebook_sizes(kind)
    return {
        "codebook_sizes": list(sizes),
        "frame_bits": frame_bits(HEIGHT, WIDTH, sizes),
        "frame_bpp": frame_bits(HEIGHT, WIDTH, sizes) / (HEIGHT * WIDTH),
        "gop_bpp": gop_bpp(HEIGHT, WIDTH, preset.key_sizes, sizes, GOP),
    }


_FOOTNOTE = f"""
parameters: convolutions, dense layers and norms / everything, with the codebooks of keyframes and one rate.
kMAC a pixel: encode + decode of a predicted frame by the rule of the paper's Table 3 / what an encoder runs, at its
first rate / what a decoder runs. bpp: {WIDTH}x{HEIGHT}, GOP {GOP}. `cbvc models NAME` shows the parts."""


def _header() -> str:
    return f"{'name':<9} {'parameters':>10} {'all':>10}   {'Table 3':>8} {'encode':>8} {'decode':>8}   bpp by rate"


def _row(facts: dict[str, Any]) -> str:
    parameters, macs = facts["parameters"], facts["macs_per_pixel"]
    thousands = (macs["table3"], next(iter(macs["encode"].values())), macs["decode"])
    rates = "  ".join(f"{kind} {r['gop_bpp']:.4f}" for kind, r in facts["rates"].items() if kind != KEYFRAME)
    return (
        f"{facts['name']:<9} {parameters['table3'] / 1e6:>9.3f}M {parameters['all_one_rate'] / 1e6:>9.3f}M   "
        + " ".join(f"{value / 1e3:>7.1f}k" for value in thousands)
        + f"   {rates}"
    )


def _details(facts: dict[str, Any]) -> str:
    parameters, macs = facts["parameters"], facts["macs_per_pixel"]
    lines = [
        f"{facts['name']}: {parameters['table3']:,} parameters in convolutions, dense layers and norms;",
        f"  {parameters['networks']:,} in all networks, {parameters['all_one_rate']:,} with the codebooks of keyframes",
        f"  and one rate, {parameters['all_rates']:,} with those of all rates",
        "",
        "MACs a pixel for one predicted frame: by the rule of the paper's Table 3, and as they run",
        f"{'part':<11} {'parameters':>11} {'Table 3':>9} {'layers':>9} {'attention':>9} {'GDN':>8}   runs in",
    ]
    for name, part in facts["parts"].items():
        where = " and ".join(side for side in ("encode", "decode") if part[f"in_{side}"])
        counts = [part[f"{column}_macs_per_pixel"] for column in ("table3", "layer", "attention", "gdn")]
        lines.append(
            f"{name:<11} {part['table3_parameters']:>11,} {counts[0]:>9,.0f} {counts[1]:>9,.0f} {counts[2]:>9,.0f} "
            f"{counts[3]:>8,.0f}   {where}"
        )
    lines.append(f"Table 3 in all: {macs['table3']:,.0f}   decode: {macs['decode']:,.0f}")
    lines += [
        "",
        f"{'rate':<8} {'codebooks':<17} {'search':>7} {'encode':>11} {'bits a frame':>13} {'bpp':>7} {'GOP':>7}",
    ]
    for kind, rate in facts["rates"].items():
        sizes = "{" + ", ".join(map(str, rate["codebook_sizes"])) + "}"
        encode = f"{macs['encode'][kind]:,.0f}" if kind != KEYFRAME else ""
        lines.append(
            f"{kind:<8} {sizes:<17} {macs['search'][kind]:>7,.0f} {encode:>11} {rate['frame_bits']:>13,} "
            f"{rate['frame_bpp']:>7.4f} {rate['gop_bpp']:>7.4f}"
        )
    lines.append(f"MACs a pixel of search and of encoding; rates at {WIDTH}x{HEIGHT}, the last column at GOP {GOP}")
    return "\n".join(lines)
