"""The settings of a run: frozen dataclasses with a comment for each field. The package `profiles` has complete sets of values.

An invalid value raises HybridError when the dataclass is made; `methods.check` finds values that contradict each other.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, get_type_hints

from hybrid.errors import HybridError
from hybrid.profiles.checked import (
    BelowOne,
    Betas,
    Between,
    Checked,
    Count,
    Counts,
    Crop,
    Deviation,
    Eta,
    NotNegative,
    Order,
    Positive,
    Rate,
    Resolutions,
    Several,
    Share,
    Turns,
    Weights,
    Width,
    YChannels,
    demand,
)


@dataclass(frozen=True)
class Augmentation(Checked):
    """One contrastive view of an image (Chen et al. 2020, without blur, which 32 x 32 images do not need)."""

    crop: Crop = 0.2  # smallest share of the image's area in a random resized crop
    flip: Share = 0.5  # probability of a horizontal flip
    jitter: Share = 0.8  # probability of colour jitter
    brightness: NotNegative = 0.4  # factor drawn from [max(0, 1 - b), 1 + b]
    contrast: NotNegative = 0.4  # factor drawn from [max(0, 1 - c), 1 + c]
    saturation: NotNegative = 0.4  # factor drawn from [max(0, 1 - s), 1 + s]
    hue: Turns = 0.1  # shift drawn from [-h, h] turns of the colour wheel
    grey: Share = 0.2  # probability of conversion to grey
    # Side of a view in pixels, a multiple of the encoder's total stride. Objects look larger in crops than in the whole images
    # that the encoder is used on. Views of 24 pixels compensate for this, and cost half as much as views of 32.
    size: Count = 32


@dataclass(frozen=True)
class Training(Checked):
    """One run of the training loop."""

    epochs: Count  # passes over the train set
    batch: Count = 256  # images per step
    # Muon (Jordan et al. 2024): orthogonalised steps for matrices, NAdamW for other weights.
    optimiser: Literal["adamw", "muon"] = "adamw"
    lr: Rate = 2e-3  # peak learning rate
    weight_decay: NotNegative = 1e-4  # decoupled, for weights with two or more dimensions
    warmup: BelowOne = 0.05  # share of the steps in which the rate rises from 0; afterwards it falls to 0 along a cosine
    betas: Betas = (0.9, 0.999)  # for AdamW and NAdamW
    clip: Positive = 1.0  # largest norm of the gradient
    ema: BelowOne = 0.0  # decay of the averaged weights, the result; at most 1 - t^-0.75 after t steps; 0: the last weights
    # Width of the average, as the standard deviation in shares of the training (EDM2's sigma_rel), so it suits any length.
    # None: `ema` applies.
    average: Width | None = None

    def __post_init__(self):
        super().__post_init__()
        demand(self.average is None or not self.ema, "ema", self.ema, f"0, because average = {self.average} replaces it")
        demand(len(self.betas) == 2, "betas", self.betas, "two values of at least 0 and below 1")

    def steps(self, images: int) -> int:
        """Return the number of steps for so many train images. The last, incomplete batch of an epoch is left out."""
        return self.epochs * (images // self.batch)


@dataclass(frozen=True)
class Autoencoder(Checked):
    """x (3 x 32 x 32) -> z (6 x 16 x 16) -> x', similar to NVAE with fewer cells."""

    widths: Counts = (48, 96, 192)  # channels at 16 x 16, 8 x 8, 4 x 4 ...; y comes from the last, w from the first
    cells: Counts = (2, 2, 2)  # residual cells of the encoder at each of these resolutions
    decoder_width: Count = 64  # channels of the decoder at 16 x 16
    decoder_cells: Count = 3  # residual cells of the decoder
    expansion: Count = 2  # factor for the channels of the depthwise convolution inside a decoder cell
    kernel: Count = 3  # size of that convolution; NVAE uses 5, whose backward pass is ten times slower on CPUs
    y_channels: YChannels = 3  # number of y's channels, the first of z's six; the others are w
    w_cells: Count | None = None  # residual cells in w's own path from the pixels; None: w shares y's first layers

    def __post_init__(self):
        super().__post_init__()
        demand(self.kernel % 2 == 1, "kernel", self.kernel, "an odd number")


