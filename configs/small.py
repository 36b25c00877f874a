"""`small`: begins as `python -m cbvc_jax.training.begin` makes it, keyframes of `tiny`, and goes on with GOPs of 7.

`configs/small.py:priced` goes on from the model that `--config.init_from` names, under a price of bits, and
`configs/small.py:quality` from there, as an encoder codes that is given a quality; `configs/small.py:keyframes` has
the keyframes' part of that alone. `configs/small.py:quality,ms_ssim` and `configs/small.py:keyframes,ms_ssim` make
`small-msssim` of `small`.
"""

import ml_collections

from configs import base, tiny


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    variants = ("", "priced", "quality", "keyframes", "quality,ms_ssim", "keyframes,ms_ssim")
    if variant not in variants:
        raise ValueError(f"'{variant}' is no variant of small; there are: {'; '.join(variants[1:])}")
    variant, _, distortion = variant.partition(",")
    config = tiny.get_config("priced" if variant else "longer")
    config.preset = "small"
    if variant in ("quality", "keyframes"):
        config.quality = base.quality(key=(10.0, 500.0), high=(50.0, 1000.0), medium=(400.0, 6000.0))
    config.fading = 0.0
    config.codebook.start_vectors = 12
    if variant == "priced":
        config.lr = 2e-4
        config.phases.gops.steps = 2500
    elif variant == "quality":
        config.lr, config.lr_decay = 3e-4, 0.7
        config.reference_gradient = 0.4
        config.phases.gops.steps = 2200
    elif variant == "keyframes":
        config.lr, config.lr_decay = 4e-4, 0.7
        config.codebook.final_decay = 0.999
        config.phases.gops.update({"steps": 1800, "batch": 24, "frames": 1, "chunks": 1, "still_share": 0.5})
    else:
        config.init_from = "models/small-begin"
        config.lr, config.lr_warmup, config.lr_decay, config.final_lr_ratio = 3e-4, 50, 0.7, 0.4
        config.reference_gradient, config.max_norm = 0.5, 4.0
        config.codebook.decay = 0.99
        config.phases.gops.update({"steps": 1000, "predicted_warmup": 1})
    if distortion:
        config.distortion, config.mse_beside = "ms_ssim", 0.2
        config.codebook.commitment = 0.003
        config.codebook.final_decay = 0.999 if variant == "keyframes" else 0.998
        config.phases.gops.steps = 750 if variant == "keyframes" else 1150
    return config
