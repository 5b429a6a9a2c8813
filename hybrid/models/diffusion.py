"""Diffusion trained as in DDPM and sampled as in DDIM (Song, Meng & Ermon 2020); equation numbers are DDIM's.

Time t runs from 0 (data) to T (noise); nets are trained on 1..T. `alpha` is DDIM's: the product that DDPM writes with a bar;
alpha_0 = 1. The caller sets evaluation mode, and autocast for nets that predict v. Nets that predict the noise, and all nets
along the ODE, run in float32, because an error in the noise becomes 1 / sqrt(alpha) times as large in x_0 (157 at t = T). The
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

    @property
    def angle(self) -> Tensor:
        """Return phi in [0, pi/2], with cos(phi) = sqrt(alpha): (T + 1,), float64 on the CPU."""
        return self.alpha.sqrt().acos()

    def angles_apart(self, steps: int) -> Tensor:
        """Return times from 1 up to T whose angles are about evenly spaced: int64 (steps,), or fewer if two would coincide."""
        angle = self.angle[self.timesteps(steps)[[0, -1]]]
        wanted = torch.linspace(*angle.tolist(), steps, dtype=torch.float64) if steps > 1 else angle[:1]
        above = torch.searchsorted(self.angle, wanted).clamp(1, self.steps)
        nearer = wanted - self.angle[above - 1] < self.angle[above] - wanted
        return (above - nearer.long()).clamp_min(1).unique()

    @torch.no_grad()
    def sample(
        self,
        net: Net,
        noise: Tensor,
        steps: int,
        eta: float = 0.0,
        clip: float | None = None,
        seed: int = 0,
        order: int = 1,
    ) -> Tensor:
        """Sample x_0 from x_T = `noise` by equation (12): (N, C, H, W) -> the same shape, float32.

        eta: 0 is DDIM, a deterministic map; 1 is DDPM. clip: bound on the absolute value of each prediction of x_0.
        seed: of the noise added when eta > 0; use a different one for each batch.

        order: 1 is DDIM. Its few steps give samples too little spread: for white Gaussian data, S steps multiply it by the
        product of the cosines of their angles, 0.96 for S = 50. 2, only with eta = 0, follows the same ODE with a much smaller
        error: in the angle phi, with cos(phi) = sqrt(alpha), it is dx/dphi = v (Salimans & Ho 2022, appendix D), and the
        method is Adams and Bashforth's with two steps.

        Raises HybridError if eta is outside [0, 1], steps outside 1..T, or order not 1 or 2, or 2 with another eta than 0.
        """
        if not 0 <= eta <= 1:
            raise HybridError(f"eta is {eta}; give a value from 0 (DDIM) to 1 (DDPM)")
        if order not in (1, 2) or (order == 2 and eta):
            raise HybridError(f"order is {order} with eta {eta:g}; give 1, or 2 with eta 0")
        with float32(noise.device) if self.predict == "noise" else nullcontext():
            if order == 2:
                return self._turn(net, noise, self._downwards(self.angles_apart(steps)), clip)
            times = self._downwards(self.timesteps(steps))
            alpha, alpha_next = self.alpha[times[:-1]], self.alpha[times[1:]]
            sigma = eta * ((1 - alpha_next) / (1 - alpha) * (1 - alpha / alpha_next)).sqrt()  # equation (16)
            # Not the plain seed: callers may have drawn `noise` from it, and the first draw here would repeat it.
            generator = torch.Generator(noise.device).manual_seed(stream(seed, "eta")) if eta > 0 else None
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
        """Compute x_0 from x_T by the same steps, from T to 0: `sample` with eta = 0 and order 1."""
        with float32(noise.device):
            return self._walk(net, noise, self._downwards(self.timesteps(steps)), self.alpha.new_zeros(steps), None, None)

    def _downwards(self, times: Tensor) -> Tensor:
        """times (steps,), rising -> (steps + 1,): from the last down to the first, then 0."""
        return F.pad(times, (1, 0)).flip(0)

    def _walk(
        self, net: Net, x: Tensor, times: Tensor, sigma: Tensor, clip: float | None, generator: torch.Generator | None
    ) -> Tensor:
        """Follow equation (12) along times (steps + 1,); with a generator, add noise of deviation sigma (steps,)."""
        alpha_next = self.alpha[times[1:]]
        spread_next = (1 - alpha_next - sigma**2).clamp_min(0).sqrt()  # rounding may make it negative
        table = torch.stack([alpha_next.sqrt(), spread_next, sigma], dim=1).float().to(x.device)
        estimate, x = self._estimates(net, times, x, clip), x.float()
        for i, (scale_next, spread_next, extra) in enumerate(table):
            x0, noise = estimate(x, i)
            x = scale_next * x0 + spread_next * noise
            if generator is not None:
                x = x + extra * torch.randn(x.shape, generator=generator, device=x.device)
        return x

    def _turn(self, net: Net, x: Tensor, times: Tensor, clip: float | None) -> Tensor:
        """Follow dx/dphi = v along times (steps + 1,) by Adams and Bashforth's two-step method; the first step is Euler's."""
        angle = self.angle[times]
        turns = angle.diff()
        ahead = F.pad(0.5 * turns[1:] / turns[:-1], (1, 0))  # by how much a step continues the last change of v
        table = torch.stack([angle[:-1].cos(), angle[:-1].sin(), turns, ahead], dim=1).float().to(x.device)
        estimate, x, before = self._estimates(net, times, x, clip), x.float(), None
        for i, (scale, spread, turn, further) in enumerate(table):
            x0, noise = estimate(x, i)
            v = scale * noise - spread * x0
            x, before = x + turn * (v if before is None else v + further * (v - before)), v
        return x

    def _estimates(
        self, net: Net, times: Tensor, x: Tensor, clip: float | None
    ) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
        """Return a function of x_t (the shape of `x`) and a place in times (steps + 1,), for the net's x_0 and noise there."""
        alpha = self.alpha[times[:-1]]
        # Encoding starts at t = 0, but nets are trained from t = 1.
        net_times = times[:-1].clamp_min(1)
        # noise = share * x_t + factor * the net's prediction
        v = self.predict == "v"
        share = (1 - self.alpha[net_times]).sqrt() * v
        factor = self.alpha[net_times].sqrt() if v else torch.ones_like(share)
        # The coefficients of all steps go to the device in one copy, so no step waits for the host.
        table = torch.stack([alpha.sqrt(), (1 - alpha).sqrt(), share, factor], dim=1).float().to(x.device)
        net_times = net_times.to(x.device)[:, None].expand(-1, len(x))  # (steps, N)

        def estimate(x: Tensor, i: int) -> tuple[Tensor, Tensor]:
            scale, spread, share, factor = table[i]
            noise = share * x + factor * net(x, net_times[i]).float()
            x0 = (x - spread * noise) / scale
            if clip is not None:
                x0 = x0.clamp(-clip, clip)
                noise = (x - scale * x0) / spread  # the noise that fits the clipped x_0, as in DDPM's posterior mean
            return x0, noise

        return estimate
