"""What a run can be told: frozen dataclasses, a comment for each field. `profiles` holds complete values of them.

A value that means nothing raises HybridError when it is given; `methods.check` finds those that do not go together.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cache
from typing import Annotated, get_args, get_type_hints

from hybrid.errors import HybridError


@dataclass(frozen=True)
class Range:
    """The values that a field may have: numbers from `low` to `high`, each of several where the field has several."""

    low: float
    high: float
    expected: str  # in an error, after "give"
    above: bool = False  # whether `low` itself is left out
    below: bool = False  # whether `high` itself is
    fewest: int = 1  # of a field that has several

    def holds(self, value: object, whole: bool) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not math.isfinite(value):
            return False
        over = value > self.low if self.above else value >= self.low
        return over and (value < self.high if self.below else value <= self.high)


# The kinds of numbers that there are. The upper ends of those that have none in theory are beyond all use.
Count = Annotated[int, Range(1, 10**8, "a number above 0")]
Several = Annotated[int, Range(2, 10**8, "2 or more")]
Counts = Annotated[tuple[int, ...], Range(1, 10**6, "one or more numbers above 0")]
Weights = Annotated[tuple[float, ...], Range(0, 1e12, "one or more numbers above 0", above=True)]
Positive = Annotated[float, Range(0, 1e12, "a number above 0", above=True)]
NotNegative = Annotated[float, Range(0, 1e12, "0 or more")]
Share = Annotated[float, Range(0, 1, "a share from 0 to 1")]
BelowOne = Annotated[float, Range(0, 1, "a share from 0 to below 1", below=True)]
Crop = Annotated[float, Range(0, 1, "a number above 0, to 1", above=True)]
Turns = Annotated[float, Range(0, 0.5, "turns from 0 to 0.5")]
Blur = Annotated[float, Range(0.1, 100, "pixels above 0.1", above=True)]
Rate = Annotated[float, Range(0, 10, "a number above 0, to 10", above=True)]
Betas = Annotated[tuple[float, float], Range(0, 1, "two values from 0 to below 1", below=True, fewest=2)]
Width = Annotated[float, Range(0, 0.25, "a share above 0, to 0.25", above=True)]
YChannels = Annotated[int, Range(1, 5, "1 to 5 of z's six channels")]
Deviation = Annotated[float, Range(0, 100, "a deviation above 0", above=True)]
Resolutions = Annotated[tuple[int, ...], Range(1, 32, "resolutions from 1 to 32", fewest=0)]
Between = Annotated[float, Range(0, 1, "a share above 0, below 1", above=True, below=True)]
Eta = Annotated[float, Range(0, 1, "a value from 0 (DDIM) to 1 (DDPM)")]


class Checked:
    """A dataclass whose fields are looked at when it is made: their types, and their ranges where they have one."""

    def __post_init__(self):
        for name, (kind, optional, range_) in ranges(type(self)).items():  # type: ignore[arg-type]
            value = getattr(self, name)
            if value is None and optional:
                continue
            if range_ is not None:
                several = kind not in (int, float)
                values = value if isinstance(value, tuple) else (value,)
                right = isinstance(value, tuple) == several and len(values) >= (range_.fewest if several else 1)
                right = right and all(range_.holds(each, int in (kind, *get_args(kind))) for each in values)
                _demand(right, name, value, range_.expected + ", or none" * optional)
            elif kind in (bool, str):
                _demand(isinstance(value, kind), name, value, "true or false" if kind is bool else "a word")


@cache
def ranges(kind: type) -> dict[str, tuple[type, bool, Range | None]]:
    """Of each field its type, whether it may be None, and its range."""
    found = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        parts = [part for part in get_args(hint) if part is not type(None)] if type(None) in get_args(hint) else [hint]
        optional, hint = type(None) in get_args(hint), parts[0]
        own = [each for each in getattr(hint, "__metadata__", ()) if isinstance(each, Range)]
        found[name] = (hint.__origin__ if own else hint, optional, own[0] if own else None)
    return found


def whole_seed(seed: object) -> int:
    """A seed as it came. Raises HybridError where it is none that torch takes."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise HybridError(f"seed {seed!r} is not usable: expected a whole number from 0 to {2**63 - 1}")
    return seed


def _demand(right: bool, name: str, value, expected: str) -> None:
    if not right:
        raise HybridError(f"{name} = {value!r}: give {expected}")


