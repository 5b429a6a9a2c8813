"""What a run can be told: frozen dataclasses, a comment for each field. `profiles` holds complete values of them.

A value that means nothing raises HybridError when it is given; `methods.check` finds those that do not go together.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import get_type_hints

from hybrid.errors import HybridError


def _demand(right: bool, name: str, value, expected: str) -> None:
    if not right:
        raise HybridError(f"{name} = {value!r}: give {expected}")


def _positive(config, *names: str) -> None:
    for name in names:
        _demand(getattr(config, name) > 0, name, getattr(config, name), "a number above 0")


def _shares(config, *names: str) -> None:
    for name in names:
        _demand(0 <= getattr(config, name) <= 1, name, getattr(config, name), "a share from 0 to 1")


def _counts(config, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _demand(len(value) > 0 and min(value) > 0, name, value, "one or more numbers above 0")


@dataclass(frozen=True)
class Augmentation:
    """One contrastive view of an image (Chen et al. 2020, without the blur that 32 x 32 images do not need)."""

    crop: float = 0.2  # smallest share of the image's area that a random resized crop keeps
    flip: float = 0.5  # probability of a horizontal flip
    jitter: float = 0.8  # probability of colour jitter
    brightness: float = 0.4  # factor drawn from [max(0, 1 - b), 1 + b]
    contrast: float = 0.4  # likewise
    saturation: float = 0.4  # likewise
    hue: float = 0.1  # shift drawn from [-h, h] turns of the colour wheel
    grey: float = 0.2  # probability of grey
    # Pixels of a view's side, a multiple of the encoder's whole stride. Crops make things look larger than they are in the
    # whole images that the encoder is used on; views of 24 undo that, and cost half of what views of 32 do.
    size: int = 32
    blur: float | None = None  # probability of a Gaussian blur; None: 0, as for the next three
    blur_sigma: float | None = None  # its largest deviation, in pixels of a view of 24; drawn from 0.1 on; None: 1
    solarise: float | None = None  # probability that values of at least a half are inverted
    sharpness: float | None = None  # probability of a change of sharpness by a factor drawn from [0.1, 1.9]

    def __post_init__(self):
        _positive(self, "crop", "size")
        _shares(self, "crop", "flip", "jitter", "grey")
        for name in ("blur", "solarise", "sharpness"):
            _demand(0 <= (getattr(self, name) or 0) <= 1, name, getattr(self, name), "a share from 0 to 1, or none")
        _demand((self.blur_sigma or 1) > 0.1, "blur_sigma", self.blur_sigma, "pixels above 0.1, or none")
        for name in ("brightness", "contrast", "saturation"):
            _demand(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        _demand(0 <= self.hue <= 0.5, "hue", self.hue, "turns from 0 to 0.5")


@dataclass(frozen=True)
class Training:
    """One run of the training loop."""

    epochs: int  # passes over the train set
    batch: int = 256  # images a step
    optimiser: str = "adamw"  # or "muon" (Jordan et al. 2024): orthogonalised steps for weights, NAdamW's for the rest
    lr: float = 2e-3  # peak learning rate
    weight_decay: float = 1e-4  # decoupled, on weights of two dimensions or more
    warmup: float = 0.05  # share of the steps in which the rate rises from 0; then it falls along a cosine to 0
    betas: tuple[float, float] = (0.9, 0.999)  # of AdamW and NAdamW
    clip: float = 1.0  # largest norm of the gradient
    ema: float = 0.0  # decay of the averaged weights that are kept for use; 0: the last weights are used
    # Width of the average that is kept, its deviation as a share of the training (EDM2's sigma_rel): it fits any length. None:
    # `ema` says.
    average: float | None = None

    def __post_init__(self):
        _positive(self, "epochs", "batch", "lr", "clip")
        _demand(self.optimiser in ("adamw", "muon"), "optimiser", self.optimiser, "adamw or muon")
        for name in ("warmup", "ema"):
            _demand(0 <= getattr(self, name) < 1, name, getattr(self, name), "a share from 0 to below 1")
        _demand(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        _demand(self.average is None or 0 < self.average <= 0.25, "average", self.average, "a share above 0, to 0.25, or none")
        _demand(self.average is None or not self.ema, "ema", self.ema, f"0 beside average = {self.average}")
        right = len(self.betas) == 2 and 0 <= min(self.betas) <= max(self.betas) < 1
        _demand(right, "betas", self.betas, "two values from 0 to below 1")


@dataclass(frozen=True)
class Autoencoder:
    """x (3 x 32 x 32) -> z (6 x 16 x 16) -> x', in NVAE's manner with fewer cells."""

    widths: tuple[int, ...] = (48, 96, 192)  # channels at 16 x 16, 8 x 8, 4 x 4 ...: y comes from the last, w from the first
    cells: tuple[int, ...] = (2, 2, 2)  # residual cells of the encoder at each of these
    decoder_width: int = 64  # channels of the decoder at 16 x 16
    decoder_cells: int = 3  # residual cells of the decoder
    expansion: int = 2  # widening inside a decoder cell, where its depthwise convolution works
    kernel: int = 3  # of that convolution: NVAE has 5, whose backward pass is ten times slower on CPUs
    y_channels: int = 3  # channels of y, the first of z's six; the rest is w
    y_hidden: int | None = None  # channels of one more layer, a 3x3, between the lowest resolution and y; None: there is none
    w_cells: int | None = None  # residual cells of w's own path from the pixels; None: w is read off the first that y has

    def __post_init__(self):
        _counts(self, "widths", "cells")
        _positive(self, "decoder_width", "decoder_cells", "expansion", "kernel")
        _demand(self.kernel % 2 == 1, "kernel", self.kernel, "an odd number")
        _demand(self.y_hidden is None or self.y_hidden > 0, "y_hidden", self.y_hidden, "a number above 0, or none")
        _demand(1 <= self.y_channels <= 5, "y_channels", self.y_channels, "1 to 5 of z's six channels")


@dataclass(frozen=True)
class Contrast:
    """MoCo-v2 (Chen et al. 2020) on y."""

    queue: int = 4096  # keys kept: m of equation (3)
    temperature: float = 0.1  # of the critic g = exp(q . k / temperature)
    momentum: float = 0.99  # of the key encoder
    key_batch: int = 32  # keys that share batch norm's statistics: a batch is split, so that none carries the whole's mark
    hidden: int = 512  # width of the head
    layers: int | None = None  # of the head, 2 or more; None: MoCo-v2's 2
    dim: int = 128  # dimensions of queries and keys
    on: str = "y"  # what is contrasted: "y", or "z" for the ablation
    predictor: int | None = None  # width of a two-layer net on the queries alone, after the head; None: there is none
    keys: int | None = None  # views of an image whose keys' mean is its key (Wang et al. 2022); None: 1

    def __post_init__(self):
        _positive(self, "queue", "temperature", "key_batch", "hidden", "dim")
        _shares(self, "momentum")
        _demand(self.on in ("y", "z"), "on", self.on, "y or z")
        _demand(self.layers is None or self.layers >= 2, "layers", self.layers, "2 or more, or none")
        for name in ("keys", "predictor"):
            value = getattr(self, name)
            _demand(value is None or value > 0, name, value, "a number above 0, or none")


@dataclass(frozen=True)
class Representation:
    """Autoencoder and contrast on one encoder: the hybrid's first stage, and MoCo-v2 where alpha is 0."""

    training: Training
    autoencoder: Autoencoder = Autoencoder()
    contrast: Contrast = Contrast()
    augmentation: Augmentation = Augmentation()
    alpha: float = 3e-5  # weight of I_BA in equation (4); both bounds are in nats and I_BA has thousands of them
    # Deviation of Gaussian noise on the z that is decoded while training, in deviations of each channel; None: no noise. Near
    # codes then decode to near images, and what a DDIM draws need not be exact.
    noise: float | None = None
    noise_blue: float | None = None  # share of that noise's local mean that is taken away, 0 to 1; None: 0, white noise
    key_weak: bool | None = None  # whether a key's view is cropped and flipped only (Wang et al. 2022); None: it is a query's
    # Whether the encoder's running statistics of batch norm are taken anew at the end, on whole images: those of the training
    # are of views, and of other weights where weights are averaged. None: they stay.
    reestimate: bool | None = None
    equivariance: float | None = None  # weight of I_BA of halved views, decoded from halved codes; None: 0
    decode_every: int = 1  # one in how many views is decoded: I_BA is a mean that fewer views estimate too, in less time
    sigma: float = 0.04  # standard deviation of q(x|z), on [0, 1]; an MSE of 1.6e-3 makes the bound tightest

    def __post_init__(self):
        _shares(self, "alpha")
        _positive(self, "sigma")
        _demand(self.noise is None or self.noise > 0, "noise", self.noise, "a deviation above 0, or none")
        batch = self.training.batch
        _demand(1 <= self.decode_every <= batch, "decode_every", self.decode_every, f"1 to the {batch} images of a batch")


