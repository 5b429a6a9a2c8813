"""The diffusion against diffusers' schedulers, and on Gaussian data with known answers."""

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler
from torch import Tensor

from hybrid.errors import HybridError
from hybrid.models.base import stream
from hybrid.models.diffusion import Diffusion, Net

MEAN, STD = 0.7, 0.4  # of the Gaussian data

# 10 evenly spaced steps from 1 to 1000 lie 111 apart. diffusers takes the distance for 1000 // num_inference_steps.
STEPS, DIFFUSERS_STEPS = 10, 9


def curved_net(x: Tensor, t: Tensor) -> Tensor:
    """Any net will do to compare samplers; this one depends on x and t and mixes neighbouring pixels."""
    return torch.tanh(x + 0.5 * x.roll(1, -1) - t[:, None, None, None] / 700)


def gaussian_net(diffusion: Diffusion) -> Net:
    """The best possible net for data from N(MEAN, STD^2): E[noise | x_t]."""

    def net(x: Tensor, t: Tensor) -> Tensor:
        alpha = diffusion.alpha[t][:, None, None, None]
        return ((1 - alpha).sqrt() * (x - alpha.sqrt() * MEAN) / (alpha * STD**2 + 1 - alpha)).float()

    return net


def gaussian_map(diffusion: Diffusion, noise: Tensor) -> Tensor:
    """Where that net's ODE takes x_T, exactly: a flow that keeps every marginal Gaussian is affine."""
    alpha = diffusion.alpha[-1]
    return MEAN + STD * (noise - alpha.sqrt() * MEAN) / (alpha * STD**2 + 1 - alpha).sqrt()


def pixels(n: int = 8) -> Tensor:
    """Standard Gaussian images."""
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def scheduler(kind: type, **options) -> DDIMScheduler | DDIMInverseScheduler:
    """One of diffusers' with our betas and alpha_0 = 1."""
    made = kind(beta_schedule="linear", beta_start=1e-4, beta_end=0.02, set_alpha_to_one=True, **options)
    made.num_inference_steps = DIFFUSERS_STEPS
    return made


def test_marginals_match_diffusers():
    x0, noise = pixels(16).chunk(2)
    t = torch.tensor([1, 2, 10, 100, 500, 900, 999, 1000])
    expected = scheduler(DDIMScheduler).add_noise(x0, noise, t - 1)
    torch.testing.assert_close(Diffusion().add_noise(x0, t, noise), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(Diffusion().add_noise(x0, torch.zeros_like(t), noise), x0, rtol=0, atol=0)


@pytest.mark.parametrize("steps", [2, 10, 50, 334, 1000])
def test_timesteps_match_diffusers_linspace(steps):
    spaced = DDIMScheduler(timestep_spacing="linspace")
    spaced.set_timesteps(steps)
    tau = Diffusion().timesteps(steps)
    assert tau.tolist() == (spaced.timesteps.flip(0) + 1).tolist()
    assert tau[0] == 1 and tau[-1] == 1000 and len(tau.unique()) == steps


def test_one_timestep_is_the_last():
    assert Diffusion(steps=20).timesteps(1).tolist() == [20]


@pytest.mark.parametrize("clip", [None, 0.8])
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_sample_matches_diffusers(eta, clip):
    diffusion, x = Diffusion(), pixels()
    ours = diffusion.sample(curved_net, x, STEPS, eta, clip, seed=3)

    theirs = scheduler(DDIMScheduler, clip_sample=clip is not None, clip_sample_range=clip or 1.0)
    generator = torch.Generator().manual_seed(stream(3, "eta"))
    for t in range(1000, 0, -111):
        noise = curved_net(x, torch.full((len(x),), t))
        x = theirs.step(noise, t - 1, x, eta, use_clipped_model_output=True, generator=generator).prev_sample
    torch.testing.assert_close(ours, x, rtol=1e-3, atol=1e-3)


def test_encode_matches_diffusers():
    diffusion, x = Diffusion(), pixels()
    ours = diffusion.encode(curved_net, x, STEPS)

    theirs = scheduler(DDIMInverseScheduler, clip_sample=False)
    for t in range(1, 1001, 111):
        noise = curved_net(x, torch.full((len(x),), max(t - 111, 1)))
        x = theirs.step(noise, t - 1, x).prev_sample
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4)


