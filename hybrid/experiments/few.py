"""A profile for a data set that is too small for its batches or its mixture of Gaussians."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

from hybrid.errors import HybridError, counted, tell
from hybrid.machine import distributed
from hybrid.profiles.schema import Profile, Training

STEPS = 4  # steps per epoch for a data set that does not fill a batch
FEWEST = 2  # smallest number of images in a batch; batch norm needs two
EACH = 64  # smallest number of train images for each Gaussian of a mixture

Config = TypeVar("Config")


def clipped(config: Config, images: int) -> Config:
    """Return the config, a profile or a part of one, with batches, and a mixture of Gaussians, for this number of train images.

    A batch that is larger becomes a quarter of the train set, so that an epoch has `STEPS` steps. A mixture gets at most one
    Gaussian for `EACH` images. A line says what is changed. Raises HybridError if there are fewer than two images per process.
    """
    least = FEWEST * distributed.world()
    if images < least:
        raise HybridError(f"{counted(images, 'train image')}: expected {least} or more, {FEWEST} for each process")
    batch = max(images // STEPS, least)
    batch -= batch % distributed.world()
    made, cut = _clipped(config, images, batch)
    if cut:
        were = " or ".join(str(size) for size in sorted(cut))
        tell(f"a batch has {batch} images instead of {were}, because the train set has only {images}")
    return cast(Config, _with_fewer_gaussians(made, images)) if isinstance(made, Profile) else made


def _with_fewer_gaussians(profile: Profile, images: int) -> Profile:
    y, most = profile.plus.y, max(images // EACH, 1)
    if y.mixture is None or y.mixture <= most:
        return profile
    tell(f"the mixture for y has {counted(most, 'Gaussian')} instead of {y.mixture}, because the train set has only {images}")
    return replace(profile, plus=replace(profile.plus, y=replace(y, mixture=most)))


def _clipped(config: Any, images: int, batch: int) -> tuple[Any, set[int]]:
    """Return the config with smaller batches, and the sizes that were changed."""
    if isinstance(config, Training):
        return (replace(config, batch=batch), {config.batch}) if config.batch > images else (config, set())
    parts = {field.name: getattr(config, field.name) for field in fields(config)}
    made = {name: _clipped(part, images, batch) for name, part in parts.items() if is_dataclass(part)}
    cut: set[int] = set().union(*(sizes for _, sizes in made.values()))
    return (replace(config, **{name: part for name, (part, _) in made.items()}), cut) if cut else (config, cut)