@dataclass(frozen=True)
class Diffusion:
    """A DDIM: its U-Net and its process."""

    training: Training
    channels: int = 48  # width at the highest resolution
    multipliers: tuple[int, ...] = (1, 2)  # widths at each resolution, times channels
    blocks: int = 1  # residual blocks a resolution
    attention: tuple[int, ...] = (8,)  # resolutions with self-attention, after folding
    dropout: float = 0.0
    steps: int = 1000  # T
    beta_min: float = 1e-4  # linear betas
    beta_max: float = 0.02
    predict: str = "noise"  # what the net gives, as in the paper; or "v", with which short trainings come further
    flip: float = 0.5  # probability that an image is seen mirrored
    clip: float = 4.0  # bound on each estimate of x_0 while sampling, in deviations: an early net errs far at t = T
    patch: int = 1  # pixels of a side that the net folds into channels, for CPUs; 1 is the paper's

    def __post_init__(self):
        _positive(self, "channels", "blocks", "steps", "clip", "patch")
        _counts(self, "multipliers")
        _shares(self, "flip")
        _demand(0 <= self.dropout < 1, "dropout", self.dropout, "a share from 0 to below 1")


@dataclass(frozen=True)
class LatentDiffusion(Diffusion):
    """A DDIM on z."""

    RETIRED = ("encoding_steps", "ode_steps")

    # Whether the net sees y at y's own resolution, the shuffle undone and its covariance whitened; None: as z has it.
    unshuffle: bool | None = None