@dataclass(frozen=True)
class Contrast(Checked):
    """MoCo-v2 (Chen et al. 2020) on y."""

    queue: Count = 4096  # number of keys in the queue: m in equation (3)
    temperature: Positive = 0.1  # in the critic g = exp(q . k / temperature)
    momentum: Share = 0.99  # momentum of the key encoder
    key_batch: Count = 32  # keys that share batch norm's statistics; a batch is split into groups, so that they leak less
    hidden: Count = 512  # width of the head
    dim: Count = 128  # dimensions of queries and keys
    on: Literal["y", "z"] = "y"  # the part with the contrastive loss: y, or z for the ablation


@dataclass(frozen=True)
class Representation(Checked):
    """Autoencoder and contrast with one encoder: the hybrid's first stage, or MoCo-v2 if alpha is 0."""

    training: Training
    autoencoder: Autoencoder = Autoencoder()
    contrast: Contrast = Contrast()
    augmentation: Augmentation = Augmentation()
    alpha: Share = 3e-5  # weight of I_BA in equation (4); both bounds are in nats, and I_BA has thousands of them
    # Standard deviation of Gaussian noise on the z that is decoded during training, in standard deviations of each channel.
    # With noise, similar codes decode to similar images, so the codes sampled by a DDIM need not be exact. None: no noise.
    noise: Deviation | None = None
    # Side in pixels of all views in the first part of the training, a multiple of the encoder's total stride. Small views take
    # less time (progressive resizing: Tan & Le 2021). The head sees their y interpolated. None: augmentation.size throughout.
    early_size: Count | None = None
    early: Share | None = None  # share of the training with views of `early_size`; None: half
    decode_every: Count = 1  # decode one of this many views; I_BA is a mean, which fewer views estimate in less time
    sigma: Positive = 0.04  # standard deviation of q(x|z), on [0, 1]; it is best for an MSE of 1.6e-3

    def __post_init__(self):
        super().__post_init__()
        batch = self.training.batch
        demand(self.decode_every <= batch, "decode_every", self.decode_every, f"1 to the {batch} images of a batch")


@dataclass(frozen=True)
class Diffusion(Checked):
    """A DDIM: its U-Net and its diffusion process."""

    training: Training
    channels: Count = 48  # width at the highest resolution
    multipliers: Counts = (1, 2)  # width at each resolution, in multiples of `channels`
    blocks: Count = 1  # residual blocks per resolution
    attention: Resolutions = (8,)  # resolutions with self-attention, after folding
    dropout: BelowOne = 0.0
    steps: Count = 1000  # T, the number of time steps
    beta_min: Between = 1e-4  # first of the linear betas
    beta_max: Between = 0.02  # last of the linear betas
    predict: Literal["noise", "v"] = "noise"  # output of the net: noise, as in the paper, or v, better in short trainings
    flip: Share = 0.5  # probability of mirroring an image
    clip: Positive = 4.0  # limit for estimates of x_0 in sampling, in standard deviations; at t = T a net's errors are large
    patch: Count = 1  # fold patches of this side into channels, which is faster on CPUs; the paper has 1

    def __post_init__(self):
        super().__post_init__()
        demand(self.beta_min <= self.beta_max, "beta_min", self.beta_min, f"no more than beta_max, {self.beta_max}")


@dataclass(frozen=True)
class LatentDiffusion(Diffusion):
    """A DDIM on z."""

    RETIRED = ("encoding_steps", "ode_steps")

    # Whether the net sees y at its own resolution (without the pixel shuffle), whitened; None: the net sees y as in z.
    unshuffle: bool | None = None