@dataclass(frozen=True)
class Augmentation(Checked):
    """One contrastive view of an image (Chen et al. 2020, without the blur that 32 x 32 images do not need)."""

    crop: Crop = 0.2  # smallest share of the image's area that a random resized crop keeps
    flip: Share = 0.5  # probability of a horizontal flip
    jitter: Share = 0.8  # probability of colour jitter
    brightness: NotNegative = 0.4  # factor drawn from [max(0, 1 - b), 1 + b]
    contrast: NotNegative = 0.4  # likewise
    saturation: NotNegative = 0.4  # likewise
    hue: Turns = 0.1  # shift drawn from [-h, h] turns of the colour wheel
    grey: Share = 0.2  # probability of grey
    # Pixels of a view's side, a multiple of the encoder's whole stride. Crops make things look larger than they are in the
    # whole images that the encoder is used on; views of 24 undo that, and cost half of what views of 32 do.
    size: Count = 32
    blur: Share | None = None  # probability of a Gaussian blur; None: 0, as for the next three
    blur_sigma: Blur | None = None  # its largest deviation, in pixels of a view of 24; drawn from 0.1 on; None: 1
    solarise: Share | None = None  # probability that values of at least a half are inverted
    sharpness: Share | None = None  # probability of a change of sharpness by a factor drawn from [0.1, 1.9]


@dataclass(frozen=True)
class Training(Checked):
    """One run of the training loop."""

    epochs: Count  # passes over the train set
    batch: Count = 256  # images a step
    optimiser: str = "adamw"  # or "muon" (Jordan et al. 2024): orthogonalised steps for weights, NAdamW's for the rest
    lr: Rate = 2e-3  # peak learning rate
    weight_decay: NotNegative = 1e-4  # decoupled, on weights of two dimensions or more
    warmup: BelowOne = 0.05  # share of the steps in which the rate rises from 0; then it falls along a cosine to 0
    betas: Betas = (0.9, 0.999)  # of AdamW and NAdamW
    clip: Positive = 1.0  # largest norm of the gradient
    ema: BelowOne = 0.0  # decay of the averaged weights that are kept for use; 0: the last weights are used
    # Width of the average that is kept, its deviation as a share of the training (EDM2's sigma_rel): it fits any length. None:
    # `ema` says.
    average: Width | None = None

    def __post_init__(self):
        super().__post_init__()
        _demand(self.optimiser in ("adamw", "muon"), "optimiser", self.optimiser, "adamw or muon")
        _demand(self.average is None or not self.ema, "ema", self.ema, f"0 beside average = {self.average}")
        _demand(len(self.betas) == 2, "betas", self.betas, "two values from 0 to below 1")


@dataclass(frozen=True)
class Autoencoder(Checked):
    """x (3 x 32 x 32) -> z (6 x 16 x 16) -> x', in NVAE's manner with fewer cells."""

    widths: Counts = (48, 96, 192)  # channels at 16 x 16, 8 x 8, 4 x 4 ...: y comes from the last, w from the first
    cells: Counts = (2, 2, 2)  # residual cells of the encoder at each of these
    decoder_width: Count = 64  # channels of the decoder at 16 x 16
    decoder_cells: Count = 3  # residual cells of the decoder
    expansion: Count = 2  # widening inside a decoder cell, where its depthwise convolution works
    kernel: Count = 3  # of that convolution: NVAE has 5, whose backward pass is ten times slower on CPUs
    y_channels: YChannels = 3  # channels of y, the first of z's six; the rest is w
    y_hidden: Count | None = None  # channels of one more layer, a 3x3, between the lowest resolution and y; None: there is none
    w_cells: Count | None = None  # residual cells of w's own path from the pixels; None: w is read off the first that y has

    def __post_init__(self):
        super().__post_init__()
        _demand(self.kernel % 2 == 1, "kernel", self.kernel, "an odd number")


@dataclass(frozen=True)
class Contrast(Checked):
    """MoCo-v2 (Chen et al. 2020) on y."""

    queue: Count = 4096  # keys kept: m of equation (3)
    temperature: Positive = 0.1  # of the critic g = exp(q . k / temperature)
    momentum: Share = 0.99  # of the key encoder
    key_batch: Count = 32  # keys that share batch norm's statistics: a batch is split, so that none carries the whole's mark
    hidden: Count = 512  # width of the head
    layers: Several | None = None  # of the head, 2 or more; None: MoCo-v2's 2
    dim: Count = 128  # dimensions of queries and keys
    on: str = "y"  # what is contrasted: "y", or "z" for the ablation
    predictor: Count | None = None  # width of a two-layer net on the queries alone, after the head; None: there is none
    keys: Count | None = None  # views of an image whose keys' mean is its key (Wang et al. 2022); None: 1

    def __post_init__(self):
        super().__post_init__()
        _demand(self.on in ("y", "z"), "on", self.on, "y or z")


