"""For one GPU: wider networks and larger batches than in `laptop`."""

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
    name="gpu",
    dataset="cifar10",
    hybrid=Hybrid(
        representation=Representation(
            training=Training(epochs=82, batch=512, optimiser="muon", lr=4e-3, weight_decay=0.15),
            autoencoder=Autoencoder(widths=(96, 160, 256), cells=(3, 3, 2), w_cells=1, decoder_width=96, decoder_cells=4),
            augmentation=Augmentation(crop=0.3, size=24),
            early_size=16,
            noise=0.3,
        ),
        prior=LatentDiffusion(
            training=Training(epochs=25, batch=512, optimiser="muon", lr=3e-3, average=0.1),
            channels=64,
            multipliers=(1, 2, 2),
            predict="v",
            unshuffle=True,
        ),
    ),
    plus=Plus(
        y=Semantic(training=Training(epochs=60, batch=512, average=0.1)),
        w=Texture(
            training=Training(epochs=60, batch=256, optimiser="muon", lr=3e-3, average=0.1),
            channels=64,
            multipliers=(1, 2, 2),
            predict="v",
            guidance=2.0,
        ),
    ),
    nvae=NVAE(training=Training(epochs=20, batch=64, optimiser="muon", lr=5e-3, average=0.1), channels=64),
    ddim=PixelDiffusion(
        training=Training(epochs=60, batch=128, optimiser="muon", lr=3e-3, average=0.1),
        channels=96,
        multipliers=(1, 2, 2),
        attention=(16,),
        predict="v",
        encoding_steps=10,
        ode_steps=20,
    ),
    biggan=BigGAN(
        training=Training(epochs=100, batch=64, lr=2e-4, betas=(0.0, 0.999), weight_decay=0.0, clip=100.0, average=0.1),
    ),
    evaluation=Evaluation(samples=10_000, sampler_steps=50),
)
