"""The equations of the paper's Table 3, and how the two rules of counting relate."""

from __future__ import annotations

import functools
from math import prod

import jax
import pytest

from cbvc_jax.complexity import DECODE_PARTS, ENCODE_PARTS, PARTS, Complexity, measure
from cbvc_jax.model import init_params
from cbvc_jax.presets import KEYFRAME, get_preset

PIXELS = 1920 * 1024


@functools.cache
def full_hd(name: str) -> Complexity:
    return measure(get_preset(name), 1024, 1920)


@pytest.mark.parametrize(
    ("name", "parameters", "tera_macs", "all_parameters"),
    [
        ("wca4", 53_408_684, 2.2321, 56.385),
        ("ca64", 53_408_684, 2.2186, 56.385),
        ("resblock", 53_438_892, 2.2207, 56.415),
        ("light", 46_162_444, 0.7403, 49.048),
    ],
)
def test_table_3(name, parameters, tera_macs, all_parameters):
    complexity = full_hd(name)
    assert complexity.table3.table3_parameters == parameters
    assert complexity.table3.table3_macs / 1e12 == pytest.approx(tera_macs, rel=1e-3)
    assert complexity.all_parameters("high") / 1e6 == pytest.approx(all_parameters, abs=5e-4)


@pytest.mark.parametrize(
    ("part", "parameters", "macs_a_pixel"),
    [
        ("E", 3_562_112, 243.8e3),
        ("ctxE", 722_688, 14.4e3),
        ("VQ encode", 3 * 2_525_440 + 5 * 2_230_272, 35.24e3),
        ("VQ decode", 3 * 3_410_944 + 5 * 2_230_272, 42.044e3),
        ("ctxD", 722_688, 14.4e3),
        ("D", 8_289_324, 785.4e3),
    ],
)
def test_parts_of_wca4(part, parameters, macs_a_pixel):
    cost = full_hd("wca4").parts[part]
    assert cost.table3_parameters == parameters
    assert cost.table3_macs / PIXELS == pytest.approx(macs_a_pixel, rel=2e-3)


def test_light_decoder():
    cost = full_hd("light").parts["D"]
    assert cost.table3_parameters == 885_504 + 24_768 + 120_096 + 9_248 + 3_468
    assert cost.table3_macs / PIXELS == pytest.approx(26.6e3, rel=1e-3)


def test_projecting_once_saves_what_the_overlap_costs():
    complexity = full_hd("wca4")
    assert complexity.table3.layer_macs / 1e12 == pytest.approx(2.2198, abs=1e-4)
    assert full_hd("ca64").table3.layer_macs == full_hd("ca64").table3.table3_macs
    # Windows of 8x8 at a stride of 4: every position three times more, for keys, values and their normalisation.
    layers = 4
    saved = 3 * (240 * 128) * (2 * 128 * 128 + 4 * 128) * layers
    assert complexity.table3.table3_macs - complexity.table3.layer_macs == saved


def test_what_table_3_leaves_out():
    complexity = full_hd("wca4")
    windows, layers = 60 * 32, 2
    assert complexity.parts["ctxE"].attention_macs == 2 * windows * 16 * 64 * 128 * layers
    assert complexity.parts["E"].gdn_macs == 128 * 128 * PIXELS // 16 + 128 * 128 * PIXELS // 64
    assert complexity.parts["D"].gdn_macs == 256 * 256 * PIXELS // 16 + 160 * 160 * PIXELS // 4
    for rate, first in ((KEYFRAME, 8192), ("high", 8192), ("medium", 64), ("low", 8)):
        sizes = zip((first, 2048, 512), (7680, 1920, 480), strict=True)
        assert complexity.search_macs[rate] == sum(2 * positions * k * 64 for k, positions in sizes)
    assert full_hd("resblock").parts["ctxD"].attention_macs == 0


def test_encoding_and_decoding_are_sums_of_parts():
    complexity = full_hd("light")
    assert set(ENCODE_PARTS) | set(DECODE_PARTS) == set(PARTS)
    encode = sum(complexity.parts[part].macs for part in ENCODE_PARTS)
    assert complexity.encode_macs("low") == encode + complexity.search_macs["low"]
    assert complexity.decode_macs() == sum(complexity.parts[part].macs for part in DECODE_PARTS)


@pytest.mark.parametrize(("name", "least", "most"), [("tiny", 8e3, 11e3), ("small", 13e3, 17e3)])
def test_small_members_are_small(name, least, most):
    complexity = full_hd(name)
    assert least < complexity.per_pixel(complexity.table3.table3_macs) < most


def test_every_parameter_of_the_model_is_counted():
    params, codebooks = jax.eval_shape(lambda: init_params(jax.random.key(0), get_preset("tiny")))
    complexity = full_hd("tiny")
    assert complexity.network_parameters == sum(prod(leaf.shape) for leaf in jax.tree.leaves(params))
    in_codebooks = sum(prod(leaf.shape) for leaf in jax.tree.leaves(codebooks))
    assert complexity.all_parameters("high", "medium", "low") == complexity.network_parameters + in_codebooks
    # What Table 3 would not see: position biases, and the affine layers of the kinds of frame.
    unseen = complexity.network_parameters - complexity.table3.table3_parameters
    assert unseen == 2 * 4 * 16 * 64 + 2 * 3 * 2 * 4 * 128


def test_parameters_that_predicted_frames_do_not_touch_are_counted_too():
    params, _ = jax.eval_shape(lambda: init_params(jax.random.key(0), get_preset("small")))
    complexity = full_hd("small")
    assert complexity.network_parameters == sum(prod(leaf.shape) for leaf in jax.tree.leaves(params))
    assert complexity.table3.table3_parameters < complexity.network_parameters


def test_displacing_and_finding_displacements_are_counted():
    # Patches of 64x64 for blocks of 32x32: rows, then columns between four others, and the share of each.
    displacing = (5 * 64 * 67 + 5 * 64 * 64) * PIXELS // 32**2
    # Displacements of two pixels, -16 .. 16, on halves of the size; then three times the mean of the channels.
    finding = 17**2 * PIXELS // 4 + 3 * displacing
    complexity = full_hd("small")
    assert complexity.parts["ctxD"].attention_macs == 3 * displacing
    assert complexity.parts["ctxE"].attention_macs == 3 * displacing + finding


def test_a_keyframe_has_networks_of_its_own_where_latents_are_pictures_and_no_context():
    small, tiny = full_hd("small"), full_hd("tiny")
    for complexity in (small, tiny):
        assert complexity.keyframe_parts["ctxE"].macs == complexity.keyframe_parts["ctxD"].macs == 0
        assert complexity.keyframe_parts["VQ decode"] == complexity.parts["VQ decode"]
    assert all(tiny.keyframe_parts[part] == tiny.parts[part] for part in ("E", "D"))
    params, _ = jax.eval_shape(lambda: init_params(jax.random.key(0), get_preset("small")))
    for part, name in (("E", "key_encoder"), ("D", "key_decoder")):
        own = sum(prod(leaf.shape) for leaf in jax.tree.leaves(params[name]))
        assert small.parts[part].macs == 0
        assert small.keyframe_parts[part].table3_parameters == own


def test_a_frame_is_padded():
    tiny = get_preset("tiny")
    assert measure(tiny, 65, 100).parts == measure(tiny, 128, 128).parts
    assert measure(tiny, 65, 100).per_pixel(6500) == 1.0