def test_decode_tends_to_the_exact_map():
    diffusion, noise = Diffusion(), pixels()
    exact = gaussian_map(diffusion, noise.double())
    errors = [(diffusion.decode(gaussian_net(diffusion), noise, s) - exact).abs().max() for s in (10, 50, 200, 1000)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 8 * errors[3]
    assert errors[-1] < 0.01


def test_encode_tends_to_the_inverse_of_the_exact_map():
    diffusion, noise = Diffusion(), pixels()
    x0 = gaussian_map(diffusion, noise.double()).float()
    errors = [(diffusion.encode(gaussian_net(diffusion), x0, s) - noise).abs().max() for s in (10, 50, 200, 1000)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 8 * errors[3]
    assert errors[-1] < 0.02


def test_reconstruction_error_falls_with_steps():
    diffusion = Diffusion()
    net, x0 = gaussian_net(diffusion), MEAN + STD * pixels()
    errors = {}
    for steps in (10, 50, 100, 500):
        errors[steps] = (diffusion.decode(net, diffusion.encode(net, x0, steps), steps) - x0).square().mean()
    assert errors[10] > 4 * errors[50] > 8 * errors[100]
    # Euler's method is of first order, so ten times the steps leave a hundredth of the squared error.
    assert errors[50].item() == pytest.approx(100 * errors[500].item(), rel=0.2)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_samples_have_the_mean_and_deviation_of_the_data(eta):
    diffusion = Diffusion()
    noise = torch.randn(100, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    samples = diffusion.sample(gaussian_net(diffusion), noise, 500, eta)
    # 19,200 draws: standard errors of 0.003 and 0.002
    assert samples.mean().item() == pytest.approx(MEAN, abs=0.012)
    assert samples.std().item() == pytest.approx(STD, abs=0.01)


def test_ddims_steps_shrink_white_gaussian_data_and_the_second_order_does_not():
    diffusion, noise = Diffusion(predict="v"), pixels()

    def best(x: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(x)

    ddim, second = (diffusion.sample(best, noise, 50, order=order) for order in (1, 2))
    angles = torch.cat([torch.zeros(1, dtype=torch.int64), diffusion.timesteps(50)])
    shrunk = diffusion.alpha[angles].sqrt().acos().diff().cos().prod().item()
    torch.testing.assert_close(ddim, shrunk * noise, rtol=1e-4, atol=1e-4)
    assert shrunk == pytest.approx(0.963, abs=1e-3)
    torch.testing.assert_close(second, noise)


@pytest.mark.parametrize("clip", [None, 8.0])
@pytest.mark.parametrize("predict", ["noise", "v"])
def test_the_second_orders_error_falls_with_the_square_of_the_steps(predict, clip):
    diffusion, noise = Diffusion(predict=predict), pixels()
    exact = gaussian_map(diffusion, noise)

    def net(x: Tensor, t: Tensor) -> Tensor:
        found, scale, spread = gaussian_net(diffusion)(x, t), *diffusion.scales(t)
        return found if predict == "noise" else scale * found - spread * (x - spread * found) / scale

    def error(steps: int, order: int) -> float:
        return (diffusion.sample(net, noise, steps, clip=clip, order=order) - exact).abs().mean().item()

    assert error(25, 2) / error(50, 2) == pytest.approx(4, rel=0.2)
    assert error(50, 1) / error(100, 1) == pytest.approx(2, rel=0.1)
    assert error(25, 2) < 0.3 * error(100, 1)


@pytest.mark.parametrize("steps", [1, 2, 10, 50, 300, 1000])
def test_times_with_angles_evenly_apart(steps):
    diffusion = Diffusion()
    times = diffusion.angles_apart(steps)
    assert times[-1] == 1000 and (steps == 1 or times[0] == 1)
    assert len(times) == steps if steps <= 50 else steps / 2 < len(times) <= steps
    assert (times.diff() > 0).all()
    if 2 < steps <= 50:
        turns = diffusion.angle[times].diff()
        assert turns.max() < 1.2 * turns.min()


@pytest.mark.parametrize(("order", "eta"), [(0, 0.0), (3, 0.0), (2, 0.5)])
def test_another_order_is_refused(order, eta):
    with pytest.raises(HybridError, match=f"order is {order} with eta {eta:g}; give 1, or 2 with eta 0"):
        Diffusion().sample(curved_net, pixels(), 5, eta, order=order)


def test_noise_added_is_not_what_was_started_from():
    """Callers draw x_T under the same seed. Of data from N(0, 1) every state is from N(0, 1); not if noise comes twice."""
    diffusion, seen = Diffusion(), []

    def net(x: Tensor, t: Tensor) -> Tensor:
        seen.append(x.std().item())
        return ((1 - diffusion.alpha[t]).sqrt()[:, None, None, None] * x).float()

    noise = torch.randn(100, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    diffusion.sample(net, noise, 100, eta=1.0, seed=0)
    assert seen[:50] == pytest.approx([1] * 50, abs=0.03)


def test_loss_of_a_net_that_predicts_nothing_is_one():
    torch.manual_seed(0)
    loss = Diffusion().loss(lambda x, t: torch.zeros_like(x), torch.randn(256, 3, 16, 16))
    assert loss.item() == pytest.approx(1, abs=0.02)  # four standard errors: sqrt(2 / 196,608) = 0.0032


def test_loss_of_the_best_net_is_the_posterior_variance():
    torch.manual_seed(0)
    diffusion = Diffusion()
    loss = diffusion.loss(gaussian_net(diffusion), MEAN + STD * torch.randn(20000, 1, 4, 4))
    alpha = diffusion.alpha[1:]
    expected = (alpha * STD**2 / (alpha * STD**2 + 1 - alpha)).mean()  # Var[noise | x_t], over uniform t
    assert loss.item() == pytest.approx(expected.item(), rel=0.03)


def test_a_net_of_v_is_one_of_the_noise():
    """Made into each other, they walk the same way; for standard Gaussian data v is 0, and its loss is 1."""
    by_noise, by_v = Diffusion(), Diffusion(predict="v")
    net = gaussian_net(by_noise)

    def net_of_v(x: Tensor, t: Tensor) -> Tensor:
        alpha = by_v.alpha[t][:, None, None, None].float()
        return (net(x, t) - (1 - alpha).sqrt() * x) / alpha.sqrt()

    x = pixels()
    torch.testing.assert_close(by_v.sample(net_of_v, x, 20), by_noise.sample(net, x, 20), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(by_v.encode(net_of_v, x, 20), by_noise.encode(net, x, 20), rtol=1e-3, atol=1e-3)
    nothing = lambda x, t: torch.zeros_like(x)  # noqa: E731
    assert by_v.loss(nothing, pixels(500)).item() == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(by_v.sample(nothing, x, 1000), x, rtol=0, atol=0.02)
    with pytest.raises(HybridError, match="predict is 'x'; give noise or v"):
        Diffusion(predict="x")


@pytest.mark.parametrize("predict", ["noise", "v"])
def test_a_gaussians_loss_is_that_of_the_linear_predictor(predict):
    """Var[target | x_t] of one dimension, from the covariance of (target, x_t)."""
    diffusion, variance = Diffusion(predict=predict), 0.3
    a = diffusion.alpha[1:]
    of_x0, of_noise = (torch.zeros_like(a), torch.ones_like(a)) if predict == "noise" else (-(1 - a).sqrt(), a.sqrt())
    total = of_x0**2 * variance + of_noise**2
    shared = of_x0 * a.sqrt() * variance + of_noise * (1 - a).sqrt()
    expected = (total - shared**2 / (a * variance + 1 - a)).mean().item()
    assert diffusion.gaussian_loss(torch.tensor([variance])) == pytest.approx(expected, rel=1e-6)


def test_the_target_of_v_gives_x_0_back():
    """x_0 = sqrt(alpha) x_t - sqrt(1 - alpha) v (Salimans & Ho 2022)."""
    diffusion, x0 = Diffusion(predict="v"), pixels()
    t = torch.linspace(1, diffusion.steps, len(x0)).long()
    x, v = diffusion.noised(x0, t)
    alpha = diffusion.alpha[t][:, None, None, None].float()
    torch.testing.assert_close(alpha.sqrt() * x - (1 - alpha).sqrt() * v, x0, rtol=1e-3, atol=1e-4)


def test_loss_draws_a_time_for_each_image():
    torch.manual_seed(0)
    seen = []

    def net(x: Tensor, t: Tensor) -> Tensor:
        seen.append(t)
        return torch.zeros_like(x)

    Diffusion(steps=4).loss(net, torch.zeros(4000, 1, 1, 1))
    counts = torch.bincount(seen[0], minlength=5)
    assert len(counts) == 5 and counts[0] == 0
    assert (counts[1:] - 1000).abs().max() < 140  # five standard deviations


def test_encoding_asks_only_for_times_that_training_saw():
    seen = []

    def net(x: Tensor, t: Tensor) -> Tensor:
        seen.append(t.tolist())
        return x

    Diffusion(steps=7).encode(net, pixels(2), 4)
    assert seen == [[1, 1], [1, 1], [3, 3], [5, 5]]


def test_state_stays_float32_and_outside_the_graph():
    weight = torch.ones((), requires_grad=True)
    types = []

    def net(x: Tensor, t: Tensor) -> Tensor:
        types.append(x.dtype)
        return (weight * x).bfloat16()

    x0 = Diffusion().sample(net, pixels().bfloat16(), 5, eta=0.5)
    assert set(types) == {torch.float32} and x0.dtype == torch.float32
    assert not x0.requires_grad
    (weight * x0).sum().backward()  # a tensor made in inference mode would refuse


def test_seed_decides_the_added_noise():
    diffusion, noise = Diffusion(), pixels()
    before = torch.get_rng_state()
    a, b, other = (diffusion.sample(curved_net, noise, 5, eta=1.0, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.allclose(a, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_step_reads_a_value_from_the_device():
    """On the meta device there are no values, and whatever would make a GPU wait raises."""
    diffusion, x = Diffusion().to("meta"), torch.empty(2, 3, 8, 8, device="meta")
    for result in (diffusion.sample(curved_net, x, 3, clip=1.0), diffusion.encode(curved_net, x, 3)):
        assert result.shape == x.shape and result.device.type == "meta"
    assert diffusion.loss(curved_net, x).shape == ()


@pytest.mark.parametrize("steps", [-1, 0, 1001])
def test_wrong_steps_are_told(steps):
    with pytest.raises(HybridError, match=f"^{steps} sampling steps"):
        Diffusion().sample(curved_net, pixels(), steps)
    with pytest.raises(HybridError, match=f"^{steps} sampling steps"):
        Diffusion().encode(curved_net, pixels(), steps)


@pytest.mark.parametrize("eta", [-0.1, 1.1, float("nan")])
def test_wrong_eta_is_told(eta):
    with pytest.raises(HybridError, match=f"eta is {eta}"):
        Diffusion().sample(curved_net, pixels(), 5, eta)


@pytest.mark.parametrize("arguments", [(0, 1e-4, 0.02), (10, 0.0, 0.02), (10, 0.02, 1e-4), (10, 1e-4, 1.0)])
def test_wrong_schedules_are_told(arguments):
    with pytest.raises(HybridError, match="betas"):
        Diffusion(*arguments)
