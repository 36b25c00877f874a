"""Every field of a training configuration, explained once. Other files start from `get_config()` and change some."""

import ml_collections


def phase(**overrides) -> ml_collections.ConfigDict:
    """One phase of training, with some fields changed. Phases follow each other under one learning-rate schedule."""
    config = ml_collections.ConfigDict()
    # Steps that the phase lasts.
    config.steps = 1000
    # Clips a step.
    config.batch = 8
    # Frames of a chunk, the GOP of the paper's loss (m = 7). 1 trains keyframes alone.
    config.frames = 7
    # Chunks that follow each other in one session. After the first one, y_ref of the last chunk is carried on, without
    # gradient, so that training sees the drift of GOPs of about frames x chunks. The paper: 1.
    config.chunks = 1
    # Side of the random crops in pixels; a multiple of 64.
    config.crop = 256
    # Share of clips that are photographs, moved under the crop.
    config.still_share = 0.0
    # Steps without quantisation at the phase's beginning, after which codebooks start from k-means over latents.
    # 0: the codebooks exist already, or start from random numbers.
    config.key_warmup = 0
    config.predicted_warmup = 0
    config.update(overrides)
    return config


def quality(**prices) -> ml_collections.ConfigDict:
    """Training for `cbvc encode --quality`, of models whose latents are pictures; without prices: off."""
    config = ml_collections.ConfigDict()
    # Prices of a bit by kind of frame ("key" or a rate), (lowest, highest), in squared 8-bit levels as an encoder has
    # them: each step draws one, evenly in their logarithms, and searches with it. Predicted frames skip blocks that
    # cost less as they were, which then have no say in codebooks, and keep their codewords of displacements. A fifth of
    # the steps has no price and skips nothing. These kinds do without codebook.price.
    config.prices = ml_collections.ConfigDict(prices)
    # Squared error in the picture, in 8-bit levels, for a unit of squared distance in the search of each stage, of
    # predicted frames and of keyframes.
    config.sensitivity = (270.0, 950.0, 2400.0)
    config.key_sensitivity = (320.0, 480.0, 1200.0)
    return config


def codebook() -> ml_collections.ConfigDict:
    """How codebooks are searched and how they learn."""
    config = ml_collections.ConfigDict()
    # Codewords of each stage for keyframes, and for predicted frames of every rate; empty: the preset's.
    config.key_sizes = ()
    config.predicted_sizes = ()
    # "ema": moving averages of the latents. "gradient": pulled to the latents by the optimiser.
    config.learn = "ema"
    # Decay of the moving averages (of usage, too) at every update of that codebook.
    config.decay = 0.99
    # Decay that this rises to while the learning rate falls, so that codewords, which hardly move any more, are means
    # of more latents; 0: it stays as it is.
    config.final_decay = 0.0
    # Codewords used less than this share of the mean are replaced by latents of the batch; 0: never.
    config.restart_below = 0.1
    # Price of a bit in the search of predicted frames, and of keyframes: the indices of the least
    # |z - c|^2 + price x (spread of the codewords in use) x bits. Bits are what index coding would charge if running
    # counts were the model's tables, 16 at the most, so that a codeword that was never used can be afforded. Usage
    # becomes skewed where that is cheap, and commitment pulls latents to cheap codewords. As a share of the spread, one
    # number serves all stages and latents of any scale; and where usage collapses, the spread and the price fall with
    # it, which a share of |z - c|^2 would not: that grows. Under a price codewords are rare on purpose, so they are
    # restarted below a hundredth of `restart_below` only, counted as often as the mean one then: cheap enough to be
    # tried. 0: off.
    config.price = 0.0
    config.key_price = 0.0
    # Each step pays a share of the price that is drawn uniformly from 0 to 1, and so meets the search for the nearest
    # codeword as well as the rated one.
    config.draw_price = False
    # Alarm when the perplexity of a batch's indices is below this share of what the batch could give.
    config.alarm_below = 0.02
    # Weight of |z - sg(c)|^2.
    config.commitment = 0.005
    # Latents gathered for each codeword (at most 65536 in all) when a codebook starts.
    config.start_vectors = 4
    return config


