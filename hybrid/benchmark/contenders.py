"""The pairs that `hybrid.benchmark.run` measures: our code, and a peer library set up to do the same work.

A context prepares each pair and yields a `Workload`, two functions that each do one turn of the work. Preparation (imports,
models, files, worker processes) is not timed. If the two cannot do exactly the same, the note says how they differ.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from hybrid.data.augment import ASPECT, augment
from hybrid.data.digits import load_digits_rgb
from hybrid.machine.compilation import compile_networks
from hybrid.machine.precision import autocast
from hybrid.models.autoencoder import LATENT_CHANNELS, LATENT_SIZE
from hybrid.models.hybrid import Representation
from hybrid.models.latent_ddim import LatentDDIM
from hybrid.models.unet import GroupNorm
from hybrid.profiles import schema
from hybrid.training.optimisers import optimiser_for


@dataclass(frozen=True)
class Counts:
    """The amount of work in one turn."""

    images: int = 256  # in an augmented batch
    steps: int = 4  # batches, or training steps
    latents: int = 64  # in a batch of samples
    sampler_steps: int = 20  # of the DDIM
    fid_images: int = 5000  # for the Fréchet distance
    fid_dims: int = 2048  # dimensions of Inception's features; FID uses 2048
    features: int = 10_000  # examples for fitting the probe


@dataclass(frozen=True)
class Setting:
    profile: schema.Profile  # sets networks, batches and optimisers
    device: torch.device
    counts: Counts


@dataclass(frozen=True)
class Workload:
    """One turn of the same work, by our code and by the peer."""

    ours: Callable[[], object]
    peer: Callable[[], object]
    images: int  # processed in one turn
    note: str  # sizes and differences
    returns: str = ""  # meaning of a turn's return value: "accuracy" (percent), "distance", or "" for nothing of interest


@dataclass(frozen=True)
class Pair:
    """One comparison of our code with a peer."""

    name: str
    peer: str
    requires: str  # what pip has to install for the peer
    prepare: Callable[[Setting], AbstractContextManager[Workload]]


@cache
def digits() -> Tensor:
    """Return the embedded digits and their mirror images in random order: uint8 (N, 3, 32, 32), N about 12,000."""
    train, _, test, _ = load_digits_rgb()
    images = torch.cat([train, test, train.flip(3)])
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]


# Augmentation. For each peer, a function takes uint8 images, the recipe and a number of batches, and returns a function that
# yields the batches of one turn.

Batches = Callable[[], Iterable[Tensor]]


@contextmanager
def augmentation(make: Callable[[Tensor, schema.Augmentation, int], Batches], how: str, setting: Setting) -> Iterator[Workload]:
    """uint8 images to float32 views, both 32 x 32. At this size torchvision's antialiasing, which ours lacks, has no effect."""
    config, steps, device = schema.Augmentation(), setting.counts.steps, setting.device
    images = digits()[: setting.counts.images].to(device)
    batches = make(images, config, steps)

    def ours() -> None:
        for _ in range(steps):
            augment(images, config)

    def peer() -> None:
        for views in batches():
            views.to(device)

    yield Workload(ours, peer, steps * len(images), f"{steps} batches of {len(images)} a turn; theirs: {how}")


def pil_images(images: Tensor, config: schema.Augmentation, steps: int) -> Batches:
    recipe, pictures = _torchvision(config, [v2.PILToTensor()]), as_pictures(images)
    return lambda: (torch.stack([recipe(picture) for picture in pictures]) for _ in range(steps))


def tensors(images: Tensor, config: schema.Augmentation, steps: int) -> Batches:
    recipe, images = _torchvision(config, []), images.cpu()
    return lambda: (torch.stack([recipe(image) for image in images]) for _ in range(steps))


def pil_loader(images: Tensor, config: schema.Augmentation, steps: int) -> Batches:
    loader = _loader(as_pictures(images) * steps, _torchvision(config, [v2.PILToTensor()]), len(images))
    return lambda: loader


