"""Initial tables from a model's folder into its streams and back: smaller files, the same pictures, nothing taken on
trust."""

from __future__ import annotations

import io
import json
from fractions import Fraction

import numpy as np
import pytest
from safetensors.numpy import load_file

from cbvc_jax.bitstream import BitstreamError, StreamReader
from cbvc_jax.cli.main import main
from cbvc_jax.codec import encode
from cbvc_jax.errors import ModelError
from cbvc_jax.stream import StreamDecoder
from cbvc_jax.video import VideoFrame, VideoInfo
from cbvc_jax.weights import WEIGHTS_FILE
from tests.bitstream import independent_reader
from tests.tabled import with_tables


@pytest.fixture(scope="module")
def frames(moving):
    """Nine frames, the left half of which stands still."""
    frames = moving(9, 64, 96)
    frames[:, :, :48] = frames[0, :, :48]
    return frames


@pytest.fixture(scope="module")
def tabled(model, frames, tmp_path_factory):
    return with_tables(model, frames, tmp_path_factory.mktemp("tabled") / "m")


def encoded(model, frames, rate="low", gop=3, **options) -> bytes:
    file, info = io.BytesIO(), VideoInfo(frames.shape[2], frames.shape[1], Fraction(1, 30), Fraction(30))
    for _ in encode((VideoFrame(rgb, i) for i, rgb in enumerate(frames)), file, model, info, rate, gop, **options):
        pass
    return file.getvalue()


def pictures(stream, model, **options):
    return np.stack([frame.rgb for frame in StreamDecoder(io.BytesIO(stream), model, **options)])


def read(stream, tables):
    reader = StreamReader(io.BytesIO(stream))
    reader.use_tables(tables)
    return list(reader)


@pytest.mark.parametrize(
    ("coding", "options"), [("adaptive", {}), ("skipping", {}), ("skipping", {"price": 300.0}), ("fixed", {})]
)
def test_tables_make_streams_smaller_and_no_picture_different(model, tabled, frames, coding, options):
    plain, stream = (encoded(m, frames, coding=coding, **options) for m in (model, tabled))
    records = read(stream, tabled.tables)
    with_tables = {r.kind for r in records if r.coding.endswith("tables")}
    if coding == "fixed":
        assert (len(stream), with_tables) == (len(plain), set())
    else:
        assert len(stream) < len(plain)
        assert with_tables == ({"key", "predicted"} if coding == "adaptive" else {"key"})
    if not options:
        np.testing.assert_array_equal(pictures(stream, tabled), pictures(plain, model))
        np.testing.assert_array_equal(pictures(stream, tabled, parallel=2), pictures(plain, model))


def test_a_reader_written_from_the_format_reads_them_with_the_integers_of_the_file(tabled, frames):
    stream = encoded(tabled, frames, "low", gop=5, coding="skipping")
    tensors = load_file(tabled.path / WEIGHTS_FILE)
    there = independent_reader.Reader(stream)
    kinds = ("key", *tabled.preset.rates)
    there.tables = {kind: [tensors[f"tables/{kind}/{stage}"].tolist() for stage in range(3)] for kind in kinds}
    for record, other in zip(read(stream, tabled.tables), there.read_frames(), strict=True):
        assert [maps.ravel().tolist() for maps in record.indices] == other[4]


def test_each_record_begins_with_what_makes_it_smaller(model, tabled, frames, tmp_path):
    # Noise is not what the tables were counted in.
    noise = np.random.default_rng(0).integers(0, 256, frames.shape, dtype=np.uint8)
    noise[5:] = noise[4]
    stream, plain = (encoded(m, noise, "low", gop=9, cuts=False) for m in (tabled, model))
    assert len(stream) <= len(plain)
    codings = {r.coding for r in read(stream, tabled.tables)}
    assert "adaptive" in codings
    np.testing.assert_array_equal(pictures(stream, tabled), pictures(plain, model))


def test_damage_is_told_or_passed_over(tabled, frames):
    stream = encoded(tabled, frames, "low", gop=3)
    records = read(stream, tabled.tables)
    assert records[3].coding == "adaptive-tables", "a keyframe"
    broken = bytearray(stream)
    broken[records[3].offset + records[3].size_bytes - 6] ^= 0x55
    with pytest.raises(BitstreamError):
        pictures(bytes(broken), tabled)
    whole, rest = pictures(stream, tabled), pictures(bytes(broken), tabled, conceal=True)
    np.testing.assert_array_equal(rest, whole[[0, 1, 2, 6, 7, 8]])
    for cut in range(1, len(stream), 97):
        with pytest.raises(BitstreamError):
            read(stream[:cut], tabled.tables)


def test_the_model_without_tables_is_another(model, tabled, frames):
    stream = encoded(tabled, frames[:2])
    with pytest.raises(ModelError, match="was made with model"):
        StreamDecoder(io.BytesIO(stream), model)


def test_info_takes_no_tables(tabled, frames, tmp_path, capsys):
    file = tmp_path / "a.cbv"
    file.write_bytes(encoded(tabled, frames, "low", gop=3))
    assert main(["info", str(file), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["complete"]
    assert facts["frames_by_coding"]["adaptive-tables"] > 3
    assert "key" not in facts["bytes_by_stage"]
    assert facts["payload_bytes"] < facts["payload_bytes_at_fixed_length"]
