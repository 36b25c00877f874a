"""A neural video codec whose bitstream is codebook indices.

    import cbvc_jax

    model = cbvc_jax.load_model()
    with cbvc_jax.open_video("in.mp4") as video, open("out.cbv", "wb") as file:
        for coded in cbvc_jax.encode(video, file, model, video.info, rate="medium"):
            ...
    with open("out.cbv", "rb") as file:
        for frame in cbvc_jax.StreamDecoder(file):
            frame.rgb, frame.timestamp

Names are imported when they are first used: `import cbvc_jax` itself loads neither JAX nor FFmpeg.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "BitstreamError": "errors",
    "CbvcError": "errors",
    "ModelError": "errors",
    "UsageError": "errors",
    "VideoError": "errors",
    "PRESETS": "presets",
    "Preset": "presets",
    "StreamHeader": "bitstream",
    "StreamReader": "bitstream",
    "StreamWriter": "bitstream",
    "summarize": "bitstream",
    "Decoder": "codec",
    "Encoder": "codec",
    "StreamDecoder": "stream",
    "encode": "codec",
    "VideoFrame": "video",
    "VideoInfo": "video",
    "create_video": "video",
    "open_video": "video",
    "Model": "weights",
    "load_model": "weights",
    "save_model": "weights",
}

if TYPE_CHECKING:
    from cbvc_jax.bitstream import StreamHeader, StreamReader, StreamWriter, summarize
    from cbvc_jax.codec import Decoder, Encoder, encode
    from cbvc_jax.errors import BitstreamError, CbvcError, ModelError, UsageError, VideoError
    from cbvc_jax.presets import PRESETS, Preset
    from cbvc_jax.stream import StreamDecoder
    from cbvc_jax.video import VideoFrame, VideoInfo, create_video, open_video
    from cbvc_jax.weights import Model, load_model, save_model

__all__ = [
    "PRESETS",
    "BitstreamError",
    "CbvcError",
    "Decoder",
    "Encoder",
    "Model",
    "ModelError",
    "Preset",
    "StreamDecoder",
    "StreamHeader",
    "StreamReader",
    "StreamWriter",
    "UsageError",
    "VideoError",
    "VideoFrame",
    "VideoInfo",
    "create_video",
    "encode",
    "load_model",
    "open_video",
    "save_model",
    "summarize",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cbvc_jax' has no attribute '{name}'")
    return getattr(importlib.import_module(f"cbvc_jax.{_HOMES[name]}"), name)
