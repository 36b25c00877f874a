"""What a run tells of itself, and that it notices a codebook that collapses."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from cbvc_jax.data.batches import BatchShape, ClipBatches
from cbvc_jax.training.chunk import Schedule
from cbvc_jax.training.codebooks import CodebookAverages, usage_and_perplexity
from cbvc_jax.training.sharding import single
from cbvc_jax.training.start import start_codebooks
from cbvc_jax.training.state import empty_carry, init_state
from cbvc_jax.training.step import make_step
from cbvc_jax.training.watch import MEANS, Watch, collapsed
from tests.training.mini import BATCH, clips, mini_config

STATE = SimpleNamespace(averages={"key": (CodebookAverages(jnp.full((2, 8), 3.0), jnp.zeros((2, 8, 4))),)})


def seen(loss: float) -> dict:
    values = dict.fromkeys(MEANS, np.float32(0.0)) | {"loss": np.float32(loss), "psnr": np.array([20.0, 30.0, 32.0])}
    return values | {"batch_perplexity/key_1": np.float32(0.001), "restarts/key_1": np.int32(2)}


def test_a_window_has_means_positions_rates_and_the_alarm(tmp_path, config, caplog):
    watch = Watch(tmp_path, config, 0)
    for loss in (1.0, 3.0):
        watch.add("high", seen(loss))
    with caplog.at_level(logging.ERROR):
        watch.write(2, STATE)  # pyright: ignore
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert (line["loss"], line["psnr/high"], line["psnr_at/high_2"], line["restarts/key_1"]) == (2.0, 31.0, 32.0, 2.0)
    # Two groups of 8 codewords, used alike, at 1/16 of the size: 2 x 3 bits for 256 pixels.
    assert line["bpp/key"] == pytest.approx(6 / 256) and line["usage/key_1"] == 1.0
    assert line["alarms"] == 1.0 and "codebook key_1 has collapsed" in caplog.text
    assert watch.score() == pytest.approx(82 / 3) and watch.score() is None


def test_a_run_that_goes_on_writes_the_lines_that_it_would_have_written(tmp_path, config):
    def lines(folder, stop_at):
        watch = Watch(folder, config, 0)
        for step in range(1, 9):
            watch.add("high", seen(step))
            if step % 3 == 0:
                watch.write(step, STATE)  # pyright: ignore
            if step == 4:
                watch.keep_window(step)
            if step == stop_at:
                watch = Watch(folder, config, 4)
                for again in range(5, step + 1):
                    watch.add("high", seen(again))
                    if again % 3 == 0:
                        watch.write(again, STATE)  # pyright: ignore
        return (folder / "metrics.jsonl").read_text()

    folders = [tmp_path / str(stop) for stop in (0, 5, 7)]
    for folder in folders:
        folder.mkdir()
    whole, *others = (lines(folder, int(folder.name)) for folder in folders)
    assert len(whole.splitlines()) == 2 and others == [whole, whole]


def test_only_codebooks_in_use_can_collapse():
    values = {"batch_perplexity/key_1": 0.01, "batch_perplexity/low_1": 0.0, "batch_perplexity/low_2": 0.5, "loss": 0.0}
    assert collapsed(values, 0.02) == ["key_1"]


@pytest.mark.slow
def test_an_injected_collapse_is_noticed_and_mended_within_a_hundred_steps():
    config = mini_config()
    frozen, phase = ml_collections.FrozenConfigDict(config), config.phases.gops
    batches = ClipBatches(clips(), BatchShape(BATCH, phase.frames, phase.chunks, phase.crop, 0.0), seed=1)
    state = single().place_state(init_state(config).replace(carry=empty_carry(config, phase)))
    state = start_codebooks(state, frozen, batches, ("key", "high"))
    # All codewords of a stage but one go where no latent is.
    first, *rest = state.codebooks["high"]
    far = first.at[:, 1:].add(1e3)
    average = CodebookAverages(state.averages["high"][0].count, far * state.averages["high"][0].count[..., None])
    state = state.replace(
        codebooks={**state.codebooks, "high": (far, *rest)},
        averages={**state.averages, "high": (average, *state.averages["high"][1:])},
    )
    step, noticed, restarted = make_step(frozen, "high", single()), [], 0
    for n in range(100):
        state, metrics = step(state, batches(n), Schedule(starts=n % phase.chunks == 0))
        if collapsed({k: float(v) for k, v in metrics.items() if v.ndim == 0}, 2 / 32):
            noticed.append(n)
        restarted += int(metrics["restarts/high_1"])
    assert noticed and noticed[0] == 0 and noticed[-1] < 60 and restarted >= 2 * 31
    usage, _ = usage_and_perplexity(state.averages["high"][0].count)
    assert float(usage.min()) > 0.9
