"""Mutants: wrong lines, one at a time in a copy of the package, to see whether the tests of that module catch them.

    make test-mutants                                   # all of them; writes results/bench/mutants.json
    python tests/mutants.py --rest --minutes 10         # goes on where a run was cut: those that the report lacks
    python tests/mutants.py --only diffusion.py         # those whose file or words hold this; writes nothing

A mutant is caught if a test fails. `case` names the found fault (docs/explanation/trust.md) whose old behaviour it brings back.
Every mutant is a child of one process that has imported what all tests need, but nothing of the package.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
REPORT = "results/bench/mutants.json"
LIMIT = 300  # seconds after which tests of a mutant hang: it is caught
IMPORTED = """
torch torchvision timm timm.scheduler timm.utils numpy pandas scipy.stats scipy.linalg scipy.special sklearn.linear_model
sklearn.neighbors sklearn.datasets matplotlib.pyplot seaborn tyro jinja2 PIL.Image hypothesis pytest tabulate filelock
safetensors.torch diffusers
"""

# The tests of each module. A mutant may name others.
TESTS = {
    "objectives.py": "tests/test_objectives.py",
    "model.py": "tests/test_model.py tests/models/test_roles.py tests/showing/test_figures.py",
    "released.py": "tests/test_released.py -k flipped",
    "models/hybrid.py": "tests/models/test_roles.py tests/models/test_moco.py",
    "models/convolution.py": "tests/models/test_convolution.py",
    "models/moco.py": "tests/models/test_moco.py",
    "models/autoencoder.py": "tests/models/test_autoencoder.py tests/models/test_roles.py",
    "models/estimators.py": "tests/models/test_estimators.py",
    "models/diffusion.py": "tests/models/test_diffusion.py",
    "models/mixture.py": "tests/models/test_mixture.py",
    "models/latent_ddim.py": "tests/models/test_mixture.py tests/models/test_roles.py tests/judging/test_diagnose.py",
    "models/pixel_ddim.py": "tests/models/test_pixel_ddim.py",
    "models/nvae.py": "tests/models/test_nvae.py",
    "models/biggan.py": "tests/models/test_biggan.py",
    "models/batchnorm.py": "tests/models/test_moco.py",
    "training/averaging.py": "tests/training/test_loop.py -k average",
    "training/loop.py": "tests/training/test_loop.py",
    "training/optimisers.py": "tests/training/test_loop.py",
    "training/history.py": "tests/training/test_loop.py -k history",
    "training/checkpoint.py": "tests/training/test_checkpoint.py",
    "judging/evaluate.py": "tests/judging/test_evaluate.py",
    "judging/probe.py": "tests/judging/test_probe.py",
    "judging/frechet.py": "tests/judging/test_frechet.py",
    "judging/manifold.py": "tests/judging/test_manifold.py",
    "judging/knn.py": "tests/judging/test_knn.py",
    "judging/nearest.py": "tests/judging/test_nearest.py",
    "judging/given.py": "tests/judging/test_given.py",
    "judging/interpolations.py": "tests/showing/test_figures.py",
    "data/datasets.py": "tests/data/test_datasets.py",
    "data/identity.py": "tests/data/test_identity.py",
    "data/pictures.py": "tests/data/test_pictures.py",
    "data/pixels.py": "tests/data/test_pixels.py tests/showing/test_figures.py",
    "data/augment.py": "tests/data/test_augment.py",
    "experiments/experiment.py": "tests/experiments/test_store.py tests/experiments/test_keys.py tests/data/test_identity.py",
    "experiments/store.py": "tests/experiments/test_store.py",
    "experiments/table.py": "tests/experiments/test_table.py",
    "experiments/methods.py": "tests/experiments/test_methods.py tests/experiments/test_keys.py",
    "machine/files.py": "tests/machine/test_files.py",
    "machine/fingerprint.py": "tests/machine/test_fingerprint.py",
    "machine/distributed.py": "tests/machine/test_distributed.py -k two_processes_end",
    "profiles/checked.py": "tests/profiles/test_checked.py",
}


@dataclass(frozen=True)
class Mutant:
    file: str  # in hybrid/
    old: str  # stands in it once
    new: str
    what: str  # goes wrong, for readers
    tests: str = ""  # left out: TESTS
    case: int = 0  # of the found faults


def mutants() -> list[Mutant]:
    """All of them, in the order of the way through the package."""
    found: list[Mutant] = []

    def of(file: str, *changes: tuple) -> None:
        found.extend(Mutant(file, *change) for change in changes)

    # fmt: off
    of(
        "objectives.py",
        ("squares.shape[1] * (math.log(sigma)", "(math.log(sigma)", "the constant of log q(x|z) once, not for each dimension"),
        ("/ (2 * sigma**2)", "/ (2 * sigma)", "a deviation for a variance in log q(x|z)"),
        ("-squares.sum(1)", "-squares.mean(1)", "log q(x|z) per dimension, not in all"),
        ("log_likelihood.mean() + data_entropy", "log_likelihood.mean() - data_entropy", "the sign of h(X) in equation (2)"),
        ("math.log(scores.shape[1])", "math.log(scores.shape[1] - 1)", "log (m - 1) for log m in equation (3)"),
        ("math.log(scores.shape[1])", "math.log(scores.shape[0])", "log n for log m in equation (3)"),
        ("scores.gather(1, positive[:, None]).squeeze(1)", "scores.diagonal()", "the diagonal for one's own key"),
        ("(own - scores.logsumexp(1))", "(own - scores.logsumexp(1)).exp()", "a probability for its logarithm in equation (3)"),
        ("alpha * ba + (1 - alpha) * cpc", "(1 - alpha) * ba + alpha * cpc", "the weights of equation (4) swapped"),
        ("alpha * ba + (1 - alpha) * cpc", "alpha * ba + cpc", "1 - alpha left out of equation (4)"),
        ("2 * math.pi * math.e", "2 * math.pi", "a Gaussian's entropy without e"),
    )
    of(
        "models/hybrid.py",
        (
            "loss = -hybrid_bound(ba, cpc, self.config.alpha)",
            "loss = hybrid_bound(ba, cpc, self.config.alpha)",
            "sign of the loss",
        ),
        ("hybrid_bound(ba, cpc, self.config.alpha)", "hybrid_bound(cpc, ba, self.config.alpha)", "the two bounds swapped"),
        ("return -cpc, {", "return cpc, {", "sign of MoCo's loss"),
        ("seen = query_view[", "seen = key_view[", "another view is reconstructed than was encoded"),
        ("z[:, : self.channels]", "z[:, -self.channels :]", "the contrast sees w, not y"),
        ("LATENT_CHANNELS\n        self.side", "self.encoder.y_channels\n        self.side", "the contrast on z is one on y"),
        ("self.progress < self.early", "self.progress >= self.early", "late views are small, not early ones"),
        ("F.pixel_unshuffle(z[:, :y_channels], scale)", "z[:, :y_channels].repeat(1, scale**2, 1, 1)", "y interpolated at w's resolution"),
        ("augment(batch, views), augment(batch, views)", "(view := augment(batch, views)), view", "a key's view is the query's own"),
        ("noise * variance.sqrt()", "noise * variance", "a variance for a deviation in the code's noise", "tests/training/test_loop.py -k noise"),
        ("self.moco.momentum_update(self.query_network)", "pass", "the key network stands still"),
        ('"mse": 1e3 * mse', '"mse": mse', "the error's unit in the history"),
    )
    of(
        "models/moco.py",
        ("1 - self.config.momentum", "self.config.momentum", "momentum for 1 - momentum"),
        ("/ self.config.temperature", "* self.config.temperature", "the temperature multiplies"),
        (
            "i_cpc(queries @ self.queue.T, places)",
            "i_cpc(queries @ self.queue.T, (places + 1) % len(self.queue))",
            "the next key",
        ),
        ("F.normalize(queries.float(), dim=1)", "queries.float()", "queries of any length"),
        ("copy.deepcopy(query_network).requires_grad_(False)", "copy.deepcopy(query_network)", "keys with gradients"),
        ("self.pointer.add_(count)", "self.pointer.add_(count - 1)", "the queue's end one place too early"),
        ("parts = max(1, len(views) // self.config.key_batch)", "parts = 1", "keys normalised with their whole batch"),
    )
    of(
        "models/convolution.py",
        ("values(side + 2)).T[:, 1:-1]", "values(side + 2)).T[:, :-2]", "the map is shifted by a place"),
        ("self.weight.permute(2, 3, 1, 0)", "self.weight.permute(3, 2, 1, 0)", "the kernels are transposed"),
        ("if float32 and small", "if small", "products in bfloat16 too"),
    )
    of(
        "models/batchnorm.py",
        ("(variance + self.eps).rsqrt()", "(variance + self.eps)", "multiplied by the variance, not divided by the deviation"),
        ("reshape(self.parts, -1,", "reshape(1, -1,", "all parts normalised together"),
    )
    of(
        "models/autoencoder.py",
        ("[self.to_y(self.below(local)), self.to_w(w)]", "[self.to_w(w), self.to_y(self.below(local))]", "z = [w, y]"),
        ("0.5 + 0.5 * self.net(z)", "self.net(z)", "the decoder's images on [-1, 1]"),
        ("self.stem(2 * x - 1)", "self.stem(x)", "the encoder's images not centred"),
    )
    of(
        "models/estimators.py",
        ("z[:, : self.dim_y]", "z[:, -self.dim_y :]", "the critic sees w, not y"),
        ("1.0) - log_sigma.sum(1)", "1.0) + log_sigma.sum(1)", "sign of the log deviations"),
        ("return -cpc, {", "return cpc, {", "the critic's bound is made small"),
        ("batch[:, : self.dim_x], batch[:, self.dim_x :])", "batch[:, : self.dim_x], batch[:, self.dim_x :].detach().flip(0))",
         "pairs of others"),
    )
    of(
        "models/diffusion.py",
        ("scale.to(x0.dtype) * x0 + spread.to(x0.dtype) * noise", "spread.to(x0.dtype) * x0 + scale.to(x0.dtype) * noise",
         "signal and noise swapped in equation (4)"),
        ("torch.randint(1, self.steps + 1,", "torch.randint(1, self.steps,", "the last time is never trained"),
        ("torch.randint(1, self.steps + 1,", "torch.randint(0, self.steps + 1,", "time 0 is trained"),
        ("torch.linspace(self.steps, 1, steps", "torch.linspace(self.steps - 1, 1, steps", "sampling begins one step late"),
        ("(1 - beta).cumprod(0)", "(1 - beta)", "alpha without the product"),
        ("scale.to(x0.dtype) * noise - spread", "scale.to(x0.dtype) * noise + spread", "sign in v"),
        ("(1 - alpha / alpha_next)", "(1 - alpha)", "sigma of equation (16)"),
        ("noise = (x - scale * x0) / spread", "noise = noise", "the noise does not fit the clipped x_0"),
        ("(1 - alpha_next - sigma**2)", "(1 - alpha_next)", "more noise than equation (12) has"),
        ("(alpha * variances + 1 - alpha)", "(variances + 1 - alpha)", "a Gaussian's loss without alpha"),
        ("net_times = times[:-1].clamp_min(1)", "net_times = times[:-1]", "the net is asked for time 0"),
        ("0.5 * turns[1:] / turns[:-1]", "turns[1:] / turns[:-1]", "the second order continues v by a whole step"),
        ("v = scale * noise - spread * x0", "v = scale * noise + spread * x0", "sign in the v of the second order"),
        ('stream(seed, "eta")', "seed", "the noise that is added is the noise that one began with"),
    )
    of(
        "models/latent_ddim.py",
        ("torch.rand(len(y), device=y.device) < self.config.drop", "torch.rand(len(y), device=y.device) > self.config.drop", "y is hidden where it should be told"),
        ("eta, self.config.clip, seed, order)\n        return self.codes.join", "eta, None, seed, order)\n        return self.codes.join", "w is not clipped"),
        ("stream(seed, \"y\"), order)", "seed, order)", "y and w are sampled with the same noise", "tests/test_model.py"),
        ("share * loss_y + (1 - share) * loss_w", "(1 - share) * loss_y + share * loss_w", "the shares of y and w swapped"),
        ("w * self.w_std + self.w_mean", "w + self.w_mean", "w in the net's units, not in the encoder's"),
        ("self.config.guidance if guidance is None else guidance", "self.config.guidance", "the guidance asked for ignored"),
        ("(z[:, self.y_channels :] - self.w_mean) / self.w_std", "z[:, self.y_channels :] / self.w_std", "w not centred"),
        ("y @ self.y_basis / self.y_std", "y @ self.y_basis * self.y_std", "y's deviations twice, not taken away"),
        ("without + guidance * (with_y - without)", "with_y + guidance * (with_y - without)", "guidance one too large"),
        ("most = round(self.config.y_noise * self.diffusion.steps)", "most = 0", "the y that is told is never noisy"),
        ("return torch.cat([y, z[:, y.shape[1] :]], dim=1)", "return z", "the given y gives way to what is left of it"),
        ("x * self.std + self.mean", "x * self.std", "codes without their mean"),
        ("self.mixture.v(x.float().flatten(1), scale, spread)", "self.mixture.v(x.float().flatten(1), spread, scale)", "a mixture at the wrong time"),
    )
    of(
        "models/mixture.py",
        ("scale * spread * (1 - self.variances) / variances", "scale * spread * (1 - self.variances)", "each Gaussian's v without its variance"),
        ("- (shares * spread * self.means).sum(1)", "", "the means of the Gaussians left out"),
        ("self.weights.log() - ", "-", "all Gaussians are as likely"),
        ("(along.square() / variances + variances.log())", "(along.square() / variances)", "a density without its norm"),
        ("(self.bases, bases),", "(self.bases, bases.mT),", "principal components in rows"),
    )
    of(
        "models/pixel_ddim.py",
        ("2 * as_float(mirrored(batch, self.flip)) - 1", "as_float(mirrored(batch, self.flip))", "trained on [0, 1], sampled on [-1, 1]"),
        ("self.encode(images, self.encoding_steps)", "self.encode(images, self.ode_steps)", "x_T of the wrong number of steps"),
        ("eta, CLIP, int(seeds[0]), order)", "0.0, CLIP, int(seeds[0]), order)", "eta is ignored"),
        ("1e3 * (self.reconstruct(images, s)", "(self.reconstruct(images, s)", "the error's unit"),
        ("2 * as_float(x) - 1, steps)", "as_float(x), steps)", "encoded on [0, 1]"),
        ("errors = {s: 1e3 * (self.reconstruct(images, s)", "errors = {s: 1e3 * (self.reconstruct(images, self.ode_steps)",
         "the same S for all S"),
    )
    of(
        "models/nvae.py",
        ("torch.expm1(2 * delta_log_sigma)) - delta_log_sigma", "torch.expm1(2 * delta_log_sigma)) + delta_log_sigma", "sign in the KL"),
        ("half, scale = 0.5 / 255", "half, scale = 1 / 255", "levels twice as wide"),
        ("((kl * weights).sum(1) - log_likelihood)", "(kl @ weights + log_likelihood)", "sign of the likelihood"),
        ("(kl * weights).sum(1)", "(kl @ weights)", "the KL is summed in bfloat16"),
        ("as_float(mirrored(batch, self.config.flip))", "as_float(batch)", "no mirror images"),
        ("nats + self.config.spectral * penalty", "nats - self.config.spectral * penalty", "sign of the penalty"),
        ("groups if progress >= warmup else 1 + int(progress / warmup * groups)", "groups", "all groups are open from the start"),
        ("(DIMENSIONS * math.log(2))", "DIMENSIONS", "nats for bits"),
        ("progress / warmup * per_latent", "per_latent", "no ramp in the warm-up"),
        ("kl_weights(kl.detach().mean(0)", "kl_weights(kl.mean(0)", "a missing detach: gradients through the KL's weights", "tests/models/test_roles.py"),
        ("x.new_zeros(len(x), sum(self.dims)) if noise is None", "x.new_ones(len(x), sum(self.dims)) if noise is None",
         "a deviation beside the posterior's mean"),
        ("mean + delta_mean, log_sigma + delta_log_sigma", "mean + delta_mean, delta_log_sigma", "posteriors not relative to priors"),
    )
    of(
        "models/biggan.py",
        ("self.discriminator(diffaugment(fake, strength), fake_labels)", "self.discriminator(fake, fake_labels)", "the generator's images are not augmented"),
        ("diffaugment(torch.cat([real, fake]), strength)", "torch.cat([real, fake])", "the discriminator sees no augmentation"),
        ("F.relu(1 - real)", "F.relu(1 + real)", "the discriminator learns that real images are not"),
        ("return -fake.mean()", "return fake.mean()", "sign of the generator's loss"),
        ("weight / torch.dot(u, torch.mv(matrix, v))", "weight", "no spectral norm"),
        ("(in_batches(self.generator, self.device, noise, labels) + 1) / 2", "in_batches(self.generator, self.device, noise, labels)",
         "samples on [-1, 1]"),
        ("with torch.no_grad():\n            fake, fake_labels = self._fake(len(real)",
         "with torch.enable_grad():\n            fake, fake_labels = self._fake(len(real)",
         "a missing detach: the discriminator's loss reaches the generator"),
        ("both, torch.cat([labels, fake_labels])", "both, torch.cat([fake_labels, labels])", "labels of others"),
    )
    of(
        "training/averaging.py",
        ("** (self.gamma + 1)", "** self.gamma", "an average of another width"),
    )
    of(
        "training/loop.py",
        ('stream(seed, "step", state.step, *own_stream)', 'stream(seed, "step", *own_stream)', "the same draws in every step"),
        ('stream(seed, "epoch", epoch)', 'stream(seed, "epoch")', "the same order in every epoch"),
        ('stream(seed, "epoch", epoch)', 'stream("epoch", epoch)', "the same order for every seed"),
        ("self.average.module if self.average is not None else self.trainable", "self.trainable", "the average of the weights is not used"),
        ('trainable.to(memory_format=torch.channels_last).eval()', 'trainable.to(memory_format=torch.channels_last)', "a loaded model trains on"),
        ("state.parameters[name], state.clip,", "state.parameters[name], 1e9,", "gradients are not clipped"),
        ('        self.started = time.monotonic() - kept["seconds"]\n', "", "a resumed training forgets its time"),
        ("watch(state.usable, line", "watch(state.trainable, line", "the last weights are shown, not the averaged ones"),
        ("labels[chosen]", "labels[: len(chosen)]", "labels of other images"),
        ('"weights": self.usable.state_dict()', '"weights": self.trainable.state_dict()', "the last weights for the averaged ones"),
        ('state["step"] < state["steps"]', 'state["step"] < 1', "half trained counts as finished"),
        ("state.step % per_epoch * config.batch", "state.step % per_epoch * (config.batch - 1)", "batches overlap"),
        ('kept["step"], kept["sums"]', 'kept["step"], {}', "a resume forgets the sums"),
        ("finite = torch.isfinite(norm) & torch.isfinite(loss.detach())", "finite = torch.isfinite(loss.detach())",
         "a gradient that is not finite goes unseen", "", 5),
        ("if (name := checkpoint.not_finite(weights)) is not None:", "if False:", "weights that are not finite are saved", "", 5),
        ("if key is not None:\n", "if False:\n", "a checkpoint of another training is taken up"),
        ("not 0 <= self.limit < math.inf", "self.limit < 0", "a time limit of nan is taken", "", 6),
        ("trainable.progress = state.step / steps", "trainable.progress = 1.0", "no warm-up of the KL"),
        ("if state.graphed and phase != (phase := trainable.phase)", "if state.graphed and phase is None and (phase := 1)",
         "one graph for phases of different steps"),
    )
    of(
        "training/optimisers.py",
        ("if p.ndim >= 2]", "if p.ndim >= 1]", "biases move twice and decay"),
        ("lr=config.lr, betas=config.betas, fused", "lr=config.lr, fused", "BigGAN's momentum"),
        ('"weight_decay": 0.0', '"weight_decay": config.weight_decay', "biases decay"),
        ("warmup_t=round(config.warmup * steps)", "warmup_t=0", "no warm-up of the rate"),
    )
    of(
        "training/history.py",
        ("!= text.encode()", "== text.encode()", "a damaged history stays", "", 4),
        ("np.where(paused, usual * steps, spent)", "spent", "pauses count as training", "tests/training/test_history.py"),
        ("paused[:1] = False", "", "the first steps' compilation does not count", "tests/training/test_history.py"),
    )
    of(
        "training/checkpoint.py",
        ("check_archive(file)  # torch", "# torch", "a flipped bit of a weight is accepted", "", 3),
        ("weights_only=True", "weights_only=False", "a pickle is loaded"),
        ("demand(state, FIELDS)", "pass", "a checkpoint without its parts is taken", "", 4),
        ('if (name := not_finite(state["weights"]) or not_finite(state["model"])) is not None:', "if False:",
         "broken weights are loaded", "tests/training/test_loop.py -k broken_weights", 5),
        ("for candidate in (path, previous(path))", "for candidate in (path,)", "the last but one is never used"),
        ("found.update(value.cpu()", "found.update(value[:0].cpu()", "all weights have one digest"),
    )
    of(
        "judging/evaluate.py",
        ('metrics["mse"] = squared_error(reconstructions, images.test_images)',
         'metrics["mse"] = squared_error(model.reconstruct(images.train_images), images.train_images)', "the train set's error"),
        ("seed, penalties, images.train_sources)", "seed, penalties, None)", "copies on both sides where a penalty is chosen"),
        ("return 1e3 * torch.cat(", "return 1e2 * torch.cat(", "the error's unit"),
        ("test[name], labels[1], seed", "train[name], labels[0], seed", "the train set's accuracy"),
        ("model.features(images.train_images), model.features(images.test_images)",
         "model.features(images.test_images), model.features(images.test_images)", "the probe is fitted on the test images"),
        ('{"acc": next(iter(accuracies.values()))', '{"acc": max(accuracies.values())', "the best of y, w and z for y"),
        ("frechet.reference(network, images.train_images,", "frechet.reference(network, images.test_images,", "distances to the test set"),
        ("if config.witness is False else", "if config.witness is None else", "the second network is left out"),
        ("and not known and images.labelled", "and images.labelled", "known accuracies are measured again"),
        ("config.samples, config.sampler_steps, config.eta, seed,", "config.samples, config.sampler_steps, 0.0, seed,", "eta is not used"),
        ('metrics |= compared["samples"]', 'metrics |= next(iter(compared.values())) | compared["real, test set"]',
         "the real images' distance for the samples'"),
    )
    of(
        "judging/probe.py",
        ("accuracy(held_features, labels[held], weights)",
         "accuracy(standardise(train_features[kept], test_features.to(device))[1], test_labels, weights)",
         "test labels choose the penalty"),
        ("std, mean = torch.std_mean(train.float(), dim=0)", "std, mean = torch.std_mean(test.float(), dim=0)",
         "the test set's own statistics standardise"),
        ("return 100 * (_logits", "return 1 * (_logits", "shares for percents"),
        ("0.5 * penalty * weights", "penalty * weights", "the penalty twice"),
        ("weights[:, :-1].double().square()", "weights.double().square()", "the bias is penalised"),
        ("VALIDATION, seed, sources)", "VALIDATION, seed)", "copies of one source on both sides of the split"),
        ("held, kept = (", "kept, held = (", "a tenth is fitted on, the rest held out"),
        ("while best == max(scores):", "while False:", "no stronger penalty is tried"),
        ("(values / classes + penalty).sqrt()", "values.new_ones(len(values))", "no preconditioning"),
    )
    of(
        "judging/frechet.py",
        ("- 2 * shared", "- shared", "the Fréchet distance's last term once"),
        ("(a.mean - b.mean).square().sum()", "(a.mean - b.mean).abs().sum()", "the means' distance not squared"),
        ("(len(x) * (len(x) - 1))", "len(x) ** 2", "a biased kernel distance"),
        ("/ x.shape[1] + 1).pow(3).sum().item() for part", "+ 1).pow(3).sum().item() for part", "a kernel without 1 / D"),
        ("{network.key} | {key} |", "{network.key} |", "a stale key: any images' statistics"),
        ("torch.cov(features.T)", "torch.cov(features.T, correction=0)", "a biased covariance"),
        ("(x - mean) / std", "x", "a network of distances sees images that are not normalised"),
        ("x + 0.1 * noise", "x + 0.2 * noise", "calibration with twice the noise"),
        ("hashlib.file_digest(file, \"sha256\").hexdigest() != INCEPTION", "False", "any Inception is accepted"),
    )
    of(
        "judging/manifold.py",
        ("fill_(torch.inf)", "fill_(0)", "an image is its own neighbour"),
        ('"precision": _share(torch.cat(inside)), "recall": _share(covered)',
         '"precision": _share(covered), "recall": _share(torch.cat(inside))', "precision and recall swapped"),
        ("(distances <= own[:, None])", "(distances <= real_radii)", "recall by the wrong balls"),
    )
    of(
        "judging/knn.py",
        ("(similarities / TEMPERATURE).exp()", "similarities", "votes not weighed"),
        (
            "train, queries = standardise(train, queries)",
            "queries, train = standardise(queries, train)",
            "the queries' own statistics",
        ),
    )
    of(
        "judging/nearest.py",
        ("features(queries.flip(3))", "features(queries)", "mirror images are not looked for"),
        ("(own / reals)", "(reals / own)", "copying upside down"),
        ("spread(images.test_images, len(samples))", "images.test_images[: len(samples)]", "samples are compared with one class of a sorted set"),
        ("best.indices + first", "best.indices", "places within a block"),
    )
    of(
        "judging/given.py",
        (
            'f"{name}_w": right(of_w, labels.repeat_interleave(draws_w))',
            'f"{name}_w": right(of_w, others.flatten())',
            "y's class for w's",
        ),
        ("torch.cat([ys, w[:, None]", "torch.cat([y[:, None].expand_as(ys), w[:, None]", "one's own y for the others'"),
        ("found.var(1).sum(1)", "found.var(0).sum(1)", "variance across rows, not within"),
    )
    of(
        "model.py",
        ("return z[:, : self.encoder.y_channels], z[:, self.encoder.y_channels :]",
         "return z[:, self.encoder.y_channels :], z[:, : self.encoder.y_channels]", "y and w swapped"),
        ('[y1, w0] if part == "y" else [y0, w1]', '[y0, w1] if part == "y" else [y1, w0]', "y moves for w, w for y"),
        ("t * z0[:, None] + (1 - t) * z1[:, None]", "(1 - t) * z0[:, None] + t * z1[:, None]", "paths backwards"),
        ('{"y": y.flatten(1), "w": w.flatten(1), "z"', '{"y": w.flatten(1), "w": y.flatten(1), "z"', "the table judges w for y"),
        ('_codes(z, "z", LATENT_CHANNELS)).clamp(0, 1)', '_codes(z, "z", LATENT_CHANNELS))', "images outside [0, 1]"),
        ("prior.sample(noise, steps, eta, int(seeds[0]), order, **guided)", "prior.sample(noise, steps, eta, 0)", "one seed for all"),
    )
    of(
        "judging/interpolations.py",
        ("labels[a] != labels[b]", "labels[a] == labels[b]", "pairs of one class"),
        ("t = torch.linspace(1, 0, frames)", "t = torch.linspace(0, 1, frames)", "figures from the end to the start", "tests/models/test_roles.py"),
        ("model.interpolate(x0, x1, ends, part)", 'model.interpolate(x0, x1, ends, "z")', "all of z moves, whatever should"),
        ("1e3 * (path[:, 0] - path[:, 1])", "(path[:, 0] - path[:, 1])", "the unit of what moves"),
    )
    of(
        "data/datasets.py",
        ("sources.unique(return_inverse=True)[1]", "torch.arange(count)", "drawings of one glyph on both sides of a split", "tests/judging/test_probe.py -k source"),
        ("(train.data, train.targets, test.data, test.targets)", "(test.data, test.targets, train.data, train.targets)", "train and test swapped"),
        ("for name in ARRAYS:\n            array", "for name in ARRAYS[::2]:\n            array", "a digest that sees no labels", "", 1),
        ("top, left = (height - side) // 2, (width - side) // 2", "top, left = 0, 0", "a corner for the middle"),
        ("split(len(places), HELD_OUT, 0)[0]", "split(len(places), HELD_OUT, 0)[1]", "four fifths are held out"),
        ("antialias=True", "antialias=False", "pixels picked, not averaged"),
        ("allow_pickle=False", "allow_pickle=True", "an .npz's pickles are loaded"),
    )
    of(
        "data/identity.py",
        ("json.dumps([name, stats])", "json.dumps([name])", "a stale key: a file that changed is not read again", "", 2),
        ("return name if same else", "return name if name in NAMED else", "other images under a published name", "", 2),
        ("datasets.slug(name)}-{sha256[:8]}", "datasets.slug(name)}", "a set of one's own shares a published one's folder", "", 1),
        ("digest.update(b\"\".join(sorted(", "digest.update(b\"\".join(list(", "the order of a published set counts"),
        ("if time.time() - newest > FRESH:", "if True:", "what changed just now is remembered", "", 2),
    )
    of(
        "data/pictures.py",
        ("image = ImageOps.exif_transpose(image)", "pass", "images are not rotated upright", "", 8),
        ('image.size, "white")', 'image.size, "black")', "transparent is black"),
        ("if image.has_transparency_data:", 'if image.mode == "RGBA":', "a palette's transparency is lost", "", 8),
        ('if entry.name.startswith("."):', "if False:", "notebooks' copies count as images", "", 9),
        ("left, top = (width - side) // 2, (height - side) // 2", "left, top = 0, 0", "a corner for the middle"),
        ("if known is not None:\n        return known not in NOT_SHOWN\n    try:", "return known is not None\n    try:",
         "files of unknown suffixes are left out", "", 9),
    )
    of(
        "data/pixels.py",
        ("images / 255 if", "images / 256 if", "white is not 1"),
        (".mul(255).round()", ".mul(255)", "levels cut, not rounded"),
        ("if not torch.isfinite(images).all():", "if False:", "pictures of NaN are black", "", 5),
    )
    of(
        "data/augment.py",
        ("jittered = u_jitter < config.jitter", "jittered = u_jitter > config.jitter", "jitter for the others"),
        ("torch.where(draw.flip[:, None], x.flip(1), x)", "x", "no flips"),
        ("torch.remainder(6 * turns[:, None]", "torch.remainder(turns[:, None]", "hues in sixths of a turn"),
        ("add_(mean * (1 - contrast))", "add_(mean * contrast)", "contrast about another mean"),
        ("config.hue * (2 * hue - 1)", "config.hue * hue", "hues turn one way"),
    )
    of(
        "experiments/methods.py",
        ('replace(profile.hybrid.representation.contrast, on="z")', 'replace(profile.hybrid.representation.contrast, on="y")', "no ablation"),
        ("model.bits_per_dim(images.test_images, seed)", "model.bits_per_dim(images.train_images, seed)", "bits per dimension of the train set"),
        ("model.encode(images.flip(3))", "model.encode(images)", "codes of mirror images that are none"),
        (", encoder=checkpoint.digest(model.encoder.state_dict()))", ")", "a prior of another encoder's codes is taken up", "", 3),
        ("if batch % min(keys, batch):", "if False:", "key_batch = 7 of a batch of 512", "", 6),
        ("replace(representation, alpha=0.0,", "replace(representation,", "MoCo-v2 with a decoder"),
    )
    of(
        "experiments/experiment.py",
        ('"sha256": self.sha256,', '"sha256": None,', "a stale key: no data in it", "", 1),
        ('"training": self.store.digest(self._histories(name)),', '"training": "",', "a stale key: no training in it"),
        ('"evaluation": describe(self.profile.evaluation),', '"evaluation": {},', "a stale key: not how it is judged"),
        ('"seed": self.seed,\n            "training"', '"seed": 0,\n            "training"', "a stale key: no seed in it"),
        ('"judging": JUDGING,', '"judging": 0,', "a stale key: no version of the judging in it"),
        ('([(first, "representation")] if first else [])', "[]", "a stale key: Hybrid+ without its first stage"),
        ('if kept["key"].get("seed") != seed:', "if False:", "a copied seed counts as a second", "", 1),
        ("if (found := identity.of(images)) != self.sha256:", "if False:", "data that changed are judged", "", 2),
        ("if part not in (\"seed\", \"training\")", "if part not in (\"seed\", \"training\", \"sha256\", \"dataset\")",
         "seeds of other data in one mean", "", 1),
        ('tell_difference(str(path), kept["provenance"])', "pass", "a seed of other code goes unsaid", "", 7),
    )
    of(
        "experiments/store.py",
        ("if own not in (None, first)}", "if False}", "seeds in two precisions in one mean", "", 7),
        ('if not all(math.isfinite(value) for value in kept["metrics"].values()):', "if False:", "an outcome of NaN is read", "", 5),
        ('if (part := key.difference(kept["key"])) is not None:', "if False:", "an outcome of another key is accepted", "", 1),
        ("if not read_history(source):", "if False:", "a damaged history takes the good one's place", "", 4),
        ("files.sealed(kept))", "kept)", "outcomes carry no digest", "", 3),
        ('files.check_finite(outcome["metrics"], name)', "pass", "a metric that is NaN is kept", "", 5),
        ('tell_difference(str(path), kept["provenance"])', "pass", "other code and precision go unsaid", "", 7),
    )
    of(
        "experiments/table.py",
        ('"value": values.mean()', '"value": values.max()', "the best seed for the mean"),
        ('"std": values.std()', '"std": values.std(ddof=0)', "a biased deviation"),
        ('"hybrid": {"mse": 2.6', '"hybrid": {"mse": 2.5', "another number for the paper's"),
        ('if not probe["converged"]', "if False", "a probe that did not converge is not told", "", 10),
        ("ratio > 1 else", "ratio < 1 else", "the ablation's verdict upside down"),
    )
    of(
        "machine/files.py",
        ("not in (None, digest(values)):", "in ():", "a changed digit in an outcome is accepted", "", 3),
        ("if (broken := archive.testzip()) is not None:", "if False:", "a flipped bit of a checkpoint's archive is accepted", "tests/training/test_checkpoint.py", 3),
        ("np.load(file, allow_pickle=False)", "np.load(file, allow_pickle=True)", "pickles of arrays are loaded"),
        ('temporary.write_bytes(text.encode("utf-8"))', "temporary.write_text(text)", "texts in the locale's encoding", "", 10),
        ("_sweep(path)\n", "pass\n", "what a kill left behind stays", "", 10),
        ("if missing := sorted(set(names) - arrays.keys()):", "if missing := []:", "arrays without a key are taken", "", 4),
        ("set_aside(path, error)\n        return None", "raise", "a damaged file ends in a traceback", "", 4),
        ("if not aside.exists()", "if True", "a second file that is set aside replaces the first"),
        ("if not math.isfinite(value)]", "if False]", "numbers that are not finite are kept", "", 5),
    )
    of(
        "machine/fingerprint.py",
        ('if origin.get("precision") not in (None, here):', "if False:", "another precision goes unsaid", "", 7),
        ('if kept != fingerprint(f"hybrid.{name}")', "if False", "other code goes unsaid", "", 7),
        ("(origin, trained, *trained.values())", "(origin,)", "other code of the training goes unsaid", "", 7),
    )
    of("machine/distributed.py", ("return total / world()", "return total", "sums over processes for means"))
    of(
        "profiles/checked.py",
        ("not 0 <= seed < SEEDS", "not 0 <= seed", "a seed of 2**32 gives the images of seed 0", "", 6),
        ("(value < self.high if self.below else value <= self.high)", "True", "lr=1e30 is taken", "", 6),
    )
    of(
        "released.py",
        ("(path.parent).get(path.name)) is not None and digest != sha256(path):", "(path.parent).get(path.name)) is not None and False:", "a flipped bit of released weights is accepted", "", 3),
        ("if (broken := checkpoint.not_finite(tensors)) is not None:", "if False:", "released weights that are not finite", "tests/test_released.py -k whole", 5),
    )
    # fmt: on
    return found


@dataclass
class Ended:
    status: int  # pytest's: 0 where all pass, 1 where a test fails; -1: they hang
    failed: str  # the first test that failed
    seconds: float
    log: str


def run(folder: Path, tests: str) -> Ended:
    """The tests in a child, with the package and the tests in `folder`."""
    log, started = folder / "log.txt", time.monotonic()
    child = os.fork()
    if not child:
        status = 70
        try:
            os.setsid()
            with open(log, "wb") as file:
                os.dup2(file.fileno(), 1), os.dup2(file.fileno(), 2)
            os.chdir(folder)
            sys.path.insert(0, str(folder))
            os.environ |= {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
            import pytest

            plugins = [part for name in ("cacheprovider", "xdist", "nbval") for part in ("-p", f"no:{name}")]
            status = pytest.main([*plugins, "-x", "--tb=short", "-rfE", *tests.split()])
        finally:
            os._exit(status)
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() - started > LIMIT:
            os.killpg(child, signal.SIGKILL)
            ended = os.waitpid(child, 0)
            break
        time.sleep(0.02)
    status, text = os.waitstatus_to_exitcode(ended[1]), log.read_text(errors="replace")
    found = re.search(r"^(?:FAILED|ERROR) (\S+?)(?:\[| -|$)", text, re.MULTILINE)
    return Ended(-1 if status < 0 else status, found[1] if found else "", round(time.monotonic() - started, 1), text)


def copy(folder: Path) -> None:
    """The package and its tests in `folder`, the rest of the repository as links."""
    skip = shutil.ignore_patterns("__pycache__")
    for path in REPOSITORY.iterdir():
        if path.name in ("hybrid", "tests"):
            shutil.copytree(path, folder / path.name, ignore=skip)
        elif path.name not in (".git", "runs", ".venv", "site", "build"):
            (folder / path.name).symlink_to(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="mutants whose file or words hold this")
    parser.add_argument("--minutes", type=float, help="stop after so many; a part of each module is tried by then")
    parser.add_argument("--rest", action="store_true", help="those that the report lacks, and those that survived")
    parser.add_argument("--check", action="store_true", help="look only whether each stands in its file once")
    arguments = parser.parse_args()
    chosen = [each for each in mutants() if (arguments.only or "") in f"{each.file} {each.what}"]
    kept = json.loads((REPOSITORY / REPORT).read_text(encoding="utf-8"))["mutants"] if arguments.rest else []
    known = {(each.file, each.what) for each in mutants()}
    kept = [row for row in kept if (row["file"], row["what"]) in known]
    caught = {(row["file"], row["what"]) for row in kept if row["caught"]}
    chosen = [each for each in chosen if (each.file, each.what) not in caught]
    for each in chosen:
        text = (REPOSITORY / "hybrid" / each.file).read_text(encoding="utf-8")
        assert text.count(each.old) == 1, f"{each.file}: {each.old!r} stands there {text.count(each.old)} times: expected once"
        ast.parse(text.replace(each.old, each.new))
    print(f"{len(chosen)} mutants of {len({each.file for each in chosen})} modules")
    if arguments.check:
        return 0
    os.environ |= {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    for name in IMPORTED.split():
        importlib.import_module(name)
    sys.dont_write_bytecode = True
    with tempfile.TemporaryDirectory(prefix="mutants") as name:
        folder = Path(name)
        copy(folder)
        keep = (lambda rows: None) if arguments.only else (lambda rows: write(kept + rows))
        rows = judge(folder, chosen, time.monotonic() + 60 * (arguments.minutes or 1e6), keep)
    survived = [row for row in rows if not row["caught"]]
    for row in survived:
        print(f"SURVIVED {row['file']}: {row['what']}")
    print(f"mutants: tried {len(rows)}, caught {len(rows) - len(survived)}, survived {len(survived)}")
    if not arguments.only:
        print(f"report: {REPORT}")
    return len(survived) > 0.05 * len(rows) or (arguments.minutes is None and len(rows) < len(chosen))


def judge(folder: Path, chosen: list[Mutant], until: float, keep: Callable[[list[dict]], None]) -> list[dict]:
    """Return a row per mutant. Mutants whose tests fail without them are left out with a message, and so are those for which there
    is no time. `keep` is called with the rows after each mutant."""
    sound: dict[str, Ended] = {}
    rows = []
    place = {each: [other for other in chosen if other.file == each.file].index(each) for each in chosen}
    for each in sorted(chosen, key=lambda each: place[each]):  # the first of each module, then the second
        if time.monotonic() > until:
            break
        tests = each.tests or TESTS[each.file]
        if tests not in sound:
            sound[tests] = run(folder, tests)
            if sound[tests].status:
                print(f"FAILS without a mutant: {tests}\n{sound[tests].log[-3000:]}", flush=True)
        if sound[tests].status:
            continue
        path = folder / "hybrid" / each.file
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(each.old, each.new), encoding="utf-8")
        ended = run(folder, tests)
        path.write_text(text, encoding="utf-8")
        if ended.status in (4, 5, 70):
            raise SystemExit(f"{each}: its tests do not run\n{ended.log[-3000:]}")
        by = "they hang" if ended.status < 0 else ended.failed
        rows.append({"file": each.file, "what": each.what, "caught": bool(ended.status), "by": by, "case": each.case})
        keep(rows)
        print(
            f"{'caught  ' if ended.status else 'SURVIVED'} {ended.seconds:5.1f} s  {each.file}: {each.what}  {by}", flush=True
        )
    return rows


def write(rows: list[dict]) -> None:
    """The report that the docs page shows: a row a mutant, in their order, without those that are no more."""
    found = {(row["file"], row["what"]): row for row in rows}
    rows = [found[key] for each in mutants() if (key := (each.file, each.what)) in found]
    counts = {"tried": len(rows), "caught": sum(row["caught"] for row in rows)}
    path = REPOSITORY / REPORT
    path.write_text(json.dumps(counts | {"mutants": rows}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
