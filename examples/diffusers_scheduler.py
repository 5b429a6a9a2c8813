"""The latent DDIM of a run of your own under a scheduler of diffusers: pip install 'hybrid-mi[diffusers]'."""

import sys

from diffusers import DPMSolverMultistepScheduler

import hybrid
from hybrid.bridges import schedulers

model = hybrid.load(sys.argv[1])  # such as runs/demo/digits/hybrid/seed0, without a hybridplus beside it
images = schedulers.sample(model, schedulers.scheduler(model, DPMSolverMultistepScheduler), count=16, steps=20)
print(tuple(images.shape))  # (16, 3, 32, 32), in [0, 1]