@dataclass(frozen=True)
class PixelDiffusion(Diffusion):
    """A DDIM on images."""

    encoding_steps: Count = 50  # steps S of the ODE from an image to x_T, its representation
    ode_steps: Count = 50  # steps S of the ODE in each direction, for a reconstruction
    error_images: Count | None = None  # number of test images for measuring the error at several S; None: 32
    error_steps: Counts | None = None  # the values of S; None: 10, 20, 50 and 100


@dataclass(frozen=True)
class Semantic(Checked):
    """p(y) of Hybrid+: a diffusion of y's largest principal components, whitened, with a residual MLP."""

    training: Training
    components: Count = 64  # principal components of y to sample; `Texture` sees these, and the others hardly change the image
    width: Count = 512  # width of the MLP
    blocks: Count = 4  # blocks of the MLP, with two layers each
    dropout: BelowOne = 0.0
    flip: Share = 0.5  # probability of mirroring an image
    # Number of Gaussians in a mixture that predicts v, and to which the MLP adds. None: the MLP alone, which begins at one
    # Gaussian, because y is whitened.
    mixture: Count | None = None

    def __post_init__(self):
        super().__post_init__()
        demand(self.width % 2 == 0, "width", self.width, "an even number, for the time's embedding")


@dataclass(frozen=True)
class Texture(Diffusion):
    """p(w | y) of Hybrid+: a DDIM on w whose net also sees y."""

    RETIRED = ("encoding_steps", "ode_steps", "y_time")

    components: Count = 64  # principal components of y that the net sees
    y_noise: Share = 0.0  # largest time of the noise that training adds to y, as a share of T
    drop: Share = 0.1  # share of images whose y is hidden in training; guidance needs predictions without y
    guidance: NotNegative = 1.0  # 0: predictions without y; 1: with y; above 1: extrapolated (Ho & Salimans 2022)


@dataclass(frozen=True)
class NVAE(Checked):
    """NVAE (Vahdat & Kautz 2020) with few groups and cells."""

    training: Training
    channels: Count = 48  # width at 16 x 16; it doubles at each coarser resolution, up to four times this
    groups: Counts = (1, 1, 2, 2)  # groups of latents at each resolution, from coarse to fine; the last is 16 x 16
    latents: Count = 4  # channels of each group
    cells: Count = 1  # residual cells per group, in the encoder and in the decoder
    expansion: Count = 2  # factor for the channels inside a decoder cell
    kernel: Count = 3  # size of its depthwise convolution; NVAE uses 5, whose backward pass is ten times slower on CPUs
    kl_warmup: Share = 0.3  # share of the training in which the KL's weight rises from 0 to 1, with balanced groups
    spectral: NotNegative = 1e-2  # weight of the sum of the largest singular values; the loss is in nats per image
    temperature: NotNegative = 1.0  # factor for the prior's standard deviations in sampling
    flip: Share = 0.5  # probability of mirroring an image

    def __post_init__(self):
        super().__post_init__()
        demand(self.kernel % 2 == 1, "kernel", self.kernel, "an odd number")
        demand(len(self.groups) <= 5, "groups", self.groups, "at most five numbers, for 1 x 1 to 16 x 16")


@dataclass(frozen=True)
class BigGAN(Checked):
    """BigGAN (Brock et al. 2018) without attention, with DiffAugment."""

    training: Training  # its batch is divided among the discriminator's steps
    noise: Count = 128  # dimensions of the noise that images are generated from
    generator_channels: Count = 64  # width at 16 x 16; twice this at 8 x 8, four times at 4 x 4
    discriminator_channels: Count = 64  # the same for the discriminator; its features have four times as many dimensions
    discriminator_steps: Count = 1  # steps of the discriminator for each step of the generator
    conditional: bool = False  # whether both networks see the class; then D's features depend on the labels
    diffaugment: NotNegative = 1.0  # strength of DiffAugment: 1 as published, 0 none
    flip: Share = 0.5  # probability of mirroring a real image

    def __post_init__(self):
        super().__post_init__()
        steps, batch = self.discriminator_steps, self.training.batch
        demand(steps <= batch, "discriminator_steps", steps, f"1 to the {batch} images of a batch")


