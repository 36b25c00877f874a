"""One point of a rate-distortion curve: a clip coded into a real file, decoded by the ordinary decoder, measured.

    clip --+-- cbvc: encode --> file of `bytes` -- StreamDecoder --.
           |-- ffmpeg: x265 --> raw stream ------- open_video -----+-- RGB --> PSNR, MS-SSIM, LPIPS, VMAF --> record
           '-- RGB --------------------------------------------------------------'

Decoded frames wait in a temporary file, so that decoding is timed alone and memory does not grow with the clip.
"""

from __future__ import annotations

import functools
import math
import os
import shlex
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8
from PIL import Image

import cbvc_jax
from cbvc_jax.bitstream import StreamCoding
from cbvc_jax.codec import encode, usual_coding
from cbvc_jax.errors import VideoError
from cbvc_jax.evaluation.anchors import Anchor, command_line, encode_anchor
from cbvc_jax.evaluation.clips import Clip, Frame
from cbvc_jax.evaluation.compare import check_size, frame_quality
from cbvc_jax.evaluation.ffmpeg import ffmpeg_version
from cbvc_jax.evaluation.lpips import lpips
from cbvc_jax.evaluation.vmaf import vmaf
from cbvc_jax.rate_control import Setting, setting_for
from cbvc_jax.stream import StreamDecoder
from cbvc_jax.video import open_video
from cbvc_jax.weights import Model, load_model

EXTRA_METRICS = ("lpips_vgg", "lpips_alex", "vmaf")
"""Metrics that are measured when asked for: they take much longer, or a package more, than PSNR and MS-SSIM."""
PICTURE_SIZE = (256, 192)
WARM_FRAMES = 3
DIGITS = 6
Record = dict[str, Any]


@dataclass(frozen=True)
class ModelSettings:
    """A model of ours at one GOP, and at a rate or a quality.

    Attributes:
      model: name or folder.
      sha256: its identity in hexadecimal digits.
      gop: frames from keyframe to keyframe.
      amount: name of the rate, or quality from 0 to 100.
      coding: of the indices, one of `STREAM_CODINGS`.
      curve: name of the curve that the point belongs to, if it is not the model's own.
      effort: of the encoder's search.
    """

    model: str
    sha256: str
    gop: int
    amount: str | float
    coding: StreamCoding
    curve: str | None = None
    effort: int = 0

    @property
    def is_quality(self) -> bool:
        return not isinstance(self.amount, str)

    @property
    def series(self) -> str:
        way = "-quality" if self.is_quality else ""
        coding = "" if self.coding == usual_coding(self.is_quality) else f"-{self.coding}"
        effort = f"-effort{self.effort}" if self.effort else ""
        return f"{self.curve or Path(self.model).name}-gop{self.gop}{way}{coding}{effort}"

    @property
    def setting(self) -> str:
        return self.amount if isinstance(self.amount, str) else f"quality {self.amount:g}"

    @property
    def options(self) -> str:
        """Of `cbvc encode`."""
        amount = f"--rate {self.amount}" if isinstance(self.amount, str) else f"--quality {self.amount:g}"
        coding = "" if self.coding == usual_coding(self.is_quality) else f" --coding {self.coding}"
        effort = f" --effort {self.effort}" if self.effort else ""
        return f"--model {Path(self.model).name} {amount} --gop {self.gop}{coding}{effort}"


def curve_models(text: str) -> tuple[str, list[str]]:
    """(name of a curve, models that it is made of) from a model's name or folder, or from "NAME=MODEL,MODEL,..."."""
    name, equals, models = text.partition("=")
    return (name, models.split(",")) if equals and not Path(text).exists() else (Path(text).name, [text])


@dataclass(frozen=True)
class AnchorSettings:
    """A conventional codec at one CRF or QP."""

    anchor: Anchor
    quality: float

    @property
    def series(self) -> str:
        return self.anchor.name

    @property
    def setting(self) -> str:
        return f"{self.anchor.control} {self.quality:g}"

    @property
    def gop(self) -> int:
        return self.anchor.gop


