"""Diffusion trained as in DDPM and sampled as in DDIM (Song, Meng & Ermon 2020); equation numbers are DDIM's.

Time t runs from 0 (data) to T (noise); nets are trained on 1..T. `alpha` is DDIM's: the product that DDPM writes with a bar;
alpha_0 = 1. The caller sets evaluation mode, and autocast for nets that predict v. Nets that predict the noise, and all nets
along the ODE, run in float32, because an error in the noise becomes 1 / sqrt(alpha) times as large in x_0 (158 at t = T). The
state x_t is always float32.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybrid.errors import HybridError
from hybrid.machine.precision import float32
from hybrid.models.base import stream

Net = Callable[[Tensor, Tensor], Tensor]  # x (N, C, H, W), t (N,) -> what `predict` names, of x's shape


class Diffusion(nn.Module):
    """A diffusion with T = `steps` steps and linearly rising betas; the defaults are those of DDPM and DDIM.

    `predict` says what nets predict: "noise", or "v" = sqrt(alpha) noise - sqrt(1 - alpha) x_0 (Salimans & Ho 2022). Then
    noise = sqrt(1 - alpha) x_t + sqrt(alpha) v. For white Gaussian data v = 0 is the best prediction.

    Raises HybridError unless steps >= 1 and 0 < beta_min <= beta_max < 1, and for any other `predict`.
    """

    # (T + 1,), float64 because 1 - alpha loses four digits in float32 near t = 1; on the CPU because MPS has no float64
    alpha: Tensor
    scale: Tensor  # sqrt(alpha), float32 on the device
    spread: Tensor  # sqrt(1 - alpha), likewise

    def __init__(self, steps: int = 1000, beta_min: float = 1e-4, beta_max: float = 0.02, predict: str = "noise"):
        super().__init__()
        if predict not in ("noise", "v"):
            raise HybridError(f"predict is {predict!r}; give noise or v")
        self.predict = predict
        if steps < 1 or not 0 < beta_min <= beta_max < 1:
            raise HybridError(
                f"steps {steps}, betas {beta_min} to {beta_max}: give steps >= 1 and 0 < beta_min <= beta_max < 1"
            )
        self.steps = steps
        beta = torch.linspace(beta_min, beta_max, steps, dtype=torch.float64)
        self.alpha = F.pad((1 - beta).cumprod(0), (1, 0), value=1.0)
        self.register_buffer("scale", self.alpha.sqrt().float(), persistent=False)
        self.register_buffer("spread", (1 - self.alpha).sqrt().float(), persistent=False)

    def add_noise(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Return x_t from q(x_t | x_0), equation (4): x0 and noise (N, C, H, W), t (N,) int64 in 0..T -> (N, C, H, W)."""
        scale, spread = self.scales(t)
        return scale.to(x0.dtype) * x0 + spread.to(x0.dtype) * noise

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return sqrt(alpha_t) and sqrt(1 - alpha_t) at t (N,): float32 (N, 1, 1, 1) each."""
        return self.scale[t][:, None, None, None], self.spread[t][:, None, None, None]

    def loss(self, net: Net, x0: Tensor) -> Tensor:
        """Return the squared error of the prediction per dimension: x0 (N, C, H, W) -> scalar.

        This is equation (5) with gamma = 1 for the noise and 1 / alpha_t for v. Each image has its own t, uniform in 1..T.
        """
        t = self.draw_times(x0)
        x, target = self.noised(x0, t)
        return F.mse_loss(net(x, t).to(x0.dtype), target)

    def draw_times(self, x0: Tensor) -> Tensor:
        """Draw a time for each example of x0 (N, ...), uniform in 1..T: int64 (N,)."""
        return torch.randint(1, self.steps + 1, (len(x0),), device=x0.device)

    def noised(self, x0: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return x_t with fresh noise, and the target for the net: x0 (N, C, H, W), t (N,) -> two tensors of x0's shape."""
        # In x0's memory layout (randn_like) a CPU would draw ten times slower.
        noise = torch.randn(x0.shape, dtype=x0.dtype, device=x0.device)
        if self.predict == "noise":
            return self.add_noise(x0, t, noise), noise
        scale, spread = self.scales(t)
        target = scale.to(x0.dtype) * noise - spread.to(x0.dtype) * x0
        return self.add_noise(x0, t, noise), target

    def gaussian_loss(self, variances: Tensor) -> float:
        """Return the loss of the best predictor of Gaussian data with these variances of its principal components (D,).

        Given x_t, v has the variance lambda / (alpha lambda + 1 - alpha) in each component, and the noise alpha times that.
        """
        alpha = self.alpha[1:, None]
        variances = variances.cpu().double()
        left = variances / (alpha * variances + 1 - alpha)
        return (left if self.predict == "v" else alpha * left).mean().item()

    def timesteps(self, steps: int) -> Tensor:
        """Return the evenly spaced times tau of section 4.2: int64 (steps,) on the CPU, from 1 up to T; only T for one step.

        Raises HybridError unless 1 <= steps <= T.
        """
        if not 1 <= steps <= self.steps:
            raise HybridError(f"{steps} sampling steps; this diffusion has {self.steps}, give 1 to {self.steps}")
        return torch.linspace(self.steps, 1, steps, dtype=torch.float64).round().long().flip(0)

    @torch.no_grad()
    def sample(self, net: Net, noise: Tensor, steps: int, eta: float = 0.0, clip: float | None = None, seed: int = 0) -> Tensor:
        """Sample x_0 from x_T = `noise` by equation (12): (N, C, H, W) -> the same shape, float32.

        eta: 0 is DDIM, a deterministic map; 1 is DDPM. clip: bound on the absolute value of each prediction of x_0.
        seed: of the noise added when eta > 0; use a different one for each batch.

        Raises HybridError if eta is outside [0, 1] or steps outside 1..T.
        """
        if not 0 <= eta <= 1:
            raise HybridError(f"eta is {eta}; give a value from 0 (DDIM) to 1 (DDPM)")
        times = F.pad(self.timesteps(steps), (1, 0)).flip(0)  # (steps + 1,): T, ..., 1, 0
        alpha, alpha_next = self.alpha[times[:-1]], self.alpha[times[1:]]
        sigma = eta * ((1 - alpha_next) / (1 - alpha) * (1 - alpha / alpha_next)).sqrt()  # equation (16)
        # Not the plain seed: callers may have drawn `noise` from it, and the first draw here would repeat it.
        generator = torch.Generator(noise.device).manual_seed(stream(seed, "eta")) if eta > 0 else None
        with float32(noise.device) if self.predict == "noise" else nullcontext():
            return self._walk(net, noise, times, sigma, clip, generator)

    @torch.no_grad()
    def encode(self, net: Net, x0: Tensor, steps: int) -> Tensor:
        """Compute x_T from x_0 (N, C, H, W) by the ODE of equations (13) and (14), from 0 to T: the same shape, float32.

        `decode` with the same number of steps returns to x_0; more steps make the error smaller.
        """
        times = F.pad(self.timesteps(steps), (1, 0))  # (steps + 1,): 0, 1, ..., T
        with float32(x0.device):
            return self._walk(net, x0, times, self.alpha.new_zeros(steps), None, None)

    def decode(self, net: Net, noise: Tensor, steps: int) -> Tensor:
        """Compute x_0 from x_T by the same ODE, from T to 0: `sample` with eta = 0."""
        with float32(noise.device):
            return self.sample(net, noise, steps)

    def _walk(
        self, net: Net, x: Tensor, times: Tensor, sigma: Tensor, clip: float | None, generator: torch.Generator | None
    ) -> Tensor:
        """Follow equation (12) along times (steps + 1,); with a generator, add noise of deviation sigma (steps,)."""
        alpha, alpha_next = self.alpha[times[:-1]], self.alpha[times[1:]]
        spread_next = (1 - alpha_next - sigma**2).clamp_min(0).sqrt()  # rounding may make it negative
        # Encoding starts at t = 0, but nets are trained from t = 1.
        net_times = times[:-1].clamp_min(1)
        # noise = share * x_t + factor * the net's prediction
        v = self.predict == "v"
        share = (1 - self.alpha[net_times]).sqrt() * v
        factor = self.alpha[net_times].sqrt() if v else torch.ones_like(share)
        # All coefficients go to the device in one copy, so no step waits for the host.
        table = [alpha.sqrt(), (1 - alpha).sqrt(), alpha_next.sqrt(), spread_next, sigma, share, factor]
        table = torch.stack(table, dim=1).float().to(x.device)
        net_times = net_times.to(x.device)[:, None].expand(-1, len(x))  # (steps, N)
        x = x.float()
        for t, (scale, spread, scale_next, spread_next, extra, share, factor) in zip(net_times, table, strict=True):
            noise = share * x + factor * net(x, t).float()
            x0 = (x - spread * noise) / scale
            if clip is not None:
                x0 = x0.clamp(-clip, clip)
                noise = (x - scale * x0) / spread  # the noise that fits the clipped x_0, as in DDPM's posterior mean
            x = scale_next * x0 + spread_next * noise
            if generator is not None:
                x = x + extra * torch.randn(x.shape, generator=generator, device=x.device)
        return x