def get_config() -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict()
    # Root of all randomness: parameters, data, restarts.
    config.seed = 0
    # Name of the preset in cbvc_jax/presets.py.
    config.preset = "wca4"
    # Rates of predicted frames. The paper trains one network a rate; with several, sessions take turns.
    config.rates = ("high",)
    # Name or folder of a model to start from; its phases should have no warm-up. Empty: from random numbers.
    config.init_from = ""
    # Networks that learn: some of "encoder", "decoder", "context_encoder", "context_decoder" and "quantizer". The
    # others and all codebooks stay as they are. Empty: everything learns.
    config.learn = ()
    # d(x, x_hat) of equation 5: "mse", "log_mse" (PSNR), "ms_ssim", or "lpips" for fine-tuning.
    config.distortion = "mse"
    # Weight of "mse" beside the distortion, for one that does not see all of a picture, as "ms_ssim". The paper: 0.
    config.mse_beside = 0.0

    config.data = ml_collections.ConfigDict()
    # Folders of videos (and photographs), with their subfolders, separated by ":".
    config.data.folders = ""
    # Prepared TFDS data sets, such as "vimeo90k_septuplet:1.0.0" or "video_folder/NAME:1.0.0", separated by ",", and
    # the folder that they lie in. Their clips come after those of `folders`.
    config.data.tfds = ""
    config.data.tfds_dir = "~/tensorflow_datasets"
    # Where decoded frames are kept.
    config.data.cache = "~/.cache/cbvc_jax/clips"
    # Threads that make batches. One is plenty for decoded frames; PNGs (Vimeo-90k, TFDS) want several.
    config.data.workers = 1

    # Adam's learning rate: rises for lr_warmup steps, stays, and falls linearly to final_lr_ratio of itself over the
    # last lr_decay of all phases' steps (a share).
    config.lr = 1e-4
    config.lr_warmup = 200
    config.lr_decay = 0.3
    config.final_lr_ratio = 0.01
    config.weight_decay = 0.0
    # Weight of |y_hat - y|^2 / |y|^2, which keeps the latents of E and of D the same. The paper: 0.
    config.alignment = 0.0
    # Weight of the distortion of D(E(x)), latents that no quantiser has touched, in a chunk's first and last frame.
    # With it, more of y in y_hat always means a better picture: predicted frames add to each other. The paper: 0.
    config.autoencoding = 0.0
    # Weight of ln(growth / 0.9) where positive; growth: how many times larger a small difference of y_ref is in y_hat.
    # With it what another backend rounds otherwise fades from frame to frame; without it, it may grow. The paper: 0.
    config.fading = 0.0
    # Share of the gradient that goes from a predicted frame to the one before. Below 1, chains do not explode.
    config.reference_gradient = 1.0
    # Largest global norm of the gradient.
    config.clip_norm = 1.0
    # A step on several frames whose gradient is longer than this is skipped, like one that is not finite: a chain of
    # predictions has run away in some clip, which would decide the direction of the clipped gradient.
    config.max_norm = float("inf")

    config.codebook = codebook()
    config.quality = quality()

    # Devices that share one copy of the parameters, each with a slice of them and of Adam's moments. 1: a copy each.
    config.mesh = ml_collections.ConfigDict({"fsdp": 1})
    # Parts that a batch is cut into, one after the other, their gradients added: less memory, the same step.
    config.accumulate = 1
    # Type that networks compute in: "float32" or "bfloat16". All that is kept, and the search, is float32 always.
    config.compute = "float32"
    # Compute the activations of every frame again in the backward pass instead of keeping them.
    config.remat = False
    # Write the steps of the scan over a chunk out: 3.4 times faster on a CPU; longer to compile.
    config.unroll = False
    # Phases by name, and the order in which they run.
    config.phases = ml_collections.ConfigDict({"gops": phase(key_warmup=300, predicted_warmup=300)})
    config.phase_order = ("gops",)

    # Steps between lines of metrics, and between reconstructions for TensorBoard.
    config.log_every, config.images_every = 50, 1000
    # Step at which the profiler starts (0: never), and for how many steps; its trace lies in the run's folder.
    config.profile_at = 0
    config.profile_steps = 5
    # Steps between checkpoints, and how many of the last ones are kept; the one with the best PSNR stays as well.
    config.checkpoint_every = 500
    config.keep_checkpoints = 2
    # Steps in a row with a gradient that is not finite, or too long, before training gives up; each is counted.
    config.max_skipped = 20
    return config


def paper(preset: str, variant: str = "") -> ml_collections.ConfigDict:
    """The paper's training of one network: a rate and a distortion, such as "low,ms_ssim"; "high,mse" by default.

    The paper says GOPs of 7 and crops of 256x256 from Vimeo-90k septuplets; batch, steps and learning rate are ours.
    """
    config = get_config()
    config.preset = preset
    for word in filter(None, (variant or "").split(",")):
        if word in ("high", "medium", "low"):
            config.rates = (word,)
        elif word in ("mse", "log_mse", "ms_ssim", "lpips"):
            config.distortion = word
        else:
            raise ValueError(f"'{word}' is neither a rate (high, medium, low) nor a distortion")
    config.phases = ml_collections.ConfigDict(
        {"gops": phase(steps=200_000, batch=256, key_warmup=1000, predicted_warmup=1000)}
    )
    if config.distortion == "lpips":
        # Fine-tuning of a model that --config.init_from names: short, slow, with its codebooks as they are.
        config.phases.gops.update({"steps": 20_000, "key_warmup": 0, "predicted_warmup": 0})
        config.lr = 1e-5
    config.compute = "bfloat16"
    config.remat = True
    config.data.workers = 8
    config.log_every, config.checkpoint_every, config.images_every = 100, 1000, 5000
    return config
