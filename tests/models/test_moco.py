"""MoCo's key side: the queue is first in, first out, the contrast is equation (3), keys do not leak their batch."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hybrid.errors import HybridError
from hybrid.models import moco as moco_module
from hybrid.models.batchnorm import BatchNorm, norms
from hybrid.models.hybrid import Representation
from hybrid.models.moco import MoCo, head
from hybrid.profiles.overrides import profile
from hybrid.profiles.schema import Contrast

CONFIG = Contrast(queue=10, temperature=0.2, momentum=0.9, hidden=16, dim=4)


def query_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), head(8, CONFIG))


def unit(count, seed=0):
    return F.normalize(torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_queue_is_first_in_first_out():
    moco, arrived = MoCo(query_network(), CONFIG), []
    for seed, count in enumerate((4, 3, 5, 10, 1)):
        keys = unit(count, seed)
        moco.enqueue(keys)
        arrived += list(keys)
    kept = {tuple(key.tolist()) for key in moco.queue}
    assert kept == {tuple(key.tolist()) for key in arrived[-10:]}
    assert moco.pointer.item() == 23 % 10


def test_more_keys_than_places_are_refused():
    with pytest.raises(HybridError, match="queue of 10"):
        MoCo(query_network(), CONFIG).enqueue(unit(11))


def test_bound_through_the_queue_is_equation_3():
    moco, queries, keys = MoCo(query_network(), CONFIG), torch.randn(3, 4), unit(3, 1)
    moco.enqueue(unit(9, 2))
    places = moco.enqueue(keys)
    assert places.tolist() == [9, 0, 1]
    critic = lambda q, k: math.exp(torch.dot(q / q.norm(), k).item() / 0.2)  # noqa: E731
    by_hand = 0.0
    for q, k in zip(queries, keys, strict=True):
        by_hand += math.log(10 * critic(q, k) / sum(critic(q, other) for other in moco.queue)) / 3
    assert moco.bound(queries, places).item() == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_key_depends_on_its_own_part_of_the_batch_alone(at_once, monkeypatch):
    """Also with torch's batch norm, which cannot tell the parts of a batch apart."""
    monkeypatch.setattr(moco_module, "all_parts_at_once", lambda device: at_once)
    moco = MoCo(query_network(), replace(CONFIG, key_batch=4)).train()
    x = torch.rand(12, 3, 8, 8)
    keys, changed = moco.keys(x), moco.keys(torch.cat([x[:4], torch.rand(8, 3, 8, 8) + 1]))
    torch.testing.assert_close(keys.norm(dim=1), torch.ones(12))
    torch.testing.assert_close(keys[:4], changed[:4])
    own_part = moco.keys(torch.cat([x[:1], torch.rand(11, 3, 8, 8) + 1]))
    assert (own_part[0] - keys[0]).abs().max() > 0.01
    assert len(moco.keys(x[:3])) == 3


def test_parts_of_a_batch_in_one_pass_are_as_one_by_one():
    """Where `keys` has batch norm tell the parts apart: on a GPU, and on a CPU in float32 or with AMX."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3), BatchNorm(8), nn.ReLU(), BatchNorm(8)).train()
    x = torch.rand(12, 3, 8, 8)
    for norm in norms(network):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    one_by_one = torch.cat([network(part) for part in x.split(4)])
    assert (network(x) - one_by_one).abs().max() > 0.01
    for norm in norms(network):
        norm.parts = 3
    torch.testing.assert_close(network(x), one_by_one, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("amx", [True, False])
def test_only_bfloat16_without_amx_takes_part_by_part(amx, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    cpu = torch.device("cpu")
    assert moco_module.all_parts_at_once(cpu) and moco_module.all_parts_at_once(torch.device("cuda"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert moco_module.all_parts_at_once(cpu) == amx


@pytest.mark.parametrize("count", [12, 14])
def test_keys_are_the_same_in_one_pass_and_part_by_part(count, monkeypatch):
    """14 images make no equal parts of at least 4: these go one by one everywhere, also after a pass of equal ones."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), BatchNorm(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), head(8, CONFIG))
    moco, passes = MoCo(network, replace(CONFIG, key_batch=4)).train(), []
    moco.key_network.register_forward_hook(lambda *_: passes.append(1))
    x = torch.rand(count, 3, 8, 8)
    monkeypatch.setattr(moco_module, "all_parts_at_once", lambda device: False)
    by_parts = moco.keys(x)
    monkeypatch.setattr(moco_module, "all_parts_at_once", lambda device: True)
    moco.keys(x[:12])
    torch.testing.assert_close(moco.keys(x), by_parts, atol=1e-4, rtol=1e-4)
    assert len(passes) == (3 + 1 + 1 if count == 12 else 3 + 1 + 3)


