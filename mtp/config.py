"""Every option once: its default, its unit and where it comes from. Files in configs/ only change values."""

from pathlib import Path
from typing import Any, TypeAlias

from ml_collections import ConfigDict

# generated pictures, downloaded weights, compiled programs
CACHE = Path.home() / ".cache" / "mtp"

# a ConfigDict, whose attributes a type checker would take for anything that any option can be
Config: TypeAlias = Any


class ConfigError(ValueError):
    """An option has a value that cannot be; the message names the option and the values that can."""


def get_config() -> Config:
    """The whole configuration with our defaults; section numbers are the paper's."""
    c: Config = ConfigDict()
    c.seed = 0  # of initial weights, order, augmentation; streams are derived by name

    c.data = ConfigDict()
    c.data.name = "votes"  # "votes": a folder of pictures with votes.csv; "ava"; "demo": the generated set
    c.data.dir = (
        ""  # the folder ("votes"); the built set ("ava"); the cache ("demo", "" = the user's cache folder)
    )
    c.data.split = ""  # "ava": a name of data/ava_splits.py; "": official
    c.data.split_dir = ""  # "ava": folder with the lists of a split that is not AVA's own
    c.data.csv = "votes.csv"  # label file inside the folder
    c.data.group = "group"  # CSV column whose values never cross splits; used where the CSV has it
    c.data.folds = 0  # K > 1: K-fold; fold `fold` is the test split, the next one validation
    c.data.fold = 0  # 0 .. folds - 1
    c.data.split_seed = (
        0  # of folds and of AVA's splits `paper` and `random`; not c.seed, so that seeds share them
    )
    c.data.enlarge = False  # pictures with a side under 32 pixels: enlarge them (counted) instead of an error
    # largest share of unreadable pictures to leave out, above it an error; 0: only headers are read before training,
    # more: every picture to its end
    c.data.max_skipped = 0.0
    c.data.max_decode_pixels = 100_000_000  # pixels; a larger picture is an error, not an allocation
    c.data.demo_pictures = 3000  # pictures of the generated set
    c.data.demo_seed = 0
    c.data.demo_integrity = 1.0  # 0: labels independent of aspect and framing (negative control)
    c.data.demo_styled = 0.5  # share of pictures with a style label; AVA: 0.044

    c.input = ConfigDict()  # how training pictures become batches
    c.input.sizes = ((224, 336), (336, 224), (224, 224))  # HxW pixels, section 4.5
    c.input.order = "buckets"  # "buckets": nearest aspect; "cycle": an epoch a size (4.5); "native": canvases
    c.input.batch_size = 128  # pictures a step over all devices, section 4.5
    c.input.horizontal_flip = True  # section 4.5
    c.input.vertical_flip = False  # section 4.5: True
    c.input.quarter_turns = False  # section 4.5: True; drawn per batch
    c.input.canvases = 6  # "native": number of canvas shapes, one program each
    c.input.threads = 2  # reading threads
    c.input.ahead = 4  # batches read ahead of the device

    c.model = ConfigDict()
    c.model.backbone = "mobile"  # "mobile" (4 blocks @ 1056), "large" (6 @ 4032), "tiny"
    c.model.weights = ""  # "" from scratch; "imagenet" (section 4.5); or a Keras .h5 file
    c.model.columns = ("fcn", "spp")  # any of gap, fcn, spp (3.2)
    c.model.trunks = 1  # 2: a backbone of its own for each column
    c.model.fcn_hidden = 256  # channels of the FCN column's hidden 1x1 convolution; 0: none
    c.model.fcn_average = "logits"  # what is averaged over the map's cells: "logits" or "softmax"
    c.model.spp_bins = (1, 3, 4)  # bins a side (3.2)
    c.model.spp_pool = "max"  # "max" or "average"
    c.model.heads = "parallel"  # "cascade": style feeds class, both feed the distribution (Fig. 3)
    c.model.tasks = ("distribution", "two_category", "style")  # any subset with "distribution"
    c.model.dtype = "float32"  # compute type: "float32" or "bfloat16"
    c.model.remat = False  # recompute cells in the backward pass: less memory, more time
    c.model.bn_momentum = 0.97  # from scratch, bias-corrected; with loaded weights .9997 is used
    c.model.bn_momentum_pretrained = 0.9997  # Keras' NASNet

    c.loss = ConfigDict()
    c.loss.target = "histogram"  # what the distribution task learns; "mean": the mean rating alone
    c.loss.smoothing = 0.0  # share of the mean histogram in every training histogram, 0 to below 1
    c.loss.emd_r = 2  # exponent of Eq. 2
    c.loss.emd_squared = False  # True: mean of squares, no root
    c.loss.task_weight = "kendall"  # Eq. 1; "sum": losses simply added
    c.loss.two_category_factor = 0.15  # lambda 1 (3.1)
    c.loss.style_factor = 0.06  # lambda 2 (3.1)
    c.loss.log_sigma = (0.5, 0.9, 0.6)  # distribution, two-category, style (3.1)
    c.loss.learn_sigma = False  # True: learned, projected to log_sigma_range
    c.loss.log_sigma_range = (-1.0, 2.5)  # 3.1
    c.loss.reliability = "variance"  # 3.3; "none", "votes", or "permuted" (a control)
    c.loss.threshold = 0.0  # ratings; 0: 5 for K = 10, else (K+1)/2
    c.loss.delta = 0.0  # ratings; 0: (K-1)/9
    c.loss.tau = 0.0  # ratings; 0: .5 (K-1)/9

    c.optim = ConfigDict()
    c.optim.name = "adamw"  # "adamw" or "adam" (4.5)
    c.optim.trunk_rate = 1e-4  # paper: .01 (3.1)
    # paper: .001 (3.1), with which Adam moves a logit by up to 27 a step: rate x 27,456 SPP features of about one
    c.optim.heads_rate = 1e-5
    c.optim.sigma_rate = 1e-3
    c.optim.schedule = "cosine"  # after a linear warm-up; or "constant"
    c.optim.warmup_epochs = 1.0
    c.optim.weight_decay = 1e-4  # adamw; not on norms and biases
    c.optim.clip_norm = 1.0  # global gradient norm; 0: off
    c.optim.accumulate = 1  # micro-batches a step
    c.optim.ema_decay = 0.0  # of weights and statistics used for evaluation; 0: off
    c.optim.freeze_steps = 0  # steps with a frozen backbone; -1: always
    c.optim.max_bad_steps = 5  # non-finite steps in a row before the run stops

    c.train = ConfigDict()
    c.train.epochs = 20.0  # paper: 70 (4.5)
    c.train.eval_every_epochs = 1.0
    c.train.save_every_steps = 500  # also after each evaluation
    c.train.compile_in_parallel = True  # the buckets' programs at once

    c.eval = ConfigDict()
    c.eval.split = "test"  # of the final table; or validation, train, all
    c.eval.size = "native"  # "native", "trained" (area of the training sizes), or "long=L" pixels
    c.eval.also_size = ""  # a second size rule whose row is printed beside
    c.eval.canvases = 6  # canvas shapes, one program each
    c.eval.batch_pixels = 1_500_000  # canvas pixels a batch
    c.eval.max_pixels = 4_000_000  # a larger picture is an error ("shrink": scaled to it, counted)
    c.eval.too_large = "error"  # or "shrink"
    c.eval.by = ""  # metadata column whose values get metric rows of their own; several values joined by ";"
    c.eval.bootstrap = 1000  # resamples of the 95 % intervals
    c.eval.pkl_floor = 1e-7  # Eq. 6's floor; 1e-3 is printed beside it

    c.log = ConfigDict()
    c.log.every_steps = 10
    c.log.tensorboard = True

    c.run = ConfigDict()
    c.run.devices = 0  # devices of the data axis; 0: all
    c.run.deterministic = False  # bit-identical reruns on GPU, slower
    c.run.native = False  # True: the trunk on CPUs by the kernels of `python -m mtp.native`
    c.run.compile_cache = ""  # folder of compiled programs; "": the user's cache folder
    return c
