"""The Fréchet distance as people usually measure it, with pytorch-fid's command; see `hybrid.benchmark.contenders`."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
import torch
from pytorch_fid import fid_score, inception
from torch import nn

from hybrid.benchmark.contenders import Setting, Workload, as_pictures, digits
from hybrid.judging import frechet
from hybrid.judging.frechet import Statistics, frechet_distance, load_network


@contextmanager
def pytorch_fid(setting: Setting) -> Iterator[Workload]:
    """pytorch-fid's command on a folder of PNG files and stored reference statistics. Starting it and writing the files are not
    timed.

    Both build Inception in each turn, as a command does. Its weights are random, because they do not affect the time. The
    reference is a Gaussian with random moments, so only one set of images passes through the network.
    """
    count, dims, device = setting.counts.fid_images, setting.counts.fid_dims, setting.device
    images = digits()[torch.arange(count) % len(digits())]
    noise = torch.randn(dims, 2 * dims, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, covariance = torch.full((dims,), 0.5, dtype=torch.float64), torch.cov(noise)
    moments = mean.to(device), covariance.to(device)
    workers = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)

    with TemporaryDirectory() as folder, _random_inception(dims), old_sqrtm() as patched:
        for index, picture in enumerate(as_pictures(images)):
            picture.save(Path(folder, f"{index:06}.png"))
        stored = Path(folder, "reference.npz")
        np.savez(stored, mu=mean.numpy(), sigma=covariance.numpy())

        def ours() -> float:
            reference = Statistics(*moments)  # new in each turn: it caches the root of its covariance
            return frechet_distance(Statistics.of(load_network("inception", device)(images)), reference)

        def peer() -> float:
            with (
                contextlib.redirect_stderr(io.StringIO()),
                contextlib.redirect_stdout(io.StringIO()),
            ):  # progress bars and warnings
                return float(fid_score.calculate_fid_given_paths([folder, str(stored)], 50, device, dims, workers))

        note = f"random weights, {dims} features, stored reference; theirs: PNG files, {workers} worker processes"
        yield Workload(ours, peer, count, note + patched, returns="distance")


@contextmanager
def _random_inception(dims: int) -> Iterator[None]:
    """Give pytorch-fid's Inception seeded random weights instead of the published ones. They keep the scale of the features."""
    build = inception._inception_v3

    def with_random_weights(*args, **kwargs) -> nn.Module:
        net = build(*args, **kwargs)

        def load_state_dict(state: dict) -> None:
            seeded = torch.Generator().manual_seed(0)
            for kernel in (p for p in net.parameters() if p.ndim == 4):
                nn.init.kaiming_normal_(kernel, nonlinearity="relu", generator=seeded)

        net.load_state_dict = load_state_dict
        return net

    # With fewer than FID's 2048 features (quick runs), pytorch-fid stops at an earlier block, and ours must stop there too.
    blocks = {2048: inception.InceptionV3.BLOCK_INDEX_BY_DIM[dims]}
    with (
        mock.patch.object(inception, "_inception_v3", with_random_weights),
        mock.patch.object(inception, "load_state_dict_from_url", lambda *args, **kwargs: {}),
        mock.patch.object(frechet, "_inception_weights", dict),
        mock.patch.dict(inception.InceptionV3.BLOCK_INDEX_BY_DIM, blocks),
    ):
        yield


@contextmanager
def old_sqrtm() -> Iterator[str]:
    """Restore the argument `disp` of SciPy's sqrtm, which pytorch-fid 0.3 uses; yield a remark if it was missing."""
    root = fid_score.linalg.sqrtm
    if "disp" in inspect.signature(root).parameters:
        yield ""
        return
    with mock.patch.object(fid_score.linalg, "sqrtm", lambda a, disp=True: root(a) if disp else (root(a), np.nan)):
        yield "; scipy.linalg.sqrtm patched to take disp=, which SciPy 1.18 removed"
