"""One step: it learns, counts, carries the reference on, and refuses what is not finite."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from cbvc_jax.errors import UsageError
from cbvc_jax.model import CodecModel
from cbvc_jax.modules.transforms import to_unit
from cbvc_jax.training.chunk import Schedule
from cbvc_jax.training.codebooks import start_averages
from cbvc_jax.training.loss import LOG_MSE_FLOOR, distortion
from cbvc_jax.training.sharding import single
from cbvc_jax.training.start import start_codebooks
from cbvc_jax.training.state import codebook_decay, config_preset, empty_carry, init_state, learning_rate, phases
from cbvc_jax.training.step import make_probe, make_step


@pytest.fixture
def frames(moving):
    return np.stack([moving(3, 64, 64), 255 - moving(3, 64, 64)])


@pytest.fixture
def frozen(config):
    """The configuration of most tests here: they share one compiled step, for which it may name no folder of a test."""
    config.data.folders = config.data.cache = ""
    config.lr_warmup = 1
    config.phases.gops.steps = 10000
    return ml_collections.FrozenConfigDict(config)


def started(config):
    """A first state, laid out as a run has it: from other arrays a step would be compiled twice."""
    return single().place_state(init_state(config).replace(carry=empty_carry(config, phases(config)[1])))


@pytest.mark.parametrize("learn", ["ema", pytest.param("gradient", marks=pytest.mark.slow)])
def test_training_lowers_the_distortion_of_a_batch(config, frozen, frames, learn):
    config.codebook.learn = learn
    if learn != "ema":
        frozen = ml_collections.FrozenConfigDict(config)
    state = started(config)
    before = jax.device_get(state.codebooks)
    # With frames from the batch itself, codebooks start where its latents are.
    batches = type("Batches", (), {"shape": type("Shape", (), {"chunks": 1}), "__call__": lambda _, n: frames})()
    state = start_codebooks(state, frozen, batches, ("key", "high"))
    psnr = []
    for _ in range(25):
        state, metrics = make_step(frozen, "high")(state, frames, Schedule())
        psnr.append(float(np.mean(metrics["psnr"])))
    assert np.mean(psnr[-5:]) > np.mean(psnr[:5]) + 1.0
    assert not bool(metrics["skipped"])
    # The codebooks of a rate that was not trained stay as they were.
    np.testing.assert_array_equal(state.codebooks["low"][0], before["low"][0])
    assert not np.array_equal(state.codebooks["high"][0], before["high"][0])


def test_the_state_carries_the_last_quantised_latents(config, frozen, frames):
    state = started(config)
    _, _, y_last = make_probe(frozen, "high")(state, frames, Schedule())
    state, _ = make_step(frozen, "high")(state, frames, Schedule())
    np.testing.assert_allclose(state.carry.y_ref, y_last, rtol=1e-4, atol=1e-5)


def test_a_step_that_is_not_finite_changes_nothing(config, frozen, frames):
    state = started(config)
    params = jax.tree.map(lambda a: a, state.params)
    output = params["decoder"]["output"]["outward"]["dense"]
    output["bias"] = output["bias"] * np.nan
    broken = state.replace(params=params)
    kept = jax.device_get(broken)
    after, metrics = make_step(frozen, "high")(broken, frames, Schedule())
    assert bool(metrics["skipped"])
    assert int(after.step) == 1
    for a, b in zip(jax.tree.leaves(after.params), jax.tree.leaves(kept.params), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("length", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_gradient_that_is_too_long_is_skipped_where_frames_follow_each_other(config, frames, length):
    config.max_norm = 1e-9
    step = make_step(ml_collections.FrozenConfigDict(config), "high")
    state, metrics = step(started(config), frames[:, :length], Schedule())
    assert bool(metrics["skipped"]) == (length > 1)
    assert np.any(state.carry.y_ref) == (length == 1), "a skipped step leaves the state as it was"


def test_what_does_not_learn_stays_as_it_is(config, frames):
    config.learn = ("context_encoder",)
    config.weight_decay = 0.1
    config.codebook.decay = 0.5
    config.lr_warmup = 0
    frozen = ml_collections.FrozenConfigDict(config)
    state = started(frozen)
    before = jax.device_get((state.params, state.codebooks, state.averages))
    for _ in range(2):
        state, _ = make_step(frozen, "high")(state, frames, Schedule())
    assert set(state.params) > {"context_encoder", "decoder"}
    for name, network in state.params.items():
        pairs = zip(jax.tree.leaves(network), jax.tree.leaves(before[0][name]), strict=True)
        same = [np.array_equal(*pair) for pair in pairs]
        assert not all(same) if name == "context_encoder" else all(same), name
    jax.tree.map(np.testing.assert_array_equal, (state.codebooks, state.averages), before[1:])


def test_a_network_that_is_not_there_cannot_learn(config, frames):
    config.learn = ("context",)
    frozen = ml_collections.FrozenConfigDict(config)
    with pytest.raises(UsageError, match="context_encoder"):
        make_step(frozen, "high")(started(frozen), frames, Schedule())


def test_log_mse_is_the_mean_psnr_of_the_frames_below_30_db():
    rng = np.random.default_rng(0)
    x = rng.random((3, 2, 8, 8, 3), np.float32)
    x_hat = x + np.array([0.1, 0.2, 0.4], np.float32).reshape(3, 1, 1, 1, 1)
    psnr = -10 * np.log10(np.square([0.1, 0.2, 0.4]) + LOG_MSE_FLOOR)
    np.testing.assert_allclose(-10 / np.log(10) * distortion("log_mse", x, x_hat), [np.mean(psnr)] * 2, atol=1e-4)


def test_the_learning_rate_rises_stays_and_falls(config):
    config.lr, config.lr_warmup, config.lr_decay, config.final_lr_ratio = 1e-3, 2, 0.4, 0.1
    config.phases.gops.steps = 16
    rate = learning_rate(config)
    share = [rate(n) / config.lr for n in (0, 1, 2, 11, 12, 16, 20)]
    np.testing.assert_allclose(share, [0, 0.5, 1, 1, 1, 0.55, 0.1], rtol=1e-5)


def test_without_a_warm_up_the_learning_rate_is_there_from_the_first_step(config):
    config.lr, config.lr_warmup, config.lr_decay = 1e-3, 0, 0.4
    config.phases.gops.steps = 16
    assert float(learning_rate(config)(0)) == pytest.approx(1e-3)


def test_the_decay_of_codebooks_rises_as_the_learning_rate_falls(config):
    config.lr_warmup, config.lr_decay, config.codebook.decay, config.codebook.final_decay = 2, 0.5, 0.9, 0.98
    config.phases.gops.steps = 16
    decays = [codebook_decay(config)(n) for n in (0, 10, 15, 20, 24)]
    np.testing.assert_allclose(decays, [0.9, 0.9, 0.94, 0.98, 0.98], rtol=1e-5)
    config.codebook.final_decay = 0.0
    np.testing.assert_allclose([codebook_decay(config)(n) for n in (0, 16)], 0.9, rtol=1e-6)


def test_a_step_late_in_training_moves_codebooks_less(config, frames):
    config.codebook.decay, config.codebook.final_decay, config.codebook.restart_below = 0.5, 1.0, 0.0
    frozen = ml_collections.FrozenConfigDict(config)
    moved = []
    for step in (0, 20000):
        state = started(frozen)
        used = {k: tuple(start_averages(c, 100.0) for c in books) for k, books in state.codebooks.items()}
        state = state.replace(step=jnp.asarray(step, jnp.int32), averages=used)
        # The step donates its state.
        before = jax.device_get(state.codebooks["key"])
        state, _ = make_step(frozen, "high")(state, frames, Schedule())
        moved.append(max(float(np.abs(a - b).max()) for a, b in zip(state.codebooks["key"], before, strict=True)))
    assert moved[0] > 0.01
    assert moved[1] < 1e-4


def test_squared_errors_beside_another_distortion_are_part_of_the_loss(config, frames):
    losses = []
    for weight in (0.0, 0.5):
        config.distortion, config.mse_beside = "log_mse", weight
        frozen = ml_collections.FrozenConfigDict(config)
        _, metrics = make_step(frozen, "high")(started(frozen), frames, Schedule())
        losses.append(metrics)
    mse = 100.0 * np.mean(10.0 ** (-np.asarray(losses[0]["psnr"]) / 10.0))
    assert float(losses[1]["loss"] - losses[0]["loss"]) == pytest.approx(0.5 * mse, rel=0.05)


def test_a_longer_run_begins_like_a_shorter_one(config):
    config.lr_warmup = 2
    rate = learning_rate(config)
    config.phases.gops.steps *= 2
    longer = learning_rate(config)
    assert [float(rate(n)) for n in range(7)] == [float(longer(n)) for n in range(7)]


@pytest.mark.slow
def test_autoencoding_teaches_the_decoder_latents_that_no_quantiser_has_touched(config, frames):
    def picture_error(weight: float) -> float:
        config.autoencoding = weight
        config.lr_warmup = 1
        frozen = ml_collections.FrozenConfigDict(config)
        state = started(config)
        for _ in range(20):
            state, metrics = make_step(frozen, "high")(state, frames, Schedule())
        x = to_unit(frames[:, 0])
        y = CodecModel(config_preset(config)).apply({"params": state.params}, x, method="latents")
        x_hat = CodecModel(config_preset(config)).apply({"params": state.params}, y, method="picture")
        assert bool(metrics["autoencoding"] > 0) == bool(weight)
        return float(np.mean(np.square(x - x_hat)))

    assert picture_error(1.0) < 0.8 * picture_error(0.0)
