"""Minutes on two CPU cores: the whole pipeline runs on almost no data, and the numbers mean nothing. For tests."""

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
    name="smoke",
    dataset="digits",
    images=1024,
    hybrid=Hybrid(
        representation=Representation(
            training=Training(epochs=1, batch=512),
            autoencoder=Autoencoder(widths=(8, 8, 16), cells=(1, 1, 1), decoder_width=8, decoder_cells=1),
            contrast=Contrast(queue=512, hidden=32, dim=16),
        ),
        prior=LatentDiffusion(training=Training(epochs=1, batch=512, average=0.1), channels=8),
    ),
    plus=Plus(
        y=Semantic(training=Training(epochs=1, batch=512), width=16, blocks=1),
        w=Texture(training=Training(epochs=1, batch=512, average=0.1), channels=8, multipliers=(1, 1, 2)),
    ),
    nvae=NVAE(training=Training(epochs=1, batch=512), channels=8, groups=(1, 1), latents=2),
    ddim=PixelDiffusion(
        training=Training(epochs=1, batch=512),
        channels=8,
        attention=(),
        steps=100,
        patch=8,
        encoding_steps=2,
        ode_steps=2,
    ),
    biggan=BigGAN(training=Training(epochs=1, batch=512, average=0.1), generator_channels=8, discriminator_channels=8),
    evaluation=Evaluation(samples=64, sampler_steps=2, inception=False, witness=False, penalties=(1e-2,), pairs=2, frames=5),
)