@dataclass(frozen=True)
class Task:
    """A point to be measured.

    Attributes:
      clip, settings: what is coded, and how.
      metrics: names out of `EXTRA_METRICS` to measure besides PSNR and MS-SSIM.
      lpips_every: LPIPS is measured on one frame of so many, the middle one; its mean is over those.
      picture: file (PNG) for the centre of the middle frame, decoded; that of the source goes beside it. Or None.
    """

    clip: Clip
    settings: ModelSettings | AnchorSettings
    metrics: tuple[str, ...] = ()
    lpips_every: int = 1
    picture: Path | None = None

    def identity(self) -> Record:
        """What decides the point's figures, all of which its record holds."""
        settings, clip = self.settings, self.clip
        if isinstance(settings, AnchorSettings):
            command, model = command_line(clip, settings.anchor, settings.quality), None
        else:
            model, limit = settings.sha256, f" --frames {clip.frames}" if clip.frames else ""
            if clip.size:
                limit += f" --size {clip.size[0]}x{clip.size[1]} --frame-rate {clip.info.frame_rate}"
            command = f"cbvc encode {shlex.quote(clip.path.name)} out.cbv {settings.options}{limit}"
        return {
            "clip": clip.name,
            "series": settings.series,
            "setting": settings.setting,
            "gop": settings.gop,
            "command": command,
            "model_sha256": model,
            "crop": list(clip.crop) if clip.crop else None,
        }