def kornia(images: Tensor, config: schema.Augmentation, steps: int) -> Batches:
    import kornia.augmentation as K

    ratio, mode = (1 / ASPECT, ASPECT), "resample"  # crops the whole batch at once; the default crops one image at a time
    recipe = K.AugmentationSequential(
        K.RandomResizedCrop((config.size, config.size), scale=(config.crop, 1.0), ratio=ratio, cropping_mode=mode),
        K.RandomHorizontalFlip(p=config.flip),
        K.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue, p=config.jitter),
        K.RandomGrayscale(p=config.grey),
        data_keys=["input"],
        same_on_batch=False,
    )
    return lambda: (recipe(images.float() / 255) for _ in range(steps))


def _torchvision(config: schema.Augmentation, last: list[nn.Module]) -> v2.Compose:
    """Return our recipe in torchvision, for one image (a batch would share its random parameters). Pixels stay uint8 until the
    end."""
    jitter = v2.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue)
    return v2.Compose(
        [
            v2.RandomResizedCrop(config.size, scale=(config.crop, 1.0), ratio=(1 / ASPECT, ASPECT)),
            v2.RandomHorizontalFlip(config.flip),
            v2.RandomApply([jitter], config.jitter),
            v2.RandomGrayscale(config.grey),
            *last,
            v2.ToDtype(torch.float32, scale=True),
        ]
    )


class Pictures(Dataset):
    """A data set of PIL images that are transformed when they are read."""

    def __init__(self, pictures: list[Image.Image], transform: Callable):
        self.pictures, self.transform = pictures, transform

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int):
        return self.transform(self.pictures[index])


def as_pictures(images: Tensor) -> list[Image.Image]:
    """Convert uint8 images (N, 3, H, W) to PIL images."""
    return [Image.fromarray(image) for image in images.permute(0, 2, 3, 1).cpu().numpy().copy(order="C")]


def _loader(pictures: list[Image.Image], transform: Callable, batch: int) -> DataLoader:
    """Return a loader with one process per torch thread. The processes persist between turns; each turn is an epoch."""
    return DataLoader(
        Pictures(pictures, transform),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=max(2, torch.get_num_threads()),
        persistent_workers=True,
        pin_memory=torch.cuda.is_available(),
    )


# Training steps


def representation(setting: Setting, alpha: float | None = None) -> Representation:
    """Return the profile's first stage, ready to train. `alpha` = 0 makes it MoCo-v2."""
    config = setting.profile.hybrid.representation
    model = Representation(config if alpha is None else replace(config, alpha=alpha))
    return model.to(device=setting.device, memory_format=torch.channels_last).train()


def training_steps(setting: Setting, model: Representation) -> Callable[[], None]:
    """Return a turn of steps as in `hybrid.training.loop`: batch, views, loss, gradient, optimiser, key network."""
    config, device = model.config.training, setting.device
    compile_networks(model.networks(), device)
    optimiser, images = optimiser_for(model, config), digits().to(device)
    labels = torch.zeros(config.batch, dtype=torch.int64, device=device)
    parameters = [p for p in model.parameters() if p.requires_grad]

    def turn() -> None:
        for _ in range(setting.counts.steps):
            batch = images[torch.randint(len(images), (config.batch,), device=device)]
            with autocast(device):
                loss, _ = model.loss("model", batch, labels)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, config.clip, foreach=True)
            optimiser.step()
            model.after_step()

    return turn


