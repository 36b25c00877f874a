"""A price of bits in training: the search under it, what it does to usage, and that nothing of it is there at 0."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from cbvc_jax.bitstream import PayloadLayout, table_of_counts
from cbvc_jax.bitstream.adaptive import AdaptiveCoder
from cbvc_jax.geometry import POINTING_GROUP, POINTING_STAGE
from cbvc_jax.modules import search as search_module
from cbvc_jax.modules.search import look_up, rated_search
from cbvc_jax.presets import PRESETS
from cbvc_jax.training import step as step_module
from cbvc_jax.training.chunk import Schedule
from cbvc_jax.training.codebooks import CodebookAverages, start_averages, update_codebook, usage_and_perplexity
from cbvc_jax.training.price import (
    RARE,
    Quality,
    drawn_share,
    index_bits,
    index_costs,
    restart_share,
    skipped,
    spread,
)
from cbvc_jax.training.sharding import single
from cbvc_jax.training.start import start_from_model
from cbvc_jax.training.state import empty_carry, init_state, phases
from cbvc_jax.training.step import make_step
from cbvc_jax.weights import load_model, save_model
from tests.mini_preset import DISPLACING_MINI


def config_of(price: float, key_price: float = 0.0, preset: str = "tiny"):
    codebook = {"price": price, "key_price": key_price, "restart_below": 0.2}
    return ml_collections.FrozenConfigDict({"codebook": codebook, "preset": preset, "quality": {"prices": {}}})


def toy(size: int, d: int = 3):
    """(codebook, averages) whose codewords are used the less, the higher their index; the last one never."""
    rng = np.random.default_rng(size)
    codebook = rng.normal(size=(2, size, d)).astype(np.float32)
    count = np.float32(1000.0 / np.arange(1, size + 1) ** 1.5 * np.ones((2, 1)))
    count[:, -1] = 0.0
    return codebook, CodebookAverages(jnp.asarray(count), jnp.asarray(codebook * count[..., None]))


@pytest.mark.parametrize("size", [8, 8192])
def test_bits_are_what_index_coding_charges_with_the_counts_as_tables(size):
    _, averages = toy(size)
    layouts = {"key": PayloadLayout(64, 64, (size, 2, 2))}
    uniform = np.ones((2, 2), int)
    coder = AdaptiveCoder(layouts, {"key": [table_of_counts(averages.count), uniform, uniform]})
    charged = 16 - np.log2(coder.chances("key", tables=True)[0].indices)
    charged = charged.reshape(2, -1, size)[:, 0]
    # The integers of the tables and of the coder are rounded, which is a bit and more for the rarest indices.
    bits = np.asarray(index_bits(averages.count))
    np.testing.assert_allclose(bits, charged, atol=1.2)
    np.testing.assert_allclose(bits[charged < 9], charged[charged < 9], atol=0.06)
    assert bits.max() == 16.0


def test_the_spread_is_the_variance_of_the_codewords_in_use():
    codebook, averages = toy(8)
    share = np.asarray(averages.count / averages.count.sum(axis=1, keepdims=True), np.float64)[..., None]
    mean = (share * codebook).sum(axis=1, keepdims=True)
    variance = (share * (codebook - mean) ** 2).sum((1, 2))
    np.testing.assert_allclose(spread(codebook, averages.count), variance, rtol=1e-5)


@pytest.mark.parametrize("size", [8, 256])
def test_the_search_takes_the_least_distance_and_bits(monkeypatch, size):
    monkeypatch.setattr(search_module, "BLOCK_ELEMENTS", 4 * size)
    codebook, averages = toy(size)
    (costs,) = index_costs(config_of(0.1), {"high": (codebook,)}, {"high": (averages,)})["high"]
    z = np.random.default_rng(1).normal(size=(2, 3, 5, 2, 3)).astype(np.float32)
    found = np.asarray(jax.jit(rated_search)(z, codebook, costs))
    bits = np.asarray(index_bits(averages.count), np.float64)
    lengths = 0.1 * np.asarray(spread(codebook, averages.count), np.float64)[:, None] * bits
    totals = ((z.astype(np.float64)[..., None, :] - codebook) ** 2).sum(-1) + lengths
    excess = np.take_along_axis(totals, found[..., None], -1)[..., 0] - totals.min(-1)
    assert excess.max() < 1e-5
    nearest = ((z[..., None, :] - codebook) ** 2).sum(-1).argmin(-1)
    assert (found != nearest).any()
    assert (found == nearest).any()


def test_displacements_cost_nothing(monkeypatch):
    monkeypatch.setitem(PRESETS, DISPLACING_MINI.name, DISPLACING_MINI)
    config = config_of(0.1, 0.1, DISPLACING_MINI.name)
    codebook, averages = toy(8)
    books = {kind: (codebook,) * 3 for kind in ("key", "high")}
    costs = index_costs(config, books, {kind: (averages,) * 3 for kind in books})
    for kind, s, group in itertools.product(books, range(3), range(2)):
        free = (kind, s, group) == ("high", POINTING_STAGE, POINTING_GROUP)
        assert np.any(costs[kind][s].of_index[group]) != free


def test_costs_exist_only_for_kinds_with_a_price_and_cost_nothing_before_anything_is_counted():
    codebook, averages = toy(8)
    books, means = {"key": (codebook,), "high": (codebook,)}, {"key": (averages,), "high": (averages,)}
    assert index_costs(config_of(0.0), books, means) == {}
    assert index_costs(config_of(0.1), books, means).keys() == {"high"}
    assert index_costs(config_of(0.0, 0.1), books, means).keys() == {"key"}
    fresh = start_averages(codebook, 0.0)
    (costs,) = index_costs(config_of(0.1), books, {"high": (fresh,), "key": (fresh,)})["high"]
    assert not np.any(costs.of_index)
    assert (restart_share(config_of(0.1), "key"), restart_share(config_of(0.1), "high")) == (0.2, 0.2 * RARE)


def test_a_step_pays_its_own_share_of_the_price_where_that_is_drawn(config):
    state = init_state(config)
    assert drawn_share(config, state) == 1.0
    config.codebook.draw_price = True
    shares = np.array([drawn_share(config, state.replace(step=jnp.asarray(n))) for n in range(64)])
    assert ((shares >= 0.0) & (shares < 1.0)).all()
    # The mean of 64 draws is within four of its standard errors, the least and the greatest are near the ends.
    assert abs(shares.mean() - 0.5) < 4 * 12**-0.5 / 8
    assert shares.min() < 0.1
    assert shares.max() > 0.9
    codebook, averages = toy(8)
    of = {"high": (codebook,)}, {"high": (averages,)}
    (whole,), (part,) = (index_costs(config_of(0.1), *of, share)["high"] for share in (1.0, shares[0]))
    np.testing.assert_allclose(part.of_index, shares[0] * whole.of_index, rtol=1e-6)


def learned(price: float, steps: int = 100) -> tuple[float, float]:
    """(perplexity, mean squared distance) of 16 codewords that learn from clusters of unequal weight."""
    rng = np.random.default_rng(0)
    centres, weights = rng.normal(size=(6, 2)), np.array([0.4, 0.3, 0.15, 0.08, 0.05, 0.02])
    codebook = rng.normal(size=(2, 16, 2)).astype(np.float32)
    averages, config = start_averages(codebook, 256.0), config_of(price)

    @jax.jit
    def step(codebook, averages, z, rng):
        costs = index_costs(config, {"high": (codebook,)}, {"high": (averages,)})
        found = rated_search(z[None, None], codebook, costs["high"][0])[0, 0]
        error = jnp.mean(jnp.sum(jnp.square(z - look_up(found[None, None], codebook)[0, 0]), axis=-1))
        share = restart_share(config, "high")
        return (*update_codebook(codebook, averages, z, found, rng, decay=0.9, restart_below=share), error)

    errors = []
    for n in range(steps):
        z = centres[rng.choice(6, (256, 2), p=weights)] + 0.3 * rng.normal(size=(256, 2, 2))
        codebook, averages, _, error = step(codebook, averages, z.astype(np.float32), jax.random.key(n))
        errors.append(float(error))
    return float(jnp.mean(usage_and_perplexity(averages.count)[1])), float(np.mean(errors[-20:]))


def test_a_price_makes_usage_skewed_where_that_is_cheap():
    free, low, high = learned(1e-6), learned(0.05), learned(0.1)
    assert high[0] < low[0] < 0.9 * free[0]
    # A fifth of the codewords is saved for about a hundredth of the spread, which is above 1.
    assert low[1] - free[1] < 0.02
    assert high[0] > 3, "it does not collapse"


def jaxpr_of(config, state, frames) -> str:
    make_step.cache_clear()
    return str(jax.make_jaxpr(make_step(ml_collections.FrozenConfigDict(config), "high"))(state, frames, Schedule()))


@pytest.mark.parametrize("price", [0.0, 1.0, 1e3, 1e9])
def test_training_leaves_blocks_that_cost_less_so(price):
    """Bits of one block in four of 32x32: its own indices, and its share of those of coarser stages."""
    random = np.random.default_rng(3)
    y, *others = (0.1 * random.normal(size=(1, 4, 4, 192)).astype(np.float32) for _ in range(4))
    y_ref, moved, y_hat = (y + other * scale for other, scale in zip(others, (2.0, 1.5, 1.0), strict=True))
    y_ref[:, :2], moved[:, :, :2] = y[:, :2] + others[2][:, :2], y[:, :, :2] + others[2][:, :, :2]
    bits = [np.float32(random.exponential(5.0, (2, k))) for k in (4, 3, 2)]
    indices = [random.integers(0, k, (1, n, n, 2)) for k, n in ((4, 2), (3, 1))] + [np.zeros((1, 1, 1, 2), int)]
    # Stage 3 covers 64x64 pixels, of which a picture of 32x32 is a quarter: here its index covers as much as stage 2's.
    quality = Quality(jnp.float32(price), [jnp.asarray(b) for b in bits], [], jnp.zeros((2, 3)))
    skip, total = skipped(y, y_ref, moved, y_hat, indices, quality)
    group = np.arange(2)
    coarse = bits[1][group, indices[1][0, 0, 0]] / 4
    own = bits[0][group, indices[0]].sum(axis=-1) + coarse.sum() + bits[2][group, 0].sum() / 4
    np.testing.assert_allclose(total, own, rtol=1e-5)
    errors = []
    for shown in (y_ref, moved, y_hat):
        squares = np.square(127.5 * (y - shown)).sum(axis=-1) / 3
        errors.append(squares.reshape(1, 2, 2, 2, 2).sum(axis=(2, 4)))
    costs = np.stack([errors[2] + price * own, errors[0], errors[1] + price * coarse[POINTING_GROUP]])
    np.testing.assert_array_equal(skip, np.argmin(costs, axis=0) if price else np.zeros((1, 2, 2)))
    if price in (1.0, 1e3):
        assert len(np.unique(skip)) > 1


@pytest.mark.slow
def test_without_a_price_the_step_is_the_one_that_knows_of_none(config, moving, monkeypatch):
    frames = np.stack([moving(3, 64, 64)] * 2)
    state = init_state(config).replace(carry=empty_carry(config, phases(config)[1]))
    plain = jaxpr_of(config, state, frames)
    monkeypatch.setattr(step_module, "index_costs", lambda *_: None)
    monkeypatch.setattr(step_module, "restart_share", lambda config, _: config.codebook.restart_below)
    assert jaxpr_of(config, state, frames) == plain


def test_counts_start_as_the_models_tables_say(config, mini, tmp_path):
    config.phase_order = ("gops",)
    state = init_state(config)
    kinds = {"key": mini.key_sizes, **dict(mini.predicted_sizes)}
    tables = {k: [np.stack([np.arange(1, n + 1), np.ones(n, int)]) for n in sizes] for k, sizes in kinds.items()}
    alike, told = [], []
    for name, given, found in (("plain", None, alike), ("tabled", tables, told)):
        preset = mini.with_rates("high", "low")
        save_model(tmp_path / name, preset, state.params, state.codebooks, "", given)
        assert (load_model(tmp_path / name).tables is None) == (given is None)
        config.init_from = str(tmp_path / name)
        found.extend(start_from_model(state, config).averages["high"])
    for same, own, book in zip(alike, told, load_model(tmp_path / "plain").codebooks["high"], strict=True):
        np.testing.assert_allclose(own.count.sum(axis=1), same.count.sum(axis=1), rtol=1e-5)
        np.testing.assert_allclose(own.count[1], same.count[1], rtol=1e-5)
        np.testing.assert_allclose(own.count[0] / own.count[0, 0], np.arange(1, book.shape[1] + 1), rtol=1e-4)
        np.testing.assert_allclose(own.total, own.count[..., None] * book, rtol=1e-5)


@pytest.mark.slow
def test_a_step_under_a_price_uses_fewer_codewords(config, moving):
    config.data.folders = config.data.cache = ""
    config.lr_warmup, config.phases.gops.steps, config.codebook.decay = 1, 10000, 0.8
    frames = np.stack([moving(3, 64, 64), 255 - moving(3, 64, 64)])
    perplexity = []
    for price in (0.0, 0.2):
        config.codebook.price = price
        frozen = ml_collections.FrozenConfigDict(config)
        state = single().place_state(init_state(config).replace(carry=empty_carry(config, phases(config)[1])))
        for _ in range(20):
            state, metrics = make_step(frozen, "high")(state, frames, Schedule())
        assert not bool(metrics["skipped"])
        perplexity.append([usage_and_perplexity(mean.count)[1].mean() for mean in state.averages["high"]])
    assert np.all(np.less(perplexity[1], perplexity[0]))
