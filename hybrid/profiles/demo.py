"""Minutes on two CPU cores, on the embedded digits."""

from hybrid.profiles.schema import (
    NVAE,
    Augmentation,
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
    name="demo",
    dataset="digits",
    hybrid=Hybrid(
        representation=Representation(
            training=Training(epochs=7, batch=128, optimiser="muon", lr=3e-3, weight_decay=0.7),
            autoencoder=Autoencoder(widths=(32, 64, 128), cells=(1, 1, 1), decoder_width=32, decoder_cells=2),
            contrast=Contrast(queue=2048, hidden=256, dim=64),
            # The class of a digit depends on its orientation but not on colour, and a crop of a fifth does not show the digit.
            augmentation=Augmentation(crop=0.5, flip=0.0, jitter=1.0, saturation=0.8, hue=0.5, grey=0.3, size=24),
            early_size=16,
            alpha=1e-4,
            noise=0.3,
        ),
        prior=LatentDiffusion(
            training=Training(epochs=3, batch=128, optimiser="muon", lr=5e-3, average=0.1),
            channels=32,
            predict="v",
            flip=0.0,
            patch=2,
        ),
    ),
    plus=Plus(
        # In so few steps the network learns hardly more than the mixture that it starts from.
        y=Semantic(
            training=Training(epochs=1, batch=128, lr=2e-3, average=0.1), components=32, width=128, mixture=30, flip=0.0
        ),
        w=Texture(
            training=Training(epochs=6, batch=64, optimiser="muon", lr=4e-3, average=0.1),
            channels=32,
            patch=2,
            predict="v",
            flip=0.0,
            components=32,
            guidance=2.0,
        ),
    ),
    nvae=NVAE(
        training=Training(epochs=3, batch=64, optimiser="muon", lr=5e-3),
        channels=32,
        groups=(1, 1, 1, 1),
        kl_warmup=0.6,
        flip=0.0,
    ),
    ddim=PixelDiffusion(
        training=Training(epochs=3, batch=128, optimiser="muon", lr=5e-3, average=0.1),
        channels=48,
        attention=(),
        predict="v",
        flip=0.0,
        patch=4,
        encoding_steps=5,
        ode_steps=20,
        error_images=256,
        error_steps=(10, 20, 50),
    ),
    biggan=BigGAN(
        training=Training(epochs=3, batch=32, lr=1e-3, betas=(0.0, 0.999), weight_decay=0.0, clip=100.0, average=0.1),
        noise=64,
        generator_channels=24,
        discriminator_channels=24,
        diffaugment=0.0,
        flip=0.0,
    ),
    evaluation=Evaluation(samples=512, sampler_steps=25, inception=False, witness=False),
)