@dataclass(frozen=True)
class Representation(Checked):
    """Autoencoder and contrast on one encoder: the hybrid's first stage, and MoCo-v2 where alpha is 0."""

    training: Training
    autoencoder: Autoencoder = Autoencoder()
    contrast: Contrast = Contrast()
    augmentation: Augmentation = Augmentation()
    alpha: Share = 3e-5  # weight of I_BA in equation (4); both bounds are in nats and I_BA has thousands of them
    # Deviation of Gaussian noise on the z that is decoded while training, in deviations of each channel; None: no noise. Near
    # codes then decode to near images, and what a DDIM draws need not be exact.
    noise: Deviation | None = None
    noise_blue: Share | None = None  # share of that noise's local mean that is taken away, 0 to 1; None: 0, white noise
    key_weak: bool | None = None  # whether a key's view is cropped and flipped only (Wang et al. 2022); None: it is a query's
    # Whether the encoder's running statistics of batch norm are taken anew at the end, on whole images: those of the training
    # are of views, and of other weights where weights are averaged. None: they stay.
    reestimate: bool | None = None
    equivariance: NotNegative | None = None  # weight of I_BA of halved views, decoded from halved codes; None: 0
    decode_every: Count = 1  # one in how many views is decoded: I_BA is a mean that fewer views estimate too, in less time
    sigma: Positive = 0.04  # standard deviation of q(x|z), on [0, 1]; an MSE of 1.6e-3 makes the bound tightest

    def __post_init__(self):
        batch = self.training.batch
        _demand(1 <= self.decode_every <= batch, "decode_every", self.decode_every, f"1 to the {batch} images of a batch")
        super().__post_init__()


@dataclass(frozen=True)
class Diffusion(Checked):
    """A DDIM: its U-Net and its process."""

    training: Training
    channels: Count = 48  # width at the highest resolution
    multipliers: Counts = (1, 2)  # widths at each resolution, times channels
    blocks: Count = 1  # residual blocks a resolution
    attention: Resolutions = (8,)  # resolutions with self-attention, after folding
    dropout: BelowOne = 0.0
    steps: Count = 1000  # T
    beta_min: Between = 1e-4  # linear betas
    beta_max: Between = 0.02
    predict: str = "noise"  # what the net gives, as in the paper; or "v", with which short trainings come further
    flip: Share = 0.5  # probability that an image is seen mirrored
    clip: Positive = 4.0  # bound on each estimate of x_0 while sampling, in deviations: an early net errs far at t = T
    patch: Count = 1  # pixels of a side that the net folds into channels, for CPUs; 1 is the paper's

    def __post_init__(self):
        super().__post_init__()
        _demand(self.beta_min <= self.beta_max, "beta_min", self.beta_min, f"no more than beta_max, {self.beta_max}")


@dataclass(frozen=True)
class LatentDiffusion(Diffusion):
    """A DDIM on z."""

    RETIRED = ("encoding_steps", "ode_steps")

    # Whether the net sees y at y's own resolution, the shuffle undone and its covariance whitened; None: as z has it.
    unshuffle: bool | None = None


@dataclass(frozen=True)
class PixelDiffusion(Diffusion):
    """A DDIM on images."""

    encoding_steps: Count = 50  # S of the ODE that carries an image to x_T, its representation
    ode_steps: Count = 50  # S there and S back of its reconstruction
    error_images: Count | None = None  # of the test set, whose error it gives for several S; None: 32
    error_steps: Counts | None = None  # these S; None: 10, 20, 50 and 100


@dataclass(frozen=True)
class Semantic(Checked):
    """p(y) of Hybrid+: a diffusion of y's largest principal components, whitened, by a residual MLP."""

    training: Training
    components: Count = 64  # principal components of y that are drawn; `Texture` is told these, the rest moves no picture
    width: Count = 512  # of the MLP
    blocks: Count = 4  # of two layers each
    dropout: BelowOne = 0.0
    flip: Share = 0.5  # probability that an image is seen mirrored

    def __post_init__(self):
        super().__post_init__()
        _demand(self.width % 2 == 0, "width", self.width, "an even number, for the time's embedding")


@dataclass(frozen=True)
class Texture(Diffusion):
    """p(w | y) of Hybrid+: a DDIM of w whose net is told y."""

    RETIRED = ("encoding_steps", "ode_steps")

    components: Count = 64  # principal components of y that the net is told
    y_noise: Share = 0.0  # largest time of the noise on the y that is given while training, as a share of T
    y_time: Share = 0.0  # time of the noise on a y that is given while sampling, likewise; at most y_noise
    drop: Share = 0.1  # share of the images whose y is not told while training, so that guidance has something to compare with
    guidance: NotNegative = 1.0  # from predictions without y (0) to those with it (1) and beyond (Ho & Salimans 2022)