@dataclass(frozen=True)
class PixelDiffusion(Diffusion):
    """A DDIM on images."""

    encoding_steps: int = 50  # S of the ODE that carries an image to x_T, its representation
    ode_steps: int = 50  # S there and S back of its reconstruction
    error_images: int | None = None  # of the test set, whose error it gives for several S; None: 32
    error_steps: tuple[int, ...] | None = None  # these S; None: 10, 20, 50 and 100

    def __post_init__(self):
        super().__post_init__()
        _positive(self, "encoding_steps", "ode_steps")


@dataclass(frozen=True)
class Semantic:
    """p(y) of Hybrid+: a diffusion of y's largest principal components, whitened, by a residual MLP."""

    training: Training
    components: int = 64  # principal components of y that are drawn; `Texture` is told these, the rest moves no picture
    width: int = 512  # of the MLP
    blocks: int = 4  # of two layers each
    dropout: float = 0.0
    flip: float = 0.5  # probability that an image is seen mirrored

    def __post_init__(self):
        _positive(self, "components", "width", "blocks")
        _shares(self, "flip", "dropout")
        _demand(self.width % 2 == 0, "width", self.width, "an even number, for the time's embedding")


@dataclass(frozen=True)
class Texture(Diffusion):
    """p(w | y) of Hybrid+: a DDIM of w whose net is told y."""

    RETIRED = ("encoding_steps", "ode_steps")

    components: int = 64  # principal components of y that the net is told
    y_noise: float = 0.0  # largest time of the noise on the y that is given while training, as a share of T
    y_time: float = 0.0  # time of the noise on a y that is given while sampling, likewise; at most y_noise
    drop: float = 0.1  # share of the images whose y is not told while training, so that guidance has something to compare with
    guidance: float = 1.0  # from predictions without y (0) to those with it (1) and beyond (Ho & Salimans 2022)

    def __post_init__(self):
        super().__post_init__()
        _positive(self, "components")
        _shares(self, "y_noise", "y_time", "drop")
        _demand(self.guidance >= 0, "guidance", self.guidance, "0 or more")


