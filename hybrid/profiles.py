"""Profiles: named, frozen and complete values of everything that a run can be told.

`profile("laptop")` gives one; `profile("laptop,hybrid.representation.training.epochs=6")` gives it with a field changed. The
text is the profile's name wherever a name is asked for (command line, make, papermill, folder names), so that a changed run
never lands among the results of the profile that it was derived from.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import get_args, get_origin, get_type_hints

from hybrid.configs import (
    NVAE,
    Augmentation,
    Autoencoder,
    BigGAN,
    Contrast,
    Diffusion,
    Evaluation,
    Hybrid,
    Plus,
    Profile,
    Representation,
    Semantic,
    Texture,
    Training,
)
from hybrid.errors import HybridError

PROFILES = {
    p.name: p
    for p in (
        # Seconds: every line of the pipeline runs, the numbers mean nothing. For tests.
        Profile(
            name="smoke",
            dataset="digits",
            hybrid=Hybrid(
                representation=Representation(
                    training=Training(epochs=1, batch=512),
                    autoencoder=Autoencoder(widths=(8, 8, 16), cells=(1, 1, 1), decoder_width=8, decoder_cells=1),
                    contrast=Contrast(queue=512, hidden=32, dim=16),
                ),
                prior=Diffusion(training=Training(epochs=1, batch=512, average=0.1), channels=8),
            ),
            plus=Plus(
                y=Semantic(training=Training(epochs=1, batch=512), width=16, blocks=1),
                w=Texture(training=Training(epochs=1, batch=512, average=0.1), channels=8, multipliers=(1, 1, 2)),
            ),
            nvae=NVAE(training=Training(epochs=1, batch=512), channels=8, groups=(1, 1), latents=2),
            ddim=Diffusion(
                training=Training(epochs=1, batch=512),
                channels=8,
                attention=(),
                steps=100,
                patch=8,
                encoding_steps=2,
                ode_steps=2,
            ),
            biggan=BigGAN(training=Training(epochs=1, batch=512, average=0.1), generator_channels=8, discriminator_channels=8),
            evaluation=Evaluation(samples=64, sampler_steps=2, inception=False, witness=False, pairs=2, frames=5),
        ),
        # Minutes on two CPU cores, on the embedded digits.
        Profile(
            name="demo",
            dataset="digits",
            hybrid=Hybrid(
                representation=Representation(
                    training=Training(epochs=6, batch=128, optimiser="muon", lr=3e-3, weight_decay=1.0),
                    autoencoder=Autoencoder(widths=(32, 64, 128), cells=(1, 1, 1), decoder_width=32, decoder_cells=2),
                    contrast=Contrast(queue=2048, hidden=256, dim=64),
                    # A digit is neither its colour nor its mirror image, and a fifth of it is no digit any more.
                    augmentation=Augmentation(crop=0.5, flip=0.0, jitter=1.0, saturation=0.8, hue=0.5, grey=0.3, size=24),
                    alpha=1e-4,
                    noise=0.3,
                ),
                prior=Diffusion(
                    training=Training(epochs=5, batch=128, optimiser="muon", lr=5e-3, average=0.1),
                    channels=48,
                    predict="v",
                    flip=0.0,
                    patch=2,
                ),
            ),
            plus=Plus(
                y=Semantic(training=Training(epochs=10, batch=128, lr=2e-3, average=0.1), components=32, width=128, flip=0.0),
                w=Texture(
                    training=Training(epochs=4, batch=128, optimiser="muon", lr=5e-3, average=0.1),
                    channels=24,
                    multipliers=(1, 2, 2),
                    predict="v",
                    flip=0.0,
                    components=32,
                    guidance=2.0,
                ),
            ),
            nvae=NVAE(
                training=Training(epochs=4, batch=64, lr=3e-3), channels=32, groups=(1, 1, 1, 1), kl_warmup=0.6, flip=0.0
            ),
            ddim=Diffusion(
                training=Training(epochs=4, batch=128, optimiser="muon", lr=5e-3, average=0.1),
                channels=48,
                attention=(),
                predict="v",
                flip=0.0,
                patch=4,
                encoding_steps=5,
                ode_steps=20,
                error_images=256,
            ),
            biggan=BigGAN(
                training=Training(epochs=3, batch=32, lr=1e-3, betas=(0.0, 0.999), weight_decay=0.0, clip=100.0, average=0.1),
                noise=64,
                generator_channels=24,
                discriminator_channels=24,
                diffaugment=0.0,
                flip=0.0,
            ),
            evaluation=Evaluation(samples=512, eta=1.0, sampler_steps=25, inception=False),
        ),
        # Hours on two CPU cores, on CIFAR-10.
        Profile(
            name="laptop",
            dataset="cifar10",
            hybrid=Hybrid(
                representation=Representation(
                    training=Training(epochs=72, optimiser="muon", lr=3e-3, weight_decay=0.2),
                    autoencoder=Autoencoder(
                        widths=(32, 128, 256), cells=(1, 2, 1), w_cells=1, decoder_width=48, decoder_cells=2
                    ),
                    augmentation=Augmentation(crop=0.3, size=24),
                    decode_every=2,
                    noise=0.3,
                ),
                prior=Diffusion(
                    training=Training(epochs=15, batch=256, optimiser="muon", lr=4e-3, ema=0.999),
                    multipliers=(1, 2, 2),
                    predict="v",
                    unshuffle=True,
                ),
            ),
            plus=Plus(
                y=Semantic(training=Training(epochs=60, lr=1e-3, ema=0.999), width=256),
                w=Texture(
                    training=Training(epochs=13, batch=256, optimiser="muon", lr=4e-3, ema=0.999),
                    multipliers=(1, 2, 2),
                    predict="v",
                    guidance=2.0,
                ),
            ),
            nvae=NVAE(training=Training(epochs=20, ema=0.999)),
            ddim=Diffusion(
                training=Training(epochs=15, batch=128, optimiser="muon", lr=3e-3, ema=0.999),
                predict="v",
                patch=2,
                encoding_steps=10,
                ode_steps=20,
            ),
            biggan=BigGAN(
                training=Training(epochs=20, batch=64, lr=2e-4, betas=(0.0, 0.999), weight_decay=0.0, clip=100.0, ema=0.999),
                generator_channels=48,
                discriminator_channels=48,
            ),
            evaluation=Evaluation(samples=10_000, sampler_steps=50),
        ),
        # Minutes on a GPU: the laptop's recipe with wider networks and larger batches.
        Profile(
            name="gpu",
            dataset="cifar10",
            hybrid=Hybrid(
                representation=Representation(
                    training=Training(epochs=60, batch=512, optimiser="muon", lr=4e-3, weight_decay=0.2),
                    autoencoder=Autoencoder(widths=(96, 160, 256), cells=(3, 3, 2), decoder_width=96, decoder_cells=4),
                    augmentation=Augmentation(crop=0.3, size=24),
                    noise=0.3,
                ),
                prior=Diffusion(
                    training=Training(epochs=25, batch=512, optimiser="muon", lr=3e-3, average=0.1),
                    channels=64,
                    predict="v",
                ),
            ),
            plus=Plus(
                y=Semantic(training=Training(epochs=60, batch=512, average=0.1)),
                w=Texture(
                    training=Training(epochs=60, batch=256, optimiser="muon", lr=3e-3, average=0.1),
                    channels=64,
                    multipliers=(1, 2, 2),
                    predict="v",
                ),
            ),
            nvae=NVAE(training=Training(epochs=60, average=0.1), channels=64),
            ddim=Diffusion(
                training=Training(epochs=60, batch=128, optimiser="muon", lr=3e-3, average=0.1),
                channels=96,
                multipliers=(1, 2, 2),
                attention=(16,),
                predict="v",
            ),
            biggan=BigGAN(
                training=Training(epochs=100, batch=64, lr=2e-4, betas=(0.0, 0.999), weight_decay=0.0, clip=100.0, average=0.1),
            ),
            evaluation=Evaluation(samples=10_000, sampler_steps=50),
        ),
        # One GPU, the paper's sizes. Where it leaves settings open: MoCo's for CIFAR, NVAE's cells, DDPM's and DDIM's net.
        Profile(
            name="paper",
            dataset="cifar10",
            hybrid=Hybrid(
                representation=Representation(
                    training=Training(epochs=1000, batch=512),
                    autoencoder=Autoencoder(
                        widths=(256, 384, 512), cells=(4, 4, 4), decoder_width=256, decoder_cells=8, expansion=6, kernel=5
                    ),
                    contrast=Contrast(hidden=2048),
                ),
                prior=Diffusion(
                    training=Training(epochs=1000, batch=128, lr=2e-4, weight_decay=0.0, ema=0.9999),
                    channels=128,
                    multipliers=(1, 2, 2, 2),
                    blocks=2,
                    attention=(16,),
                    dropout=0.1,
                ),
            ),
            plus=Plus(
                y=Semantic(training=Training(epochs=1000, ema=0.9999), width=1536, blocks=8, dropout=0.1),
                w=Texture(
                    training=Training(epochs=1000, batch=128, lr=2e-4, weight_decay=0.0, ema=0.9999),
                    channels=128,
                    multipliers=(1, 2, 2),
                    blocks=2,
                    attention=(16,),
                    dropout=0.1,
                ),
            ),
            # A quarter of NVAE's groups for CIFAR-10.
            nvae=NVAE(
                training=Training(epochs=400, batch=128, lr=1e-3, ema=0.9999),
                channels=128,
                groups=(2, 2, 4),
                latents=20,
                cells=2,
                expansion=6,
                kernel=5,
            ),
            ddim=Diffusion(
                training=Training(epochs=2000, batch=128, lr=2e-4, weight_decay=0.0, ema=0.9999),
                channels=128,
                multipliers=(1, 2, 2, 2),
                blocks=2,
                attention=(16,),
                dropout=0.1,
            ),
            # BigGAN's widths, rate and four steps of D for CIFAR-10, each on 64 images instead of 50, in this loop's schedule.
            biggan=BigGAN(
                training=Training(epochs=500, batch=256, lr=2e-4, betas=(0.0, 0.999), weight_decay=0.0, clip=100.0, ema=0.9999),
                generator_channels=64,
                discriminator_channels=64,
                discriminator_steps=4,
            ),
            evaluation=Evaluation(),
        ),
    )
}


def profile(spec: str) -> Profile:
    """The profile that `spec` names: a name, then any number of `,path.to.field=value`.

    Raises HybridError, listing the right ones, for an unknown profile, field or value.
    """
    name, *changes = spec.split(",")
    if name not in PROFILES:
        raise HybridError(f"profile {name!r} is unknown: choose one of {', '.join(PROFILES)}")
    result = PROFILES[name]
    for change in changes:
        path, separator, text = change.partition("=")
        if not separator:
            raise HybridError(f"{change!r} changes nothing in profile {name!r}: write it as field=value")
        result = _changed(result, path.split("."), text, path)
    if len(spec.encode()) > 255:
        raise HybridError(
            f"profile {spec!r} is too long for a folder's name: change fewer fields, or add a profile to {__name__}"
        )
    return replace(result, name=spec)


def _changed(node, path: list[str], text: str, whole: str):
    names = [f.name for f in fields(node) if f.name not in ("name", "dataset")]
    if path[0] not in names:
        raise HybridError(f"{whole!r} is no field of a profile: at {path[0]!r} choose one of {', '.join(names)}")
    old = getattr(node, path[0])
    if is_dataclass(old):
        if len(path) == 1:
            raise HybridError(f"{whole!r} is a group, not a value: go on with one of {', '.join(f.name for f in fields(old))}")
        return replace(node, **{path[0]: _changed(old, path[1:], text, whole)})
    if len(path) > 1:
        raise HybridError(f"{whole!r} goes on after {path[0]!r}, which is a value")
    return replace(node, **{path[0]: _parsed(text, get_type_hints(type(node))[path[0]], old, whole)})


def _parsed(text: str, kind, old, whole: str):
    optional = type(None) in get_args(kind)
    if optional:
        if text.lower() == "none":
            return None
        kind = next(part for part in get_args(kind) if part is not type(None))
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if get_origin(kind) is tuple:
            element, *others = get_args(kind)
            values = tuple(element(part) for part in text.split("-") if text)
            if others != [...] and len(values) != len(old):
                raise ValueError
            return values
        return kind(text)
    except (KeyError, ValueError):
        joined = get_origin(kind) is tuple
        count = "" if not joined or get_args(kind)[-1] is ... else f"{len(old)} "
        expected = f"{count}numbers joined by '-'" if joined else kind.__name__ + " or none" * optional
        example = "" if old is None else f", as in {whole}={'-'.join(map(str, old)) if joined else old}"
        raise HybridError(f"{whole}={text!r}: expected {expected}{example}") from None