@dataclass(frozen=True)
class NVAE(Checked):
    """NVAE (Vahdat & Kautz 2020) with few groups and cells."""

    training: Training
    channels: Count = 48  # width at 16 x 16; it doubles with each coarser resolution, to four times at most
    groups: Counts = (1, 1, 2, 2)  # groups of latents at each resolution, from coarse to fine; the last is 16 x 16
    latents: Count = 4  # channels of each group
    cells: Count = 1  # residual cells a group, in the encoder and again in the decoder
    expansion: Count = 2  # widening inside a decoder cell
    kernel: Count = 3  # of its depthwise convolution: NVAE has 5, whose backward pass is ten times slower on CPUs
    kl_warmup: Share = 0.3  # share of the training in which the KL's weight rises from 0 to 1, its groups balanced
    spectral: NotNegative = 1e-2  # weight of the sum of largest singular values, against nats per image
    temperature: NotNegative = 1.0  # of samples: scales the prior's standard deviations
    flip: Share = 0.5  # probability that an image is shown mirrored

    def __post_init__(self):
        super().__post_init__()
        _demand(self.kernel % 2 == 1, "kernel", self.kernel, "an odd number")


@dataclass(frozen=True)
class BigGAN(Checked):
    """BigGAN (Brock et al. 2018) without attention, and DiffAugment."""

    training: Training  # its batch is shared out among the discriminator's steps
    noise: Count = 128  # dimensions of the noise that an image is drawn from
    generator_channels: Count = 64  # width at 16 x 16; twice that at 8 x 8, four times at 4 x 4
    discriminator_channels: Count = 64  # likewise; its features have four times as many dimensions
    discriminator_steps: Count = 1  # for each of the generator's
    conditional: bool = False  # whether both networks are told the class; D's features have then seen the labels
    diffaugment: NotNegative = 1.0  # spread of its draws: 1 as published, 0 none
    flip: Share = 0.5  # probability that a real image is shown mirrored

    def __post_init__(self):
        steps, batch = self.discriminator_steps, self.training.batch
        _demand(1 <= steps <= batch, "discriminator_steps", steps, f"1 to the {batch} images of a batch")
        super().__post_init__()


@dataclass(frozen=True)
class Hybrid(Checked):
    """The paper's method: autoencoder and contrast together, then a DDIM on the frozen z."""

    representation: Representation
    prior: LatentDiffusion


@dataclass(frozen=True)
class Plus(Checked):
    """What Hybrid+ puts in the place of the hybrid's DDIM: y first, then w given y."""

    y: Semantic
    w: Texture

    def __post_init__(self):
        _demand(self.w.components == self.y.components, "w.components", self.w.components, f"y's {self.y.components}")


@dataclass(frozen=True)
class HybridPlus(Plus):
    """Hybrid+ whole, with the first stage that it shares with the hybrid."""

    representation: Representation


@dataclass(frozen=True)
class Evaluation(Checked):
    """How a trained method is judged."""

    samples: Several = 50_000  # generated images that the distances are measured on
    sampler_steps: Count = 100  # S of the DDIM sampler
    eta: Eta = 0.0  # 0: the deterministic sampler; 1: ancestral, which forgives an early net more
    inception: bool = True  # measure FID where Inception's weights can be had
    witness: bool | None = None  # whether a second stand-in network measures the distances too; None: it does
    penalties: Weights | None = None  # of the linear probe, one of which is chosen; None: probe.PENALTIES
    pairs: Count = 6  # rows of the interpolation figures
    frames: Several = 9  # images a row, both ends included


@dataclass(frozen=True)
class Profile(Checked):
    """Everything that decides a result but for the data set and the seed."""

    name: str
    dataset: str  # the data set it is meant for, taken where none is named
    hybrid: Hybrid  # Hybrid+, MoCo-v2 and the ablation are made by its values too, one thing changed
    plus: Plus
    nvae: NVAE
    ddim: PixelDiffusion
    biggan: BigGAN
    evaluation: Evaluation
    images: Count | None = None  # so many of each split are used, the first; None: all


def describe(value) -> dict:
    """A profile, or a part of one, as plain values for provenance and keys.

    None is left out: a field that came later and is not used does not make a description another.
    """
    return asdict(value, dict_factory=lambda items: {name: part for name, part in items if part is not None})


def restore(kind: type, values: dict):
    """The dataclass that `describe` made `values` of, now or in an earlier version of this package.

    Fields that `kind` has RETIRED are left out. Raises HybridError for another that it does not have.
    """
    hints = get_type_hints(kind)
    values = {name: value for name, value in values.items() if name not in getattr(kind, "RETIRED", ())}
    if gone := sorted(values.keys() - hints.keys()):
        raise HybridError(f"{kind.__name__} has no {gone[0]!r}: this comes from another version; check out the commit it names")
    parts = {name: restore(hints[name], value) if isinstance(value, dict) else value for name, value in values.items()}
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in parts.items()})


def updated(kind: type, values: dict) -> dict:
    """A description of a `kind` as this version writes it; one that cannot be read is left as it is."""
    try:
        return describe(restore(kind, values))
    except (HybridError, TypeError, AttributeError):
        return values
