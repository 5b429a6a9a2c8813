"""Sample from the latent DDIM of your own run with a scheduler of diffusers.

First: pip install 'hybrid-mi[diffusers]', and hybrid train --methods hybrid, some minutes for `demo`.
"""

import sys

from diffusers import DPMSolverMultistepScheduler

import hybrid
from hybrid.bridges import schedulers

if len(sys.argv) != 2:
    sys.exit("usage: python examples/diffusers_scheduler.py runs/demo/digits/hybrid/seed0")
model = hybrid.load(sys.argv[1])
images = schedulers.sample(model, schedulers.scheduler(model, DPMSolverMultistepScheduler), count=16, steps=20)
print(tuple(images.shape))  # (16, 3, 32, 32), in [0, 1]
