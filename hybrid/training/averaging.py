"""Averages of the weights during training. The averaged model is the one that is used."""

from __future__ import annotations

import numpy as np
from timm.utils import ModelEmaV3
from torch import nn

from hybrid.profiles.schema import Training


def average_of(module: nn.Module, config: Training) -> ModelEmaV3 | None:
    """Return the object that averages the weights of `module` as configured; None if the last weights are used."""
    if config.average is not None:
        return PowerAverage(module, config.average)
    return ModelEmaV3(module, decay=config.ema, use_warmup=True, warmup_power=0.75) if config.ema else None


class PowerAverage(ModelEmaV3):
    """The power-function average of EDM2 (Karras et al. 2024, section 3.1). Its window grows with the training.

    After t steps the weights of step s count in proportion to s^gamma. `width`, sigma_rel, is the standard deviation of this
    profile as a fraction of the training so far: with 0.1 the average covers about its last fifth.
    """

    def __init__(self, module: nn.Module, width: float):
        super().__init__(module)
        # sigma_rel^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)), a cubic in gamma with one root above -1.
        self.gamma = np.roots([1, 7, 16 - width**-2, 12 - width**-2]).real.max()

    def get_decay(self, step: int) -> float:  # type: ignore[override]
        """Return the fraction of the old average that update number `step` keeps, counted from 1."""
        return (1 - 1 / step) ** (self.gamma + 1)
