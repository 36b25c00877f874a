"""Files, pipes and folders of pictures <-> RGB frames with timestamps, with explicit colour.

with open_video("in.mp4") as video, create_video("out.mkv", video.info) as out:
    for frame in video:
        out.write(frame.rgb, frame.timestamp)
"""

from cbvc_jax.video.frames import ColorRange, Matrix, PipeClosedError, VideoFrame, VideoInfo
from cbvc_jax.video.reader import open_video
from cbvc_jax.video.stream import VideoReader
from cbvc_jax.video.writer import VideoWriter, create_video

__all__ = [
    "ColorRange",
    "Matrix",
    "PipeClosedError",
    "VideoFrame",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "create_video",
    "open_video",
]
