"""The machine's limit: the convolutions of a training step, run without anything else."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hybrid.benchmark.contenders import Setting, Workload, digits, representation, training_steps
from hybrid.machine.gradients import take_products
from hybrid.machine.precision import autocast
from hybrid.models.hybrid import Representation


@dataclass(frozen=True)
class Call:
    """A convolution or linear layer as a training step calls it. Calls that do the same work are equal."""

    layer: str  # its repr, which contains its sizes
    shape: tuple[int, ...]  # of the input: (N, C, H, W) or (N, ..., D)
    input_gradient: bool
    weight_gradient: bool
    module: nn.Conv2d | nn.Linear = field(compare=False, repr=False)

    @property
    def flops(self) -> int:
        """Operations forward and backward; a multiply-add counts as two. Each gradient costs as much as the output."""
        outputs = math.prod(self.shape[1:-1])
        if isinstance(self.module, nn.Conv2d):
            m, outputs = self.module, 1
            for side, pad, kernel, stride in zip(self.shape[2:], m.padding, m.kernel_size, m.stride, strict=True):
                outputs *= (side + 2 * pad - kernel) // stride + 1
        return 2 * self.shape[0] * outputs * self.module.weight.numel() * (1 + self.input_gradient + self.weight_gradient)


@contextmanager
def recorded(model: nn.Module) -> Iterator[Counter[Call]]:
    """Count each call of a convolution or linear layer of `model` inside this context."""
    found: Counter[Call] = Counter()

    def note(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        x, learns = arguments[0], torch.is_grad_enabled() and module.weight.requires_grad
        found[Call(repr(module), tuple(x.shape), x.requires_grad, learns, module)] += 1

    hooks = [m.register_forward_pre_hook(note) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def calls(model: Representation, images: Tensor) -> Counter[Call]:
    """Return the calls in one training step on images (N, 3, 32, 32) uint8: encoder, head, decoder, key network."""
    with recorded(model) as found, autocast(images.device):
        model.loss("model", images, torch.zeros(len(images), dtype=torch.int64, device=images.device))
    return found


def alone(found: Counter[Call], device: torch.device) -> Callable[[], None]:
    """Return a function that makes all these calls, forward and backward, one after the other, and nothing else.

    Inputs, weights and gradients already have autocast's type and channels_last, so no casts or copies are timed. Convolutions
    take the same ways as in the step.
    """
    with autocast(device):
        enabled = torch.is_autocast_enabled(device.type)
        dtype = torch.get_autocast_dtype(device.type) if enabled else torch.float32
    work = []
    for call, count in found.items():
        layer = copy.deepcopy(call.module).requires_grad_(call.weight_gradient)
        layer.to(device=device, dtype=dtype, memory_format=torch.channels_last)
        take_products([layer], device)
        layout = torch.channels_last if len(call.shape) == 4 else torch.contiguous_format
        x = torch.randn(call.shape, device=device, dtype=dtype).contiguous(memory_format=layout)
        x.requires_grad_(call.input_gradient)
        wanted = [x] * call.input_gradient + list(layer.parameters()) * call.weight_gradient
        with torch.no_grad(), autocast(device):
            work.append((count, layer, x, wanted, torch.randn_like(layer(x))))

    def turn() -> None:
        for count, layer, x, wanted, gradient in work:
            for _ in range(count):
                with autocast(device):
                    y = layer(x)
                if wanted:
                    torch.autograd.grad(y, wanted, gradient)

    return turn


@contextmanager
def roofline(setting: Setting) -> Iterator[Workload]:
    """The hybrid's training step, compared with its own convolutions.

    The ratio is the roofline share: the seconds for only the Conv2d and Linear calls of a step (query encoder, head and decoder
    forward and backward, key network forward; see `calls` and `alone`), divided by the seconds of the whole step with its
    augmentation, norms, losses, optimiser and momentum update. 1 would mean that nothing else takes any time.
    """
    model = representation(setting)
    batch, steps = model.config.training.batch, setting.counts.steps
    found = calls(model, digits()[:batch].to(setting.device))
    flops = sum(call.flops * count for call, count in found.items())
    convolutions = alone(found, setting.device)

    def peer() -> None:
        for _ in range(steps):
            convolutions()

    note = f"{steps} steps per turn, batch {batch}; the roofline share: {found.total()} calls, {flops / 1e9:.4g} GFLOP per step"
    yield Workload(training_steps(setting, model), peer, batch * steps, note)