def measure(task: Task) -> Record:
    """The record of one point: plain values for JSON.

    Besides the identity it holds the data set, size and number of frames, colour matrix and range, versions, `bytes`
    of the file, `bpp`, frames a second of encoding and decoding (None for clips too short to tell), and every metric
    as its mean over the frames (`mean`) and frame by frame (`per_frame`, None where it was not measured). An infinite
    PSNR is the string "inf".

    Raises:
      VideoError: the clip cannot be read or coded.
      UsageError: a metric needs a package that is not installed.
      ModelError: there is no such model.
    """
    clip, settings = task.clip, task.settings
    with tempfile.TemporaryDirectory(prefix="cbvc-rd-") as name:
        folder = Path(name)
        if isinstance(settings, AnchorSettings):
            coded = _anchor(clip, settings, folder)
        else:
            coded = _model(clip, settings, folder)
        x_hat = _stored(folder / "x_hat", clip)
        x = _store(clip.rgb(), folder / "x", clip)
        per_frame = _quality(x, x_hat, clip.matrix, task.metrics, task.lpips_every)
        if task.picture is not None:
            for frames, file in ((x_hat, task.picture), (x, task.picture.with_name("source.png"))):
                _save_picture(frames[len(frames) // 2], file)
    return {
        **task.identity(),
        "dataset": clip.dataset,
        "codec": "cbvc" if isinstance(settings, ModelSettings) else settings.anchor.codec,
        "width": clip.width,
        "height": clip.height,
        "frames": len(x),
        "frame_rate": None if clip.info.frame_rate is None else str(clip.info.frame_rate),
        "matrix": clip.matrix,
        "range": clip.color_range,
        "bpp": 8 * coded["bytes"] / (clip.width * clip.height * len(x)),
        **coded,
        **({"lpips_every": task.lpips_every} if any(m.startswith("lpips") for m in task.metrics) else {}),
        "mean": {metric: _mean(values) for metric, values in per_frame.items()},
        "per_frame": {metric: [_plain(value) for value in values] for metric, values in per_frame.items()},
    }


def _model(clip: Clip, settings: ModelSettings, folder: Path) -> Record:
    """Codes the clip with a model of ours; decoded frames go to `folder`/x_hat. Frames a second leave compiling out."""
    model = _load(settings.model)
    info = replace(clip.info, width=clip.width, height=clip.height)
    amount = settings.amount
    chosen = Setting(amount, 0.0) if isinstance(amount, str) else setting_for(amount, model.preset.rates)
    options: Any = {"gop": settings.gop, "coding": settings.coding, "price": chosen.price, "effort": settings.effort}
    times: list[float] = []
    with (folder / "stream.cbv").open("w+b") as file:
        for _ in encode(clip.video_frames(), file, model, info, chosen.rate, **options):
            times.append(time.perf_counter())
        size_bytes, encode_fps = file.tell(), _speed(times)
        file.seek(0)
        times = []
        decoded = (times.append(time.perf_counter()) or frame.rgb for frame in StreamDecoder(file, model))
        _store(decoded, folder / "x_hat", clip)
    versions = {"cbvc": cbvc_jax.__version__, "jax": jax.__version__, "device": jax.devices()[0].device_kind}
    return {"bytes": size_bytes, "encode_fps": encode_fps, "decode_fps": _speed(times), "versions": versions}


def _anchor(clip: Clip, settings: AnchorSettings, folder: Path) -> Record:
    """The same with a conventional codec. Frames a second are those of the whole process and of FFmpeg's decoder."""
    start = time.perf_counter()
    stream = encode_anchor(clip, settings.anchor, settings.quality, folder)
    middle = time.perf_counter()
    with open_video(stream, matrix=clip.matrix, color_range=clip.color_range) as decoded:
        count = len(_store((frame.rgb for frame in decoded), folder / "x_hat", clip))
    end = time.perf_counter()
    return {
        "bytes": stream.stat().st_size,
        "encode_fps": count / (middle - start),
        "decode_fps": count / (end - middle),
        "versions": {"ffmpeg": ffmpeg_version()},
    }


@functools.lru_cache(maxsize=2)
def _load(model: str) -> Model:
    return load_model(model)


def _speed(times: list[float]) -> float | None:
    timed = len(times) - WARM_FRAMES
    return timed / (times[-1] - times[WARM_FRAMES - 1]) if timed > 0 else None


def _store(frames: Iterable[Frame], file: Path, clip: Clip) -> UInt8[np.ndarray, "n h w 3"]:
    """Writes frames into a file and returns them as an array that lies there."""
    with file.open("wb") as output:
        for number, frame in enumerate(frames, 1):
            check_size(number, "decoded", (clip.width, clip.height), frame)
            output.write(frame.tobytes())
    return _stored(file, clip)


def _stored(file: Path, clip: Clip) -> UInt8[np.ndarray, "n h w 3"]:
    if not file.stat().st_size:
        raise VideoError(f"{clip.path} has no frames to measure on")
    return np.memmap(file, np.uint8, "r").reshape(-1, clip.height, clip.width, 3)


def _quality(
    x: Any, x_hat: Any, matrix: str, extra: tuple[str, ...], lpips_every: int
) -> dict[str, list[float | None]]:
    """Every metric, frame by frame."""
    if len(x) != len(x_hat):
        raise VideoError(f"the clip has {len(x)} frames, but {len(x_hat)} were decoded")
    columns: dict[str, list[float | None]] = {}
    # The middle of each group: the first frames of GOPs, which are keyframes, would weigh too much.
    chosen = {*range(lpips_every // 2, len(x), lpips_every)} or {len(x) - 1}
    for number, (frame, frame_hat) in enumerate(zip(_frames(x), _frames(x_hat), strict=True)):
        values: dict[str, float | None] = asdict(frame_quality(frame, frame_hat, matrix))
        del values["mse_rgb"]
        for net in ("vgg", "alex"):
            if f"lpips_{net}" in extra:
                near = float(lpips(frame[None], frame_hat[None], net)[0]) if number in chosen else None
                values[f"lpips_{net}"] = near
        for name, value in values.items():
            columns.setdefault(name, []).append(value)
    if "vmaf" in extra:
        columns["vmaf"] = [*vmaf(_frames(x), _frames(x_hat), matrix)]
    return columns


def _frames(stored: Any) -> Iterator[Frame]:
    return (np.asarray(frame) for frame in stored)


def _mean(values: list[float | None]) -> float | str | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    mean = math.fsum(known) / len(known)
    return "inf" if math.isinf(mean) else mean


def _plain(value: float | None) -> float | str | None:
    if value is None:
        return None
    return "inf" if math.isinf(value) else round(value, DIGITS)


def _save_picture(frame: Frame, file: Path) -> None:
    """Writes the centre of a frame, `PICTURE_SIZE` at most, as PNG."""
    height, width = frame.shape[:2]
    left, top = (max(side - most, 0) // 2 for side, most in zip((width, height), PICTURE_SIZE, strict=True))
    crop = np.ascontiguousarray(frame[top : top + PICTURE_SIZE[1], left : left + PICTURE_SIZE[0]])
    file.parent.mkdir(parents=True, exist_ok=True)
    # Several processes may write the same source.
    temporary = file.with_name(f".{file.name}.{os.getpid()}.part")
    Image.fromarray(crop).save(temporary, "PNG", optimize=True)
    temporary.replace(file)
