"""What a program costs, read from its text: arithmetic from the jaxpr, collectives from the compiled HLO.

XLA's own cost analysis counts the body of a loop once; here loops count as often as they run.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

HIGHEST_PASSES = 6
"""bf16 products that a matrix unit needs for one in full float32."""
ITEM_BYTES = {"f32": 4, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "s8": 1, "u8": 1, "pred": 1, "f64": 8, "s64": 8}
WIRE = {"all-reduce": 2.0, "all-gather": 1.0, "reduce-scatter": 1.0, "all-to-all": 1.0, "collective-permute": 1.0}
"""Bytes that a ring sends a device, for each byte of the whole array."""


def bf16_flops(jaxpr: Any) -> float:
    """Operations of all products and convolutions (two a multiply-accumulate) on all devices, as bf16 passes."""
    total = 0.0
    for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name, params = eqn.primitive.name, eqn.params
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            depth = np.prod([eqn.invars[0].aval.shape[a] for a in contracted])
            total += 2.0 * np.prod(eqn.outvars[0].aval.shape) * depth * _passes(params["precision"])
        elif name == "conv_general_dilated":
            kernel = eqn.invars[1].aval.shape
            depth = np.prod(kernel) / kernel[params["dimension_numbers"].rhs_spec[0]]
            total += 2.0 * np.prod(eqn.outvars[0].aval.shape) * depth * _passes(params["precision"])
        else:
            times = params["length"] if name == "scan" else params["mesh"].size if name == "shard_map" else 1
            inner = [bf16_flops(sub) for sub in _sub_jaxprs(params.values())]
            total += times * (max(inner, default=0.0) if name == "cond" else sum(inner))
    return float(total)


def _passes(precision: Any) -> int:
    pair = precision if isinstance(precision, tuple) else (precision,)
    return HIGHEST_PASSES if any(p == jax.lax.Precision.HIGHEST for p in pair) else 1


def _sub_jaxprs(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if hasattr(value, "eqns") or hasattr(value, "jaxpr"):
            yield value
        elif isinstance(value, tuple | list):
            yield from _sub_jaxprs(value)


@dataclasses.dataclass(frozen=True)
class Collectives:
    """Bytes of whole arrays a step, by kind, and bytes that cross a device's links for them."""

    payload_bytes: dict[str, float]
    wire_bytes: float


_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(WIRE)})(-start)?\(")
_CALLS = re.compile(r"(?:calls|to_apply|body|branch_computations)=\{?(%[\w.\-]+(?:, ?%[\w.\-]+)*)")
_TRIPS = re.compile(r'known_trip_count":\{"n":"(\d+)"')
_SHAPE = re.compile(r"\b(\w+)\[([\d,]*)\]")
_HEADER = re.compile(r"^(ENTRY )?(%[\w.\-]+) \(.*\{$")


def collectives(hlo: str) -> Collectives:
    """Collectives of a compiled program; those in loops count as often as the loop runs."""
    bodies: dict[str, list[str]] = {}
    entry = name = ""
    for line in hlo.splitlines():
        if header := _HEADER.match(line):
            name = header[2]
            bodies[name] = []
            entry = name if header[1] else entry
        elif name:
            bodies[name].append(line)
    payload: dict[str, float] = {}
    _add_collectives(bodies, entry, 1, payload)
    return Collectives(payload, sum(WIRE[kind] * size for kind, size in payload.items()))


def _add_collectives(bodies: dict[str, list[str]], name: str, times: int, payload: dict[str, float]) -> None:
    for line in bodies.get(name, []):
        if found := _COLLECTIVE.search(line):
            size = _largest(found[1]) if found[3] else _all(found[1])
            if found[2] == "reduce-scatter":
                size *= _group(line)
            payload[found[2]] = payload.get(found[2], 0.0) + times * size
            continue
        trips = _TRIPS.search(line)
        for calls in _CALLS.findall(line):
            for callee in re.findall(r"%[\w.\-]+", calls):
                _add_collectives(bodies, callee, times * (int(trips[1]) if trips else 1), payload)


def _sizes(text: str) -> list[float]:
    shapes = [(t, [int(n) for n in dims.split(",") if n]) for t, dims in _SHAPE.findall(text)]
    return [float(ITEM_BYTES[t] * np.prod(dims)) for t, dims in shapes if t in ITEM_BYTES]


def _all(text: str) -> float:
    return sum(_sizes(text))


def _largest(text: str) -> float:
    return max(_sizes(text), default=0.0)


def _group(line: str) -> int:
    """Devices that take part together."""
    if iota := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
        return int(iota[1])
    listed = re.search(r"replica_groups=\{\{([\d,]+)\}", line)
    return listed[1].count(",") + 1 if listed else 1
