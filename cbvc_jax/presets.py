"""The family of models as plain data: what each preset is built of, and its codebook sizes.

`wca4`, `ca64`, `resblock` and `light` are the models of the paper's Table 3. `tiny` shares their wiring (stages,
groups, context, rates); so does `small`, but for its latents, which are pictures, so that what it attends to can lie
between two pixels. Both are built of layers that XLA runs fast on a CPU.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from cbvc_jax.errors import ModelError

Rate = Literal["high", "medium", "low"]
RATES: tuple[Rate, ...] = ("high", "medium", "low")
KEYFRAME = "key"
"""Name of the codebooks of keyframes; those of predicted frames are named by their rate."""


ADDED = ("interpolation", "detail_depth", "detail_width", "key_depth", "key_width")
"""Fields of a preset that a model may lack, None, and training add to it: it begins with the model's pictures, but for
what lies between two pixels."""


@dataclasses.dataclass(frozen=True)
class Preset:
    """One member of the family.

    Attributes:
      name: what `--model` and configurations call it.
      blocks: "conv" for the paper's convolutional layers, "compact" for those made for CPUs.
      latent_channels: channels of the latents y at 1/8 of the frame size.
      stage_channels: channels inside the quantiser, at 1/16 and below.
      codeword_dim: d, the length of a codeword; a stage has two groups, hence 2 d channels in the search.
      key_sizes: codebook size K of each stage for keyframes.
      predicted_sizes: the same for predicted frames, by rate. A preset may have one rate only.
      context: "attention" (windowed cross-attention), "resblock" (the ablation of Table 3), or "displacement"
        (windowed attention by position: the latents are the picture in blocks of 8x8, 192 channels).
      window, window_padding: side of a query window in latents, and what a key/value window adds on each side.
      heads, head_dim: of the cross-attention.
      decoder: "full" or "light" (conv blocks only).
      encoder_depth, decoder_depth, context_depth, quantizer_depth: blocks in each compact transform.
      width: channels of the networks at 1/8 of the frame size, where latents have others; None: `latent_channels`.
      interpolation: of displacements that are no whole pixels, "cubic"; None: linear.
      detail_depth, detail_width: blocks that see a predicted frame as it was restored and add to it, and their
        channels, where latents are pictures; None: no such blocks.
      key_depth, key_width: the same for keyframes, and as many blocks beside the encoder's.
    """

    name: str
    blocks: Literal["conv", "compact"]
    latent_channels: int = 128
    stage_channels: int = 128
    codeword_dim: int = 64
    key_sizes: tuple[int, ...] = (8192, 2048, 512)
    predicted_sizes: tuple[tuple[Rate, tuple[int, ...]], ...] = (
        ("high", (8192, 2048, 512)),
        ("medium", (64, 2048, 512)),
        ("low", (8, 2048, 512)),
    )
    context: Literal["attention", "resblock", "displacement"] = "attention"
    window: int = 4
    window_padding: int = 2
    heads: int = 8
    head_dim: int = 16
    decoder: Literal["full", "light"] = "full"
    encoder_depth: int = 0
    decoder_depth: int = 0
    context_depth: int = 2
    quantizer_depth: int = 1
    width: int | None = None
    interpolation: Literal["cubic"] | None = None
    detail_depth: int | None = None
    detail_width: int | None = None
    key_depth: int | None = None
    key_width: int | None = None

    @property
    def displaces(self) -> bool:
        """Whether predicted frames say where each block lies in the reference, and latents are pictures therefore."""
        return self.context == "displacement"

    @property
    def inner_channels(self) -> int:
        """Channels of the networks at 1/8 of the frame size."""
        return self.latent_channels if self.width is None else self.width

    @property
    def rates(self) -> tuple[Rate, ...]:
        """Names of the rates that this model can use for predicted frames."""
        return tuple(rate for rate, _ in self.predicted_sizes)

    def codebook_sizes(self, kind: str) -> tuple[int, ...]:
        """K of each stage for `kind`: "key", or a rate's name."""
        if kind == KEYFRAME:
            return self.key_sizes
        for rate, sizes in self.predicted_sizes:
            if rate == kind:
                return sizes
        raise ModelError(f"model '{self.name}' has no rate '{kind}'; it has: {', '.join(self.rates)}")

    def with_rates(self, *rates: str) -> Preset:
        """The same model with only the given rates: the paper trains one network a rate."""
        return dataclasses.replace(self, predicted_sizes=tuple((r, self.codebook_sizes(r)) for r in rates))  # pyright: ignore


_WCA4 = Preset(name="wca4", blocks="conv")

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        _WCA4,
        dataclasses.replace(_WCA4, name="ca64", window=64, window_padding=0),
        dataclasses.replace(_WCA4, name="resblock", context="resblock"),
        dataclasses.replace(_WCA4, name="light", decoder="light"),
        Preset(
            name="small",
            blocks="compact",
            latent_channels=192,
            stage_channels=128,
            codeword_dim=32,
            context="displacement",
            encoder_depth=1,
            decoder_depth=3,
            context_depth=2,
            quantizer_depth=1,
            width=96,
            interpolation="cubic",
            detail_depth=3,
            detail_width=160,
            key_depth=4,
            key_width=192,
        ),
        Preset(
            name="tiny",
            blocks="compact",
            latent_channels=96,
            stage_channels=128,
            codeword_dim=16,
            heads=4,
            encoder_depth=1,
            decoder_depth=3,
            context_depth=1,
            quantizer_depth=1,
        ),
    )
}


def get_preset(name: str) -> Preset:
    """The preset called `name`; ModelError with the known names otherwise."""
    if name not in PRESETS:
        raise ModelError(f"there is no preset '{name}'; the presets are: {', '.join(PRESETS)}")
    return PRESETS[name]
