"""GOPs coded and decoded at once: the same stream, the same pictures, on one device and on several."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from cbvc_jax.bitstream import TruncatedError
from cbvc_jax.codec import encode
from cbvc_jax.errors import UsageError
from cbvc_jax.rate_control import RateControl
from cbvc_jax.stream import StreamDecoder
from tests.test_codec import as_video, encoded, info_of


@pytest.fixture(scope="module")
def frames(moving):
    """Eleven frames with a cut in the middle of a GOP."""
    frames = moving(11, 40, 72)
    frames[5:] = 255 - frames[5:, ::-1]
    return frames


def shown(stream: bytes, model, **options) -> np.ndarray:
    return np.stack([frame.rgb for frame in StreamDecoder(io.BytesIO(stream), model, **options)])


@pytest.mark.parametrize("coding", ["adaptive", "skipping"])
def test_the_stream_and_its_pictures_are_the_same(model, frames, coding):
    one = encoded(model, frames, gop=3, coding=coding)
    for parallel in (2, 5):
        assert encoded(model, frames, gop=3, coding=coding, parallel=parallel) == one
        np.testing.assert_array_equal(shown(one, model, parallel=parallel), shown(one, model))


def test_frames_from_a_time_on_and_frames_before_damage_are_the_same(model, frames):
    stream = encoded(model, frames, gop=3, first=7)
    late = [
        (f.timestamp, f.rgb.sum()) for f in StreamDecoder(io.BytesIO(stream), model, start=Fraction(12, 30), parallel=3)
    ]
    assert late == [
        (f.timestamp, f.rgb.sum()) for f in StreamDecoder(io.BytesIO(stream), model, start=Fraction(12, 30))
    ]
    assert late[0][0] == 12
    cut = iter(StreamDecoder(io.BytesIO(stream[:-20]), model, parallel=2))
    assert len(list(itertools.islice(cut, 10))) == 10
    with pytest.raises(TruncatedError):
        next(cut)
    broken = bytearray(stream)
    broken[len(stream) // 2] ^= 255
    concealing = StreamDecoder(io.BytesIO(bytes(broken)), model, conceal=True, parallel=2)
    left = [frame.timestamp for frame in concealing]
    assert left == sorted(left)
    assert len(left) < 11 and len(concealing.losses) == 1


def test_bits_that_are_learned_from_frame_to_frame_take_one_after_the_other(model, frames):
    for options in ({"price": 10.0}, {"control": RateControl(100.0, 3)}):
        with pytest.raises(UsageError, match="cannot be coded at once"):
            next(encode(as_video(frames), io.BytesIO(), model, info_of(frames), parallel=2, **options))


def test_only_jax_decodes_several_at_once(model, frames):
    with pytest.raises(UsageError, match="only JAX"):
        StreamDecoder(io.BytesIO(encoded(model, frames[:1])), decoder=lambda _: None, parallel=2)  # pyright: ignore


DEVICES = """
import sys
import jax
import numpy as np
from cbvc_jax.codec import lane_devices
from cbvc_jax.weights import load_model
from tests.test_parallel import encoded, shown
assert [d.id for d in lane_devices(3)] == [0, 1, 0]
model, frames = load_model(sys.argv[1]), np.load(sys.argv[2])
one, two = (encoded(model, frames, gop=3, parallel=n) for n in (1, 2))
assert one == two
assert np.array_equal(shown(one, model), shown(one, model, parallel=2))
"""


@pytest.mark.slow
def test_gops_take_turns_on_the_devices(model_folder, frames, tmp_path):
    np.save(tmp_path / "frames.npy", frames)
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-c", DEVICES, str(model_folder), str(tmp_path / "frames.npy")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
