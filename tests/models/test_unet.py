"""The U-Net against diffusers' UNet2DModel with the same weights, and its training."""

import re

import pytest
import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from torch import Tensor, nn

from hybrid.errors import HybridError
from hybrid.models.unet import Attention, GroupNorm, UNet, time_embedding

LATENT = dict(channels_in=6, channels=16, multipliers=(1, 2), blocks=1, attention=(8,), dropout=0.0, size=16)
PAPER = dict(channels_in=3, channels=128, multipliers=(1, 2, 2, 2), blocks=2, attention=(16,), dropout=0.1, size=32)


def trained(**changes) -> UNet:
    """A net whose last convolutions are no longer zero."""
    torch.manual_seed(0)
    net = UNet(**{**LATENT, **changes})
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return net.eval()


def latents(n: int = 4, channels: int = 6, size: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, channels, size, size, generator=generator), torch.randint(1, 1001, (n,), generator=generator)


def their_name(name: str) -> str:
    """The name in diffusers of one of our parameters."""
    for pattern, replacement in [
        (r"^first\.", "conv_in."),
        (r"^last\.", "conv_out."),
        (r"^norm\.", "conv_norm_out."),
        (r"^time\.0\.", "time_embedding.linear_1."),
        (r"^time\.2\.", "time_embedding.linear_2."),
        (r"^shrink\.(\d)\.", r"down_blocks.\1.downsamplers.0.conv."),
        (r"^grow\.(\d)\.1\.", r"up_blocks.\1.upsamplers.0.conv."),
        (r"^(down|up)\.(\d)\.(\d)\.", r"\1_blocks.\2.\3."),
        (r"^middle\.", "mid_block."),
        (r"(\d)\.block\.", r"resnets.\1."),
        (r"(\d)\.attention\.", r"attentions.\1."),
        (r"(resnets\.\d)\.time\.", r"\1.time_emb_proj."),
        (r"(resnets\.\d)\.skip\.", r"\1.conv_shortcut."),
        (r"(attentions\.\d)\.norm\.", r"\1.group_norm."),
        (r"(attentions\.\d)\.out\.", r"\1.to_out.0."),
    ]:
        name = re.sub(pattern, replacement, name)
    return name


def test_papers_net_matches_diffusers():
    torch.manual_seed(0)
    theirs = UNet2DModel(
        sample_size=32,
        block_out_channels=(128, 256, 256, 256),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        attention_head_dim=None,
        freq_shift=1,
        flip_sin_to_cos=False,
    ).eval()
    weights = theirs.state_dict()
    for weight in weights.values():
        weight.add_(0.02 * torch.randn_like(weight))  # moves the norms away from one and zero
    ours = UNet(**PAPER).eval()
    for name, parameter in ours.state_dict().items():
        if ".qkv." in name:
            value = torch.cat([weights.pop(their_name(name).replace("qkv", f"to_{part}")) for part in "qkv"])
        else:
            value = weights.pop(their_name(name))
        parameter.copy_(value.view(parameter.shape))
    assert not weights
    assert sum(p.numel() for p in ours.parameters()) == 35_746_307  # "35.7 million parameters" (DDPM, appendix B)

    x, t = latents(2, 3, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x, t), theirs(x, t).sample, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"channels": 48, "multipliers": (1, 2, 3), "attention": (16, 4), "blocks": 2},
        {"multipliers": (1,), "attention": ()},
        {"channels": 40, "channels_in": 3, "size": 20, "attention": (10,)},
    ],
)
def test_shapes(changes):
    net = trained(**changes)
    x, t = latents(2, net.shape[0], net.shape[1])
    assert net(x, t).shape == x.shape


def test_untrained_net_predicts_nothing():
    x, t = latents()
    assert torch.count_nonzero(UNet(**LATENT)(x, t)) == 0