@dataclass(frozen=True)
class NVAE:
    """NVAE (Vahdat & Kautz 2020) with few groups and cells."""

    training: Training
    channels: int = 48  # width at 16 x 16; it doubles with each coarser resolution, to four times at most
    groups: tuple[int, ...] = (1, 1, 2, 2)  # groups of latents at each resolution, from coarse to fine; the last is 16 x 16
    latents: int = 4  # channels of each group
    cells: int = 1  # residual cells a group, in the encoder and again in the decoder
    expansion: int = 2  # widening inside a decoder cell
    kernel: int = 3  # of its depthwise convolution: NVAE has 5, whose backward pass is ten times slower on CPUs
    kl_warmup: float = 0.3  # share of the training in which the KL's weight rises from 0 to 1, its groups balanced
    spectral: float = 1e-2  # weight of the sum of largest singular values, against nats per image
    temperature: float = 1.0  # of samples: scales the prior's standard deviations
    flip: float = 0.5  # probability that an image is shown mirrored

    def __post_init__(self):
        _positive(self, "channels", "latents", "cells", "expansion", "kernel")
        _counts(self, "groups")
        _shares(self, "kl_warmup", "flip")
        _demand(self.kernel % 2 == 1, "kernel", self.kernel, "an odd number")
        for name in ("spectral", "temperature"):
            _demand(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")


@dataclass(frozen=True)
class BigGAN:
    """BigGAN (Brock et al. 2018) without attention, and DiffAugment."""

    training: Training  # its batch is shared out among the discriminator's steps
    noise: int = 128  # dimensions of the noise that an image is drawn from
    generator_channels: int = 64  # width at 16 x 16; twice that at 8 x 8, four times at 4 x 4
    discriminator_channels: int = 64  # likewise; its features have four times as many dimensions
    discriminator_steps: int = 1  # for each of the generator's
    conditional: bool = False  # whether both networks are told the class; D's features have then seen the labels
    diffaugment: float = 1.0  # spread of its draws: 1 as published, 0 none
    flip: float = 0.5  # probability that a real image is shown mirrored

    def __post_init__(self):
        _positive(self, "noise", "generator_channels", "discriminator_channels")
        _shares(self, "flip")
        _demand(self.diffaugment >= 0, "diffaugment", self.diffaugment, "0 or more")
        steps, batch = self.discriminator_steps, self.training.batch
        _demand(1 <= steps <= batch, "discriminator_steps", steps, f"1 to the {batch} images of a batch")


@dataclass(frozen=True)
class Hybrid:
    """The paper's method: autoencoder and contrast together, then a DDIM on the frozen z."""

    representation: Representation
    prior: LatentDiffusion


@dataclass(frozen=True)
class Plus:
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
class Evaluation:
    """How a trained method is judged."""

    samples: int = 50_000  # generated images that the distances are measured on
    sampler_steps: int = 100  # S of the DDIM sampler
    eta: float = 0.0  # 0: the deterministic sampler; 1: ancestral, which forgives an early net more
    inception: bool = True  # measure FID where Inception's weights can be had
    witness: bool | None = None  # whether a second stand-in network measures the distances too; None: it does
    penalties: tuple[float, ...] | None = None  # of the linear probe, one of which is chosen; None: probe.PENALTIES
    pairs: int = 6  # rows of the interpolation figures
    frames: int = 9  # images a row, both ends included

    def __post_init__(self):
        _positive(self, "sampler_steps", "pairs")
        if self.penalties is not None:
            _counts(self, "penalties")
        for name in ("samples", "frames"):
            _demand(getattr(self, name) > 1, name, getattr(self, name), "2 or more")
        _demand(0 <= self.eta <= 1, "eta", self.eta, "a value from 0 (DDIM) to 1 (DDPM)")


@dataclass(frozen=True)
class Profile:
    """Everything that decides a result but for the data set and the seed."""

    name: str
    dataset: str  # the data set it is meant for, taken where none is named
    hybrid: Hybrid  # Hybrid+, MoCo-v2 and the ablation are made by its values too, one thing changed
    plus: Plus
    nvae: NVAE
    ddim: PixelDiffusion
    biggan: BigGAN
    evaluation: Evaluation
    images: int | None = None  # so many of each split are used, the first; None: all

    def __post_init__(self):
        _demand(self.images is None or self.images > 0, "images", self.images, "a number above 0, or none")


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