@contextmanager
def lightly_moco(setting: Setting) -> Iterator[Workload]:
    """A MoCo-v2 step built from lightly's parts as in its documentation, on our query network."""
    from lightly.loss import NTXentLoss
    from lightly.models.utils import deactivate_requires_grad, update_momentum
    from lightly.transforms import MoCoV2Transform

    model, device = representation(setting, alpha=0.0), setting.device
    training, contrast, views = model.config.training, model.config.contrast, model.config.augmentation
    transform = MoCoV2Transform(
        input_size=views.size,
        cj_prob=views.jitter,
        cj_bright=views.brightness,
        cj_contrast=views.contrast,
        cj_sat=views.saturation,
        cj_hue=views.hue,
        min_scale=views.crop,
        random_gray_scale=views.grey,
        hf_prob=views.flip,
        gaussian_blur=0.0,
        normalize=None,
    )
    count = setting.counts.steps * training.batch
    loader = _loader(as_pictures(digits()[torch.arange(count) % len(digits())]), transform, training.batch)
    network, key_network = copy.deepcopy(model.query_network), copy.deepcopy(model.query_network)
    deactivate_requires_grad(key_network)
    criterion = NTXentLoss(contrast.temperature, memory_bank_size=(contrast.queue, contrast.dim)).to(device)
    optimiser = optimiser_for(network, training)

    def peer() -> None:
        for batch in loader:
            query_view, key_view = (view.to(device, non_blocking=True) for view in batch)
            update_momentum(network, key_network, m=contrast.momentum)
            with autocast(device):
                query = network(query_view)
                with torch.no_grad():
                    key = key_network(key_view)
                loss = criterion(query, key)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    note = (
        f"{setting.counts.steps} steps per turn, batch {training.batch}; network, queue, optimiser, autocast the same. "
        f"Theirs: {loader.num_workers} worker processes, keys normalised together (ours {contrast.key_batch} at a time), "
        "no clipping"
    )
    yield Workload(training_steps(setting, model), peer, count, note)


# Sampling


def unet2d(prior: schema.Diffusion) -> nn.Module:
    """Return diffusers' UNet2DModel in the prior's sizes, on z after our folding: the same parameters and operations."""
    from diffusers import UNet2DModel

    size, channels = LATENT_SIZE // prior.patch, LATENT_CHANNELS * prior.patch**2
    kinds = ["Attn" if size // 2**level in prior.attention else "" for level in range(len(prior.multipliers))]
    return UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=tuple(prior.channels * multiplier for multiplier in prior.multipliers),
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        layers_per_block=prior.blocks,
        dropout=prior.dropout,
        norm_num_groups=GroupNorm(prior.channels).num_groups,
        attention_head_dim=None,  # one head
        freq_shift=1,
        flip_sin_to_cos=False,
    )


@contextmanager
def diffusers_ddim(setting: Setting) -> Iterator[Workload]:
    """diffusers' DDIMPipeline. Ours folds and unfolds z in every evaluation of the net; theirs starts with folded z."""
    from diffusers import DDIMPipeline, DDIMScheduler

    # The peer cannot treat y separately, so both nets see the raw z.
    prior, count, device = replace(setting.profile.hybrid.prior, unshuffle=None), setting.counts, setting.device
    model, unet = LatentDDIM(prior, setting.profile.hybrid.representation.autoencoder).to(device).eval(), unet2d(prior).eval()
    kind = {"noise": "epsilon", "v": "v_prediction"}[prior.predict]
    scheduler = DDIMScheduler(prior.steps, prior.beta_min, prior.beta_max, clip_sample_range=prior.clip, prediction_type=kind)
    pipeline = DDIMPipeline(unet, scheduler).to(device)
    pipeline.set_progress_bar_config(disable=True)

    def ours() -> None:
        noise = torch.randn(count.latents, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE, device=device)
        model.sample(noise, count.sampler_steps, eta=0.0, seed=0)

    def peer() -> None:
        with autocast(device):
            pipeline(count.latents, num_inference_steps=count.sampler_steps, use_clipped_model_output=True, output_type="pt")

    own, their = (sum(p.numel() for p in net.parameters()) for net in (model.net, unet))
    sizes = f"{own:,} parameters, theirs {their:,}, z folded by {prior.patch} in both"
    note = f"{count.sampler_steps} steps, autocast the same; {sizes}"
    yield Workload(ours, peer, count.latents, note)


PAIRS = (
    *(
        Pair("augmentation", peer, requires, partial(augmentation, make, how))
        for peer, requires, make, how in (
            ("torchvision v2, PIL", "torchvision", pil_images, "image by image in one process"),
            ("torchvision v2, tensors", "torchvision", tensors, "image by image in one process"),
            ("torchvision v2, PIL, DataLoader", "torchvision", pil_loader, "as many worker processes as torch has threads"),
            ("kornia", "kornia>=0.9", kornia, "on the batch; its colour jitter differs from torchvision's"),
        )
    ),
    Pair("moco_step", "lightly", "lightly>=1.6", lightly_moco),
    Pair("ddim_sampling", "diffusers", "diffusers>=0.32", diffusers_ddim),
)
