"""What saves memory changes nothing else: accumulation, rematerialisation, bfloat16."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from cbvc_jax.errors import UsageError
from cbvc_jax.training.chunk import Schedule, mode_of
from cbvc_jax.training.precision import compute_dtype
from cbvc_jax.training.program import bf16_flops, collectives
from cbvc_jax.training.sharding import single
from cbvc_jax.training.state import empty_carry, init_state
from cbvc_jax.training.step import make_step
from tests.training.mini import BATCH, mini_config


def one_step(**changes):
    config = mini_config()
    config.update(changes)
    frozen = ml_collections.FrozenConfigDict(config)
    state = single().place_state(init_state(config).replace(carry=empty_carry(config, config.phases.gops)))
    frames = np.random.default_rng(0).integers(0, 255, (BATCH, 3, 64, 64, 3), dtype=np.uint8)
    for _ in range(2):
        state, metrics = make_step(frozen, "high")(state, frames, Schedule())
    return state, metrics


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"accumulate": 2}, {"remat": True}, {"remat": True, "accumulate": 4}])
def test_accumulation_and_rematerialisation_are_the_same_step(changes):
    (state, metrics), (other, other_metrics) = one_step(), one_step(**changes)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
        assert np.linalg.norm(np.subtract(a, b, dtype=np.float64)) <= 1e-4 * np.linalg.norm(np.float64(a)) + 1e-6
    np.testing.assert_allclose(other_metrics["psnr"], metrics["psnr"], rtol=1e-4)


@pytest.mark.slow
def test_bfloat16_is_for_networks_alone():
    state, metrics = one_step(compute="bfloat16")
    kept = {a.dtype for a in jax.tree.leaves(state) if jnp.issubdtype(a.dtype, jnp.floating)}
    assert kept == {jnp.dtype(jnp.float32)}
    exact, exact_metrics = one_step()
    assert not bool(metrics["skipped"])
    np.testing.assert_allclose(metrics["psnr"], exact_metrics["psnr"], atol=0.1)
    del exact


def test_an_unknown_type_is_told():
    with pytest.raises(UsageError, match="compute = 'float8' is none of: float32, bfloat16"):
        compute_dtype("float8")
    assert mode_of(mini_config()).dtype == jnp.float32


def test_arithmetic_counts_loops_and_precision():
    def program(x, w):
        def body(c, _):
            return jnp.matmul(c, w, precision="highest"), None

        return jax.lax.scan(body, x, None, length=5)[0] @ w

    x, w = jnp.zeros((3, 4)), jnp.zeros((4, 4))
    assert bf16_flops(jax.make_jaxpr(program)(x, w)) == 2 * 3 * 4 * 4 * (5 * 6 + 1)
    image, kernel = jnp.zeros((1, 8, 8, 2)), jnp.zeros((3, 3, 2, 5))

    def convolve(image, kernel):
        return jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    assert bf16_flops(jax.make_jaxpr(convolve)(image, kernel)) == 2 * 8 * 8 * 5 * 9 * 2


HLO = """
%sum (a: f32[], b: f32[]) -> f32[] {
  ROOT %s = f32[] add(%a, %b)
}

%body.1 (p: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %ag = f32[8,4]{1,0} all-gather(%x), replica_groups=[2,4]<=[8], dimensions={0}
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %ar = (f32[8]{0}, bf16[4]{0}) all-reduce(%p, %q), replica_groups={{0,1,2,3}}, to_apply=%sum
  %rs = f32[2]{0} reduce-scatter(%p), replica_groups={{0,1,2,3}}, to_apply=%sum
  %w = (s32[], f32[8,4]) while(%t), condition=%c, body=%body.1, backend_config={"known_trip_count":{"n":"6"}}
}
"""


def test_collectives_are_read_from_a_program():
    found = collectives(HLO)
    assert found.payload_bytes == {"all-reduce": 40.0, "reduce-scatter": 32.0, "all-gather": 6 * 128.0}
    assert found.wire_bytes == 2 * 40 + 32 + 6 * 128
