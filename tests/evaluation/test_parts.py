"""Parts of models are timed alone, side by side, and what was timed is kept."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from cbvc_jax import complexity, presets
from cbvc_jax.benchmarks import roofline
from cbvc_jax.errors import UsageError
from cbvc_jax.evaluation.parts import load_parts, measure_parts, save_parts
from cbvc_jax.model import init_params
from cbvc_jax.weights import Model


@pytest.fixture(scope="module")
def mini(mini_preset):
    shapes = jax.eval_shape(lambda rng: init_params(rng, mini_preset), jax.random.key(0))
    params, codebooks = jax.tree.map(lambda s: jnp.full(s.shape, 0.01, s.dtype), shapes)
    return Model("mini", mini_preset, params, codebooks, bytes(32))


def test_every_part_is_timed_and_costs_what_complexity_says(mini, tmp_path):
    (first,) = measure_parts([mini], 60, 100, repetitions=2)
    cost = complexity.measure(mini.preset, 1024, 1920)
    assert (first.parameters, first.macs) == (cost.table3.table3_parameters, cost.table3.table3_macs)
    assert first.context_macs == (cost.parts["ctxE"].macs + cost.parts["ctxD"].macs) / 2
    assert set(first.seconds) == set(complexity.PARTS)
    assert all(seconds > 0 for seconds in first.seconds.values())
    assert first.encode_s > first.context_s and first.decode_s > first.seconds["D"]
    assert load_parts(tmp_path) == []
    save_parts(tmp_path, [first])
    assert load_parts(tmp_path) == [first]
    (tmp_path / "parts.json").write_text('[{"name": "mini"}]')
    with pytest.raises(UsageError, match="remove it"):
        load_parts(tmp_path)


def test_models_take_turns_at_the_parts_asked_for(mini):
    told = []
    found = measure_parts([mini, mini], 64, 64, repetitions=1, parts=("D", "ctxD"), tell=told.append)
    assert told == ["mini, ctxD", "mini, ctxD", "mini, D", "mini, D"]
    assert [set(one.seconds) for one in found] == [{"ctxD", "D"}] * 2


def test_what_cannot_be_timed_is_refused(mini):
    with pytest.raises(UsageError, match="the parts of a model are E, ctxE"):
        measure_parts([mini], 64, 64, parts=("GDN",))
    with pytest.raises(UsageError, match="at least one"):
        measure_parts([mini], 64, 64, repetitions=0)


@pytest.mark.slow
def test_the_roofline_adds_parts_up(mini, monkeypatch, capsys):
    monkeypatch.setitem(presets.PRESETS, "mini", mini.preset)
    assert roofline.main(["--models", "mini", "--size", "100x60", "--repetitions", "1"]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| mini")]
    assert [row[1] for row in rows] == [*complexity.PARTS, "encode, high", "decode"]
    ms = {row[1]: float(row[3]) for row in rows}
    assert ms["decode"] == pytest.approx(sum(ms[part] for part in complexity.DECODE_PARTS), abs=0.2)
    cost = complexity.measure(mini.preset, 60, 100)
    assert roofline.part_macs(cost, "VQ encode", "high") == cost.parts["VQ encode"].macs + cost.search_macs["high"]
