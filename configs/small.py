"""`small`: begins as the bundled `tiny`, each channel doubled (Net2Net), and goes on with GOPs of 7, all rates.

`configs/small.py:longer` goes on from the `small` that `--config.init_from` names.
"""

import ml_collections

from configs import tiny


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    if variant not in ("", "longer"):
        raise ValueError(f"'{variant}' is no variant of small; there is: longer")
    config = tiny.get_config("longer")
    config.preset = "small"
    config.init_from = "tiny"
    config.lr, config.lr_decay = 6e-5, 0.7
    config.reference_gradient = 0.25
    # Codewords are twice as long as those of tiny, and their errors sums over them.
    config.codebook.commitment = 0.0025
    config.codebook.decay = 0.99
    config.phases.gops.update({"steps": 1000})
    if variant == "longer":
        config.init_from = "small"
        config.codebook.decay = 0.995
    return config