def test_every_branch_starts_at_zero():
    x = torch.randn(2, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    stage = UNet(**{**LATENT, "attention": (16,)}).down[0][0]
    assert isinstance(stage.attention, Attention)
    assert torch.equal(stage(x, torch.randn(2, 64)), x)


def test_time_matters_for_each_image():
    net = trained()
    x, _ = latents(2)
    a, b = net(x, torch.tensor([10, 500])), net(x, torch.tensor([10, 600]))
    assert torch.allclose(a[0], b[0], atol=1e-5) and (a[1] - b[1]).abs().max() > 0.01
    torch.testing.assert_close(net(x, torch.tensor([10.0, 500.0])), a)


def test_time_embedding_turns_at_the_right_frequencies():
    t = torch.tensor([0, 1, 1000])
    embedding = time_embedding(t, 8).double()
    frequencies = torch.tensor([1, 10000 ** (-1 / 3), 10000 ** (-2 / 3), 1 / 10000], dtype=torch.float64)
    angles = t[:, None] * frequencies
    torch.testing.assert_close(embedding, torch.cat([angles.sin(), angles.cos()], 1), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("attention", "expected"),
    [((), [8]), ((8,), [8] * 6), ((16,), [16, 16, 8, 16, 16, 16]), ((8, 16), [16] * 2 + [8] * 6 + [16] * 3)],
)
def test_attention_runs_at_the_given_resolutions_and_in_the_middle(attention, expected):
    net = UNet(**{**LATENT, "blocks": 2, "attention": attention})
    seen = []
    for module in net.modules():
        if isinstance(module, Attention):
            module.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[-1]))
    net(*latents(1))
    assert seen == expected


def test_attention_matches_its_formula():
    torch.manual_seed(0)
    attention, x = Attention(16), torch.randn(2, 16, 4, 3)
    nn.init.normal_(attention.out.weight)
    q, k, v = attention.qkv(F.group_norm(x, 4)).flatten(2).chunk(3, dim=1)  # (N, C, HW)
    h = v @ (q.transpose(1, 2) @ k / 4).softmax(-1).transpose(1, 2)
    expected = x + attention.out(h.unflatten(2, (4, 3)))
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("channels", "groups"), [(6, 1), (32, 8), (48, 12), (144, 24), (128, 32), (384, 32)])
def test_group_norm(channels, groups):
    norm, x = GroupNorm(channels), torch.randn(2, channels, 5, 4)
    assert norm.num_groups == groups
    result = norm(x.contiguous(memory_format=torch.channels_last))
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result, F.group_norm(x, groups))


@pytest.mark.parametrize("bf16", [False, True])
def test_activations_stay_channels_last(bf16):
    net = trained(attention=(8, 16))
    strays = []

    def check(name: str):
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            if output.dim() == 4 and not output.is_contiguous(memory_format=torch.channels_last):
                strays.append(name)

        return hook

    for name, module in net.named_modules():
        module.register_forward_hook(check(name))
    x, t = latents()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for form in (torch.channels_last, torch.contiguous_format):
            assert net(x.contiguous(memory_format=form), t).is_contiguous(memory_format=torch.channels_last)
    assert strays == []


def test_bf16_is_close_to_float32():
    net = trained()
    x, t = latents()
    with torch.no_grad():
        exact = net(x, t)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = net(x, t)
    assert rounded.dtype == torch.bfloat16
    assert (rounded - exact).square().mean() < 1e-3 * exact.square().mean()


def test_gradients_reach_every_parameter():
    net = trained(attention=(8, 16), dropout=0.1).train()
    x, t = latents()
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.mse_loss(net(x, t).float(), x)
    loss.backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_dropout_only_in_training():
    x, t = latents(1)
    net = trained(dropout=0.5)
    assert torch.equal(net(x, t), net(x, t))
    net.train()
    assert not torch.allclose(net(x, t), net(x, t))


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    net = UNet(**LATENT)
    x, t = latents()
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    losses = []
    for _ in range(30):
        loss = F.mse_loss(net(x, t), x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]


def test_patches_are_pixels_folded_into_channels():
    """The net of patch 2 is that of patch 1 on what pixel_unshuffle makes of x."""
    patched = trained(patch=2, attention=(4,))
    plain = trained(channels_in=24, size=8, attention=(4,))
    plain.load_state_dict(patched.state_dict())
    x, t = latents()
    torch.testing.assert_close(patched(x, t), F.pixel_shuffle(plain(F.pixel_unshuffle(x, 2), t), 2))
    assert patched(x, t).shape == x.shape


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"size": 18, "multipliers": (1, 2, 2), "attention": ()}, "size 18 does not halve 2 times"),
        ({"attention": (7,)}, r"attention at \(7,\)"),
        ({"channels": 33}, "channels is 33"),
        ({"patch": 3}, "patch is 3; give a divisor of 16"),
    ],
)
def test_wrong_arguments_are_told(changes, match):
    with pytest.raises(HybridError, match=match):
        UNet(**{**LATENT, **changes})


def test_wrong_input_is_told():
    with pytest.raises(HybridError, match=r"\(2, 6, 8, 8\).*\(6, 16, 16\)"):
        UNet(**LATENT)(*latents(2, 6, 8))
