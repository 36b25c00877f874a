"""The codec in one go: `make demo`, or `python examples/demo.py --rate low --output demo`.

Encodes the bundled clip, has another process decode it, measures the result and leaves in the output folder

    city.cbv          the stream
    city.mp4          the decoded video, to be played
    side_by_side.png  one frame: source | decoded
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cbvc_jax import (
    CbvcError,
    Model,
    StreamDecoder,
    VideoFrame,
    VideoInfo,
    create_video,
    encode,
    load_model,
    open_video,
)
from cbvc_jax.cache import use_compilation_cache
from cbvc_jax.evaluation.compare import Comparison, compare
from cbvc_jax.presets import RATES
from cbvc_jax.weights import DEFAULT_MODEL

CLIP = Path(str(resources.files("cbvc_jax"))) / "assets" / "clip" / "city_cc0.mp4"
GOP = 32
WARM_UP_FRAMES = 2
LABEL_HEIGHT = 28


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", choices=RATES, default="medium", help="codebooks of predicted frames")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="name or folder of the model")
    parser.add_argument("--input", type=Path, default=CLIP, help="another video")
    parser.add_argument("--frames", type=int, help="no more than this")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder of the results")
    args = parser.parse_args(argv)
    try:
        print(run(args.input, args.output, args.model, args.rate, args.frames))
    except (CbvcError, subprocess.CalledProcessError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def run(clip: Path, output: Path, model_name: str, rate: str, limit: int | None) -> str:
    """A table of what was measured; the files in `output` are named after the clip, up to its first "_"."""
    use_compilation_cache()
    model = load_model(model_name)
    output.mkdir(parents=True, exist_ok=True)
    name = clip.stem.split("_")[0]
    stream, video = output / f"{name}.cbv", output / f"{name}.mp4"
    with open_video(clip) as source:
        info, frames = source.info, list(itertools.islice(source, limit))

    print(f"encoding {len(frames)} frames of {clip.name} with model {model_name}, rate {rate} ...", flush=True)
    encode_fps = timed_encode(frames, stream, model, info, rate)
    decode_fps = timed_decode(stream, model, len(frames))
    print("decoding in another process ...", flush=True)
    shown = decoded_elsewhere(stream, model_name)
    with create_video(video, info) as out:
        for frame, rgb in zip(frames, shown, strict=True):
            out.write(rgb, frame.timestamp)

    quality = compare((frame.rgb for frame in frames), shown)
    bpp = 8 * stream.stat().st_size / (info.width * info.height * len(frames))
    pick = len(frames) * 5 // 12
    side_by_side(frames[pick].rgb, shown[pick], pick, f"decoded, rate {rate}, {bpp:.3f} bpp").save(
        output / "side_by_side.png"
    )
    facts = {
        "video": f"{info.width}x{info.height}, {len(frames)} frames",
        "model, rate, GOP": f"{model.preset.name} {model.sha256.hex()[:12]}, {rate}, {GOP}",
        "stream": f"{stream.stat().st_size:,} bytes, {bpp:.4f} bpp, {_kbit_per_s(stream, frames, info)}",
        "PSNR RGB": f"{quality.psnr_rgb_db:.2f} dB",
        "MS-SSIM": _ms_ssim(quality),
        "encode": f"{encode_fps:.1f} frames/s",
        "decode": f"{decode_fps:.1f} frames/s",
    }
    table = "\n".join(f"  {key:<17} {value}" for key, value in facts.items())
    files = "  ".join(str(path) for path in (stream, video, output / "side_by_side.png"))
    return (
        f"\n{table}\n\nSpeed: this machine, after start-up and compilation, without reading and writing video.\n{files}"
    )


def timed_encode(frames: list[VideoFrame], stream: Path, model: Model, info: VideoInfo, rate: str) -> float:
    """Frames a second of encoding all `frames` into the file `stream`, once the programs have been compiled."""
    with tempfile.TemporaryFile() as scratch:
        for _ in encode(frames[:WARM_UP_FRAMES], scratch, model, info, rate, GOP):
            pass
    start = time.perf_counter()
    with stream.open("wb") as file:
        for _ in encode(frames, file, model, info, rate, GOP):
            pass
    return len(frames) / (time.perf_counter() - start)


def timed_decode(stream: Path, model: Model, count: int) -> float:
    """Frames a second of decoding all `count` frames, once the programs have been compiled."""
    with stream.open("rb") as file:
        for _ in itertools.islice(StreamDecoder(file, model), WARM_UP_FRAMES):
            pass
    start = time.perf_counter()
    with stream.open("rb") as file:
        for _ in StreamDecoder(file, model):
            pass
    return count / (time.perf_counter() - start)


def decoded_elsewhere(stream: Path, model_name: str) -> list[np.ndarray]:
    """The frames that `cbvc decode` makes of the stream, exactly: they come as PNG."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "cbvc_jax.cli.main",
            "decode",
            str(stream),
            f"{folder}/",
            "--model",
            model_name,
        ]
        subprocess.run(command, check=True)
        with open_video(folder) as video:
            return [frame.rgb for frame in video]


def side_by_side(source: np.ndarray, decoded: np.ndarray, number: int, label: str) -> Image.Image:
    """Both pictures beside each other under their labels."""
    height, width = source.shape[:2]
    sheet = Image.new("RGB", (2 * width + 4, height + LABEL_HEIGHT), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=16)
    for left, text, rgb in ((0, f"source, frame {number + 1}", source), (width + 4, label, decoded)):
        sheet.paste(Image.fromarray(rgb), (left, LABEL_HEIGHT))
        draw.text((left + 6, LABEL_HEIGHT // 2), text, fill="black", font=font, anchor="lm")
    return sheet


def _kbit_per_s(stream: Path, frames: list[VideoFrame], info: VideoInfo) -> str:
    if info.frame_rate is None:
        return "frame rate unknown"
    return f"{8 * stream.stat().st_size * float(info.frame_rate) / len(frames) / 1000:.0f} kbit/s"


def _ms_ssim(quality: Comparison) -> str:
    return "n/a (frames too small)" if quality.ms_ssim is None else f"{quality.ms_ssim:.4f}"


if __name__ == "__main__":
    sys.exit(main())
