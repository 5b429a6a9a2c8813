"""The paper's sizes, for one GPU. Settings that the paper does not state are those of MoCo for CIFAR, NVAE and DDPM.

The probe of its NVAE's code, 23,680 numbers an image, needs memory for several matrices of 4.5 GB.
"""

from hybrid.profiles.schema import (
    NVAE,
    Autoencoder,
    BigGAN,
    Contrast,
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
        prior=LatentDiffusion(
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
    ddim=PixelDiffusion(
        training=Training(epochs=2000, batch=128, lr=2e-4, weight_decay=0.0, ema=0.9999),
        channels=128,
        multipliers=(1, 2, 2, 2),
        blocks=2,
        attention=(16,),
        dropout=0.1,
    ),
    # BigGAN's widths, learning rate and four steps of D for CIFAR-10. Each step has 64 images, not 50; the schedule is ours.
    biggan=BigGAN(
        training=Training(epochs=500, batch=256, lr=2e-4, betas=(0.0, 0.999), weight_decay=0.0, clip=100.0, ema=0.9999),
        generator_channels=64,
        discriminator_channels=64,
        discriminator_steps=4,
    ),
    evaluation=Evaluation(),
)
