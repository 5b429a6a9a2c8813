"""Released weights: a trained hybrid in one file, in half precision, with all that it takes to build it and to check it."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import torch
from jinja2 import Environment, PackageLoader
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hybrid import configs, evaluate, figures, methods
from hybrid.autoencoder import Decoder, Encoder
from hybrid.checkpoint import write_atomically
from hybrid.errors import HybridError
from hybrid.experiment import Experiment
from hybrid.latent import PlusPrior, SemanticPrior, TexturePrior
from hybrid.model import HybridModel

FOLDER = Path(__file__).parent / "weights"
EXAMPLES = 16  # test images that are released with the weights, so that they can be tried and checked at once
KEPT = "examples"  # their name beside the weights'


def names() -> list[str]:
    """The data sets that weights are released of."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def pretrained(name: str = "cifar10", device: torch.device | str = "cpu") -> HybridModel:
    """The released hybrid, which samples by Hybrid+, in float32. Raises HybridError for a name that is not released."""
    tensors, known = _read(name)
    del tensors[KEPT]
    # Only what is built: how it was trained may be told in fields that are no more.
    kept = known["config"]
    autoencoder = configs.restore(configs.Autoencoder, kept["representation"]["autoencoder"])
    semantic = SemanticPrior(configs.restore(configs.Semantic, kept["y"]), autoencoder)
    texture = TexturePrior(configs.restore(configs.Texture, kept["w"]), autoencoder)
    model = HybridModel(Encoder(autoencoder), Decoder(autoencoder), PlusPrior(semantic, texture))
    model.load_state_dict(tensors)
    return model.to(device=device, memory_format=torch.channels_last)


def examples(name: str = "cifar10") -> Tensor:
    """Test images that come with the weights, uint8 (16, 3, 32, 32). Raises HybridError for a name that is not released."""
    if name not in names():
        raise HybridError(
            f"{name!r} brings no images, only released weights do ({_choices()}): give some, such as a data set's name"
        )
    return _read(name)[0][KEPT]


def about(name: str = "cifar10") -> dict:
    """What is known of the weights: `config`, `provenance`, `metrics`, and of the rounded weights `half_mse` (test set)
    and `examples_mse`, in 1e-3."""
    return _read(name)[1]


def open_model(run: str | Path, device: torch.device | str = "cpu") -> HybridModel:
    """The hybrid of a released name, such as cifar10, or of a run's folder. Raises HybridError where it is neither."""
    if str(run) in names():
        return pretrained(str(run), device)
    if not Path(run).is_dir():
        raise HybridError(f"{str(run)!r} is neither a run's folder nor released: choose among {_choices()}")
    return methods.load(run, device)


def release(experiment: Experiment, folder: Path = FOLDER) -> Path:
    """Write `folder`/<data set>.safetensors and its model card, <data set>.md; return the weights' path.

    Floating point is rounded to half precision, and what that costs is measured and stated.
    """
    model, images = experiment.model("hybridplus"), experiment.images
    first, judged = experiment.metrics("hybrid"), experiment.metrics("hybridplus")
    made = {stage: first["provenance"][stage] | judged["provenance"][stage] for stage in ("trained", "training_seconds")}
    made = {kind: {stage: of for stage, of in stages.items() if stage != "prior"} for kind, stages in made.items()}
    shown = images.test_images[figures.pairs(images, EXAMPLES // 2, experiment.seed).flatten()].cpu()
    tensors = {
        key: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for key, value in model.state_dict().items()
    }
    rounded = copy.deepcopy(model)
    rounded.load_state_dict(tensors)
    known = {
        "config": configs.describe(methods.method("hybridplus").config(experiment.profile)),
        "provenance": judged["provenance"] | made,
        "metrics": judged["metrics"],
        "half_mse": evaluate.squared_error(rounded.reconstruct(images.test_images), images.test_images),
        "examples_mse": evaluate.squared_error(rounded.reconstruct(shown), shown),
    }
    path, metadata = folder / f"{experiment.slug}.safetensors", {"about": json.dumps(known)}
    write_atomically(path, lambda temporary: save_file(tensors | {KEPT: shown}, temporary, metadata))
    template = Environment(loader=PackageLoader("hybrid", "")).get_template("card.md")
    card = template.render(
        name=experiment.slug,
        profile=experiment.profile.name,
        megabytes=path.stat().st_size / 1e6,
        parameters=sum(p.numel() for p in model.parameters()),
        minutes={stage: seconds / 60 for stage, seconds in made["training_seconds"].items()},
        **known,
    )
    write_atomically(path.with_suffix(".md"), lambda temporary: temporary.write_text(card))
    return path


def _choices() -> str:
    return ", ".join(names()) or "none yet"


def _read(name: str) -> tuple[dict[str, Tensor], dict]:
    path = FOLDER / f"{name}.safetensors"
    if not path.exists():
        raise HybridError(f"no weights of {name!r} are released: choose among {_choices()}")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            known = json.loads(file.metadata()["about"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise HybridError(f"{path} is damaged ({error}): restore it, as with git checkout") from error
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}, known