def test_what_the_keys_of_a_batch_share_does_not_help_to_find_ones_own():
    """A mark on every key and query of a batch: alone against older keys it is all it takes, here it is worth log(m / n)."""
    config = replace(CONFIG, queue=64, temperature=0.05)
    moco, mark = MoCo(query_network(), config), F.normalize(torch.ones(4), dim=0)
    moco.enqueue(unit(64))
    places = moco.enqueue(mark.expand(16, 4))
    assert moco.bound(mark.expand(16, 4), places).item() <= math.log(64 / 16) + 1e-4


def test_key_network_follows_and_gets_no_gradient():
    network = query_network()
    moco = MoCo(network, CONFIG)
    network(torch.rand(16, 3, 8, 8) + 3).sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    before = {name: value.clone() for name, value in moco.key_network.named_parameters()}
    moco.momentum_update(network)
    for name, value in moco.key_network.named_parameters():
        torch.testing.assert_close(value, 0.9 * before[name] + 0.1 * network.get_parameter(name))
    assert all(p.grad is None and not p.requires_grad for p in moco.key_network.parameters())


def test_queue_pointer_and_key_network_are_in_the_state():
    state = MoCo(query_network(), CONFIG).state_dict()
    assert {"queue", "pointer", "key_network.0.weight", "key_network.1.running_var"} <= set(state)


def first_stage(**changes):
    """The first stage of profile smoke with `changes` to its parts: fields of the dataclass of that name, or values."""
    config = profile("smoke").hybrid.representation
    config = replace(config, contrast=Contrast(queue=64, hidden=16, dim=8, key_batch=8))
    for name, value in changes.items():
        part = getattr(config, name)
        config = replace(config, **{name: replace(part, **value) if isinstance(value, dict) else value})
    torch.manual_seed(5)
    return Representation(config).train()


def loss_of(made, count=16):
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(6)
    return made.loss("model", images, torch.zeros(count, dtype=torch.int64))


def test_early_views_of_keys_and_queries_are_smaller(monkeypatch):
    made, seen = first_stage(early_size=16), []
    keys, encoder = made.moco.keys, made.encoder.forward
    monkeypatch.setattr(made.moco, "keys", lambda *views: seen.append(views[0].shape[-1]) or keys(*views))
    monkeypatch.setattr(made.encoder, "forward", lambda x: seen.append(x.shape[-1]) or encoder(x))
    assert made.phases == [(0, 0.5), (0.5, 1)]
    for progress, phase, side in ((0.0, 0, 16), (0.49, 0, 16), (0.5, 1, 32), (0.99, 1, 32)):
        made.progress = progress
        assert made.phase == phase
        assert math.isfinite(loss_of(made)[1]["mse"])
        assert seen == [side, side]
        seen.clear()
    assert [made.time_share(progress) for progress in (0, 0.5, 0.75, 1)] == [0, 0.2, 0.6, 1]  # a fourth of the pixels at first
    assert first_stage().phases == [(0, 1)] and first_stage().time_share(0.3) == 0.3
    assert first_stage(early_size=16, early=1.0).phases == [(0, 1)]