@dataclass(frozen=True)
class Hybrid(Checked):
    """The paper's method: autoencoder and contrast together, then a DDIM on the frozen z."""

    representation: Representation
    prior: LatentDiffusion


@dataclass(frozen=True)
class Plus(Checked):
    """Hybrid+'s replacement for the hybrid's DDIM: it samples y first, then w given y."""

    y: Semantic
    w: Texture

    def __post_init__(self):
        super().__post_init__()
        components = self.y.components
        demand(self.w.components == components, "w.components", self.w.components, f"{components}, as y.components")
        # Both whiten y by the same images, with or without mirror images.
        wanted = f"a probability above 0, because y.flip = {self.y.flip}" if self.y.flip else "0, because y.flip is 0"
        demand((self.w.flip > 0) == (self.y.flip > 0), "w.flip", self.w.flip, wanted)


@dataclass(frozen=True)
class HybridPlus(Plus):
    """All of Hybrid+, with the first stage that it shares with the hybrid."""

    representation: Representation


@dataclass(frozen=True)
class Evaluation(Checked):
    """How a trained method is judged."""

    samples: Several = 50_000  # number of generated images for the distances
    sampler_steps: Count = 100  # steps S of the DDIM sampler
    eta: Eta = 0.0  # 0: the deterministic sampler; 1: the ancestral one, which is less sensitive to an inaccurate net
    order: Order | None = None  # of the deterministic sampler: 2 has a smaller error in fewer steps; None: 1, the paper's DDIM
    inception: bool = True  # measure FID if Inception's weights are available
    witness: bool | None = None  # whether to measure the distances with a second stand-in network too; None: yes
    penalties: Weights | None = None  # penalties of the linear probe to choose from; None: probe.PENALTIES
    pairs: Count = 6  # rows in the interpolation figures
    frames: Several = 9  # images per row, with both ends

    def __post_init__(self):
        super().__post_init__()
        demand(self.order != 2 or not self.eta, "order", self.order, "1, or eta = 0")

    @property
    def solver(self) -> dict[str, int]:
        """Return the argument `order` of `sample`, if it is set: a method of one's own need not take it."""
        return {} if self.order is None else {"order": self.order}


@dataclass(frozen=True)
class Profile(Checked):
    """All settings that determine a result, except the data set and the seed."""

    name: str
    dataset: str  # the default data set
    hybrid: Hybrid  # Hybrid+, MoCo-v2 and the ablation also use these values, with one change each
    plus: Plus
    nvae: NVAE
    ddim: PixelDiffusion
    biggan: BigGAN
    evaluation: Evaluation
    images: Count | None = None  # use only this many images of each split, evenly spaced; None: all


def describe(value) -> dict:
    """Convert a profile, or a part of one, to plain values for provenance and keys.

    None is left out, so a new field that is not used does not change a description.
    """
    return asdict(value, dict_factory=lambda items: {name: part for name, part in items if part is not None})


def restore(kind: type, values: dict):
    """Convert the `values` of `describe`, from this or an earlier version of the package, back to the dataclass `kind`.

    Fields in `kind.RETIRED` are ignored. Raises HybridError for any other unknown field.
    """
    hints = get_type_hints(kind)
    values = {name: value for name, value in values.items() if name not in getattr(kind, "RETIRED", ())}
    if gone := sorted(values.keys() - hints.keys()):
        raise HybridError(f"{kind.__name__} has no {gone[0]!r}: this comes from another version; check out the commit it names")
    parts = {name: restore(hints[name], value) if isinstance(value, dict) else value for name, value in values.items()}
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in parts.items()})


def updated(kind: type, values: dict) -> dict:
    """Convert a description of a `kind` to that of this version. An unreadable description is returned unchanged."""
    try:
        return describe(restore(kind, values))
    except (HybridError, TypeError, AttributeError):
        return values
