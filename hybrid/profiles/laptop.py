"""CIFAR-10 in ten hours (with AMX) to more than a day on two CPU cores."""

from hybrid.profiles.schema import (
    NVAE,
    Augmentation,
    Autoencoder,
    BigGAN,
    Evaluation,
    Hybrid,
    LatentDiffusion,
    PixelDiffusion,
    Plus,
    Profile,
    Representation,
    Semantic,
    Texture,
    Training,
)

PROFILE = Profile(
    name="laptop",
    dataset="cifar10",
    hybrid=Hybrid(
        representation=Representation(
            training=Training(epochs=99, optimiser="muon", lr=3e-3, weight_decay=0.15),
            autoencoder=Autoencoder(widths=(32, 128, 256), cells=(1, 2, 1), w_cells=1, decoder_width=48, decoder_cells=2),
            augmentation=Augmentation(crop=0.3, size=24),
            early_size=16,
            decode_every=2,
            noise=0.3,
        ),
        prior=LatentDiffusion(
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
    nvae=NVAE(training=Training(epochs=20, batch=64, optimiser="muon", lr=5e-3, ema=0.999)),
    ddim=PixelDiffusion(
        training=Training(epochs=15, batch=128, optimiser="muon", lr=3e-3, ema=0.999),
        predict="v",
        patch=2,
        encoding_steps=10,
        ode_steps=20,
    ),
    biggan=BigGAN(
        training=Training(epochs=63, batch=64, lr=2e-4, betas=(0.0, 0.999), weight_decay=0.0, clip=100.0, ema=0.999),
        generator_channels=48,
        discriminator_channels=48,
    ),
    evaluation=Evaluation(samples=10_000, sampler_steps=50),
)
