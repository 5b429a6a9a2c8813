"""Critics and Gaussian decoders where the right answer is known in closed form."""

import math

import pytest
import torch

from hybrid.data import known
from hybrid.judging.known import barber_agakov
from hybrid.models.estimators import Both, Critic, LinearGaussian, Namer, SeesImages, image_net, perceptron


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_linear_gaussian_finds_the_true_conditional():
    pairs = known.dense(3)
    fitted = LinearGaussian(*pairs.sample(2**16, generator()))
    x, z = pairs.sample(1000, generator(1))
    own = torch.stack([pairs.log_ratio(x[i : i + 1], z[i : i + 1])[0, 0] for i in range(100)]) + pairs.log_density(x[:100])
    torch.testing.assert_close(fitted.log_likelihood(x[:100], z[:100]), own, rtol=0.02, atol=0.1)


def test_both_has_the_likelihood_of_a_normal_and_the_critic_sees_y_alone():
    torch.manual_seed(0)
    both = Both(3, 4, 2, 0.25)
    x, z = torch.randn(5, 3), torch.randn(5, 4)
    mean, log_sigma = both.decoder(z).chunk(2, dim=1)
    expected = torch.distributions.Normal(mean, log_sigma.exp()).log_prob(x).sum(1)
    torch.testing.assert_close(both.log_likelihood(x, z), expected)
    other = torch.cat([z[:, :2], torch.randn(5, 2)], dim=1)
    found, changed = (both.loss("model", torch.cat([x, code], dim=1), torch.zeros(5)) for code in (z, other))
    assert found[1]["i_cpc"] == changed[1]["i_cpc"] and found[1]["i_ba"] != changed[1]["i_ba"]
    assert found[0].item() == pytest.approx(-(0.25 * expected.mean() + 0.75 * found[1]["i_cpc"]).item(), rel=1e-5)


def test_a_critic_learns_what_there_is():
    """Adam, a few hundred steps: most of one nat, and no more than it."""
    torch.manual_seed(0)
    pairs = known.correlated(1.0, 3)
    critic = Critic(perceptron(3, 8), perceptron(3, 8), 3)
    optimiser, chance = torch.optim.Adam(critic.parameters(), 3e-3), generator()
    for _ in range(300):
        loss, _ = critic.loss("model", torch.cat(pairs.sample(256, chance), dim=1), torch.zeros(256))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        found = torch.stack([critic.bound(*pairs.sample(256, chance)) for _ in range(40)])
    assert 0.8 < found.mean().item() < 1 + 3 * found.std().item() / math.sqrt(40)


def test_images_are_seen_as_far_as_the_rows_go():
    torch.manual_seed(0)
    bank = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    sees = SeesImages(bank, image_net(), (32, 16)).eval()
    places = torch.tensor([[0, 1], [2, 3]])
    found = sees(places)
    sees.bank[1, :, 16:] = 0  # hidden
    assert torch.equal(sees(places), found)
    sees.bank[1, :, :16] = 0
    assert not torch.equal(sees(places)[0], found[0]) and torch.equal(sees(places)[1], found[1])
    assert not any(name.endswith("bank") for name in sees.state_dict())


def test_i_ba_of_a_useless_decoder_is_zero():
    pairs = known.correlated(2.0, 3)
    x, z = pairs.sample(4096, generator())
    found = barber_agakov(lambda x, z: pairs.log_density(x), pairs, x, z)
    assert (found.value, found.error) == pytest.approx((0, 0), abs=1e-5)


def test_a_decoder_that_names_the_class_has_all_of_the_truth_and_a_wrong_one_less():
    """z is an image of the class of x, or of another in a fifth of the pairs: q is the channel itself."""
    labels = torch.arange(10).repeat(3)
    pairs = known.DigitPairs(labels, 0.8, 2)

    class Channel(torch.nn.Module):
        def __init__(self, kept):
            super().__init__()
            self.scores = torch.full((10, 10), (1 - kept) / 9).fill_diagonal_(kept).log()

        def forward(self, places):
            return self.scores[labels[places]].flatten(1)

    x, z = pairs.sample(2**14, generator())
    found, sure = (barber_agakov(Namer(Channel(kept), labels, 2).log_likelihood, pairs, x, z) for kept in (0.8, 0.99))
    assert found.value == pytest.approx(pairs.truth, abs=3 * found.error) and found.error < 0.03
    assert sure.value < pairs.truth - 10 * found.error
