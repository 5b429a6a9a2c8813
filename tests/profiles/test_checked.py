"""Each field of a profile has a range, and what is outside of it is told: the value, what to give, which field."""

from dataclasses import fields, is_dataclass
from typing import Literal, get_origin, get_type_hints

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from hybrid.errors import HybridError
from hybrid.experiments.methods import check
from hybrid.profiles.checked import ranges, whole_seed
from hybrid.profiles.overrides import PROFILES, profile
from hybrid.profiles.schema import BigGAN, Diffusion, Plus, Representation, Training


def leaves(value, path=""):
    """The fields of a profile that are values: a.b.c, class, field."""
    for field in fields(value):
        inner = getattr(value, field.name)
        if is_dataclass(inner):
            yield from leaves(inner, f"{path}{field.name}.")
        elif field.name not in ("name", "dataset"):
            yield f"{path}{field.name}", type(value), field.name


LEAVES = list(leaves(PROFILES["smoke"]))


def test_every_number_has_a_range():
    for _, kind, name in LEAVES:
        hint, (plain, _, range_) = get_type_hints(kind)[name], ranges(kind)[name]
        assert range_ is not None or plain is bool or get_origin(plain) is Literal, f"{kind.__name__}.{name}: {hint}"


@settings(max_examples=300, deadline=None)
@given(
    leaf=some.sampled_from(LEAVES),
    text=some.text(max_size=8)
    | some.floats().map(str)
    | some.integers().map(str)
    | some.sampled_from(["nan", "inf", "-inf", "1e400", "none", "true", "", "-", "0", "-1", "1-2", "0-0", "1e30"]),
)
def test_any_text_is_a_value_or_told_in_a_line(leaf, text):
    """Never a traceback, and whatever is taken lies in the field's range."""
    path, kind, name = leaf
    try:
        changed = profile(f"smoke,{path}={text}")
    except HybridError as error:
        assert "\n" not in str(error).replace(text, "")
        return
    value = changed
    for part in path.split("."):
        value = getattr(value, part)
    range_ = ranges(kind)[name][2]
    if value is not None and range_ is not None:
        assert all(range_.low <= each <= range_.high for each in (value if isinstance(value, tuple) else (value,)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("hybrid.representation.training.lr=inf", "lr = inf: give a number above 0, at most 10"),
        ("hybrid.representation.training.lr=1e400", "lr = inf"),
        ("hybrid.prior.training.lr=1e30", "lr = 1e+30"),
        ("nvae.training.lr=nan", "lr = nan"),
        ("hybrid.representation.contrast.key_batch=7", "key_batch = 7: give a divisor of the batch's 512 images"),
        ("ddim.beta_max=2", "beta_max = 2.0: give a share above 0 and below 1"),
        ("ddim.beta_min=0.5", "beta_min = 0.5: give no more than beta_max"),
        ("evaluation.samples=" + "9" * 30, "give 2 or more"),
        ("nvae.groups=1-1-1-1-1-1", "groups = (1, 1, 1, 1, 1, 1): give at most five numbers"),
        ("plus.w.flip=0", "w.flip = 0.0: give a probability above 0, because y.flip = 0.5"),
        ("plus.y.flip=0", "w.flip = 0.5: give 0, because y.flip is 0"),
    ],
)
def test_values_that_make_no_sense_are_refused(change, says):
    with pytest.raises(HybridError) as error:
        check(profile(f"smoke,{change}"))
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Training(1, optimiser="sgd"), "optimiser = 'sgd': give adamw or muon"),
        (lambda: Diffusion(Training(1), predict="x"), "predict = 'x': give noise or v"),
        (lambda: Representation("x"), "training = 'x': give a Training"),
        (lambda: Representation(Training(1, batch=4), decode_every="2"), "decode_every = '2': give a number above 0"),
        (lambda: Representation(Training(1, batch=4), decode_every=5), "decode_every = 5: give 1 to the 4 images of a batch"),
        (lambda: BigGAN(Training(1), discriminator_steps="2"), "discriminator_steps = '2': give a number above 0"),
        (lambda: Plus(1, 2), "y = 1: give a Semantic"),
    ],
)
def test_settings_made_in_python_are_checked_too(make, says):
    with pytest.raises(HybridError) as error:
        make()
    assert says in str(error.value)


@example(seed=2**32 - 1)
@example(seed=2**32)
@example(seed=-1)
@given(seed=some.integers() | some.booleans() | some.floats() | some.none() | some.text(max_size=3))
def test_seeds_are_those_that_torch_tells_apart(seed):
    import torch

    try:
        assert whole_seed(seed) == seed
        torch.Generator().manual_seed(seed)
    except HybridError:
        assert isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32
