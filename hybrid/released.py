"""Trained hybrids, to use: released weights, and those in a run's folder.

Released weights are a hybrid in one file, in half precision, with everything for building and checking it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from hybrid.errors import HybridError, one_line
from hybrid.machine.files import demand, load_arrays, only_read, read_json
from hybrid.machine.precision import usable
from hybrid.model import HybridModel
from hybrid.models.autoencoder import Decoder, Encoder
from hybrid.models.base import Trainable
from hybrid.models.hybrid import Representation
from hybrid.models.latent_ddim import LatentDDIM, PlusPrior, SemanticPrior, TexturePrior
from hybrid.paths import home
from hybrid.profiles import schema
from hybrid.training import checkpoint

FOLDER = Path(__file__).parent / "weights"

SUFFIX = ".safetensors"

RUN = "runs/demo/digits/hybrid/seed0"  # a run's folder, for messages

SUMS = "SHA256SUMS"  # beside the weights, as `sha256sum --check` reads it

EXAMPLES = 16  # test images that are released with the weights, so that they can be tried and checked at once
KEPT = "examples"  # their name beside the weights'

PROBE = "-probe.npz"  # ending of the file of a linear layer that reads the classes off y

SAVED, SETTINGS = "model.safetensors", "config.json"  # of `hybrid.save_pretrained`
FORMAT = 1  # increase it when older versions cannot read what save_pretrained writes


def names() -> list[str]:
    """Return the names of the data sets with released weights."""
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


def pretrained(name: str = "cifar10", device: torch.device | str = "cpu") -> HybridModel:
    """Return the released hybrid, in float32; it samples with Hybrid+. Raises HybridError for a name that is not released.

    `name` may also be the path of a .safetensors that `hybrid release` wrote. `load` returns a hybrid from a run's folder.
    """
    device = usable(device)
    tensors, known = _read(name)
    tensors.pop(KEPT, None)
    try:
        # Only the networks' fields; those of the training may not exist any more.
        kept = known["config"]
        model = built({"autoencoder": kept["representation"]["autoencoder"], "y": kept["y"], "w": kept["w"]})
        model.load_state_dict(tensors)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise _damaged(_file(name), error) from error
    return model.to(device=device, memory_format=torch.channels_last)


def settings_of(model: HybridModel) -> dict:
    """Return what `built` needs to build the model again, as plain values."""
    settings = {"autoencoder": schema.describe(model.encoder.config)}
    if isinstance(model.prior, LatentDDIM):
        settings["prior"] = schema.describe(model.prior.config)
    elif isinstance(model.prior, PlusPrior):
        settings["y"], settings["w"] = (schema.describe(part.config) for part in (model.prior.semantic, model.prior.texture))
    return settings


def built(settings: dict) -> HybridModel:
    """Return an untrained model with these settings: `autoencoder`, and `prior` for a DDIM on z, or `y` and `w` for Hybrid+."""
    autoencoder, prior = schema.restore(schema.Autoencoder, settings["autoencoder"]), None
    if "prior" in settings:
        prior = LatentDDIM(schema.restore(schema.LatentDiffusion, settings["prior"]), autoencoder)
    elif "y" in settings:
        semantic = SemanticPrior(schema.restore(schema.Semantic, settings["y"]), autoencoder)
        prior = PlusPrior(semantic, TexturePrior(schema.restore(schema.Texture, settings["w"]), autoencoder))
    return HybridModel(Encoder(autoencoder), Decoder(autoencoder), prior)


def examples(name: str = "cifar10") -> Tensor:
    """Return the test images that come with released weights, uint8 (16, 3, 32, 32). Raises HybridError for other names."""
    if not _file(name).exists():
        raise HybridError(f"{name!r} has no example images, only released weights do ({_choices()}): give one of these names")
    tensors = _read(name)[0]
    if KEPT not in tensors:
        raise _damaged(_file(name), f"it has no {KEPT}")
    return tensors[KEPT]


def class_reader(name: str, model: HybridModel) -> Callable[[Tensor], list[str]] | None:
    """Return the linear probe on y that was released with the weights: images (N, 3, 32, 32) -> names of classes.

    None if no probe was released.
    """
    path = _file(name).with_name(_file(name).stem + PROBE)
    if not path.exists():
        return None
    _demand_digest(path)
    kept = load_arrays(path)
    if kept is None or not {"weight", "bias", "classes"} <= kept.keys():
        raise _damaged(path, "it holds no linear layer")
    weight, bias = (torch.from_numpy(kept[part]).float() for part in ("weight", "bias"))
    names = kept["classes"].tolist()

    def read(images: Tensor) -> list[str]:
        return [names[place] for place in F.linear(model.features(images)["y"].cpu(), weight, bias).argmax(1).tolist()]

    return read


def about(name: str = "cifar10") -> dict:
    """Return facts about the weights: `config`, `provenance`, `metrics`, and for the rounded weights `half_mse` (test set)
    and `examples_mse`, in 1e-3."""
    return _read(name)[1]


def load(path: str | Path, device: torch.device | str = "cpu") -> HybridModel:
    """Return the trained hybrid in a run's folder, ready for use. Its one-line description says by what it samples.

    runs/demo/digits/hybrid/seed0 samples by the paper's DDIM on z; without one, or if it is unfinished, the model cannot
    sample. runs/demo/digits/hybridplus/seed0 is the same hybrid, from the folder beside it, and samples by Hybrid+. Raises
    HybridError if there is no hybrid or no Hybrid+, or if a prior was trained on the codes of other weights.
    """
    first, device = first_stage(path), usable(device)
    path = Path(path).expanduser().resolve()
    representation, config = load_stage(first / "representation", schema.Representation, Representation, device)
    if representation is None and (path / SETTINGS).exists():
        raise HybridError(f"{path} holds what hybrid.save_pretrained writes, not a run: hybrid.from_pretrained loads it")
    if representation is None:
        raise HybridError(f"{first} holds no trained hybrid: give a run's folder, such as {RUN}")
    if representation.decoder is None:
        raise HybridError(f"{first} holds MoCo-v2, which decodes nothing: give a hybrid's folder, such as {RUN}")

    encoder = checkpoint.digest(representation.encoder.state_dict())

    def prior(folder: Path, kind: type, build: Callable) -> Any:
        return load_stage(folder, kind, lambda found: build(found, config.autoencoder), device, encoder)[0]

    if path == first:
        latent = prior(path / "prior", schema.LatentDiffusion, LatentDDIM)
        return HybridModel(representation.encoder, representation.decoder, latent)
    semantic = prior(path / "semantic", schema.Semantic, SemanticPrior)
    texture = prior(path / "texture", schema.Texture, TexturePrior)
    if semantic is None or texture is None:
        raise HybridError(f"{path} holds no trained Hybrid+: train it to its end (--methods hybridplus), or give {first}")
    return HybridModel(representation.encoder, representation.decoder, PlusPrior(semantic, texture))


def saved(folder: Path, device: torch.device | str = "cpu") -> HybridModel:
    """Return the hybrid in a folder that `hybrid.save_pretrained` wrote. Raises HybridError if there is none."""
    device = usable(device)
    with only_read():
        settings = read_json(folder / SETTINGS)
    if not isinstance(settings, dict) or settings.get("library") != "hybrid-mi":
        raise HybridError(
            f"{folder} holds no hybrid: expected {SETTINGS} and {SAVED}, as hybrid.save_pretrained writes them; a run's folder "
            "is for hybrid.load"
        )
    if settings.get("format") != FORMAT:
        raise HybridError(f"{folder / SETTINGS} is of format {settings.get('format')}, this version reads {FORMAT}: update")
    try:
        model = built(settings)
        model.load_state_dict(load_file(folder / SAVED))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, HybridError) as error:
        raise HybridError(f"{folder / SAVED} does not go with its {SETTINGS} ({one_line(error)}): get both again") from None
    return model.to(device=device, memory_format=torch.channels_last)


def first_stage(path: str | Path) -> Path:
    """Return the folder that holds the first stage of a run: its own, or for Hybrid+ the hybrid's beside it.

    Raises HybridError if `path` is not a folder.
    """
    if not Path(path).expanduser().is_dir():
        raise _no_folder(path)
    path = Path(path).expanduser().resolve()
    return path.parents[1] / "hybrid" / path.name if path.parent.name == "hybridplus" else path


def open_model(run: str | Path, device: torch.device | str = "cpu") -> HybridModel:
    """Return the hybrid for a released name, such as cifar10, a .safetensors, a run's folder, or one of save_pretrained.

    Raises HybridError if it is none of these.
    """
    folder = Path(run).expanduser()
    if folder.name == SAVED:
        folder = folder.parent
    if (folder / SETTINGS).exists() and not (folder / "representation").exists():  # else it is a run's folder
        return saved(folder, device)
    if are_released(run):
        return pretrained(str(run), device)
    if not folder.is_dir():
        raise HybridError(
            f"{str(run)!r} is neither a run's folder nor released: choose among {_choices()}, or give a folder, such as "
            f"{home() / RUN}"
        )
    return load(run, device)


def dataset_of(run: str | Path) -> str:
    """Return the name of the data set on which the hybrid of `open_model(run)` was trained."""
    if are_released(run):
        return about(str(run))["provenance"]["dataset"]
    state = checkpoint.load_finished(first_stage(run) / "representation/checkpoint.pt")
    return state["about"]["dataset"] if state else ""


def are_released(run: str | Path) -> bool:
    """Return whether `run` is the name or the file of released weights, and not a run's folder."""
    return str(run) in names() or Path(run).suffix == SUFFIX


def _choices() -> str:
    return ", ".join(names()) or "none yet"


def _no_folder(path: str | Path) -> HybridError:
    """Return the error for a `path` of `load` that is no folder."""
    if str(path) in names():
        return HybridError(
            f"{str(path)!r} is not a folder, it names released weights: hybrid.pretrained({str(path)!r}) loads them"
        )
    found = "is a file" if Path(path).exists() else "does not exist"
    return HybridError(f"{str(path)!r} {found}: expected a run's folder, such as {RUN}")


def _read(name: str) -> tuple[dict[str, Tensor], dict]:
    if name not in names() and (Path(name) / SETTINGS).exists():
        raise HybridError(f"{str(name)!r} holds what hybrid.save_pretrained writes: hybrid.from_pretrained loads it")
    if name not in names() and Path(name).is_dir():
        raise HybridError(
            f"{str(name)!r} is a folder, not the name of released weights: hybrid.load({str(name)!r}) loads a run"
        )
    path = _file(name)
    if not path.exists():
        if Path(name).suffix == SUFFIX:
            raise HybridError(f"{name} does not exist: give the path of released weights, or choose among {_choices()}")
        raise HybridError(f"no weights of {name!r} are released: choose among {_choices()}")
    return read(path)


def _file(name: str | Path) -> Path:
    """Return the file of released weights: of a name, or the given .safetensors itself."""
    return Path(name).expanduser() if Path(name).suffix == SUFFIX else FOLDER / f"{name}{SUFFIX}"


def read(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Return the content of a file of released weights: tensors, in float32, and the facts of `about`.

    Raises HybridError if the file is damaged, or if its SHA-256 is not the one in SHA256SUMS.
    """
    _demand_digest(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            if "about" not in (metadata := file.metadata() or {}):
                raise HybridError(f"{path} is not of hybrid release: hybrid.from_pretrained loads what save_pretrained wrote")
            known = json.loads(metadata["about"])
            demand(known, {"config": dict, "provenance": dict, "metrics": dict})
    except HybridError:
        raise
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, error) from error
    tensors = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    if (broken := checkpoint.not_finite(tensors)) is not None:
        raise _damaged(path, f"{broken} is not finite")
    return tensors, known


def sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the weights' files in a folder, by name."""
    path = folder / SUMS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _demand_digest(path: Path) -> None:
    if (digest := sums(path.parent).get(path.name)) is not None and digest != sha256(path):
        raise _damaged(path, f"its SHA-256 is not the one in {SUMS}")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file. Raises HybridError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise HybridError(f"{path} cannot be read ({error}): change its permissions") from error


def _damaged(path: Path, why: Exception | str) -> HybridError:
    own = path.parent.resolve() != FOLDER.resolve()
    instead = "copy it again, or write it again with hybrid release" if own else "install the package again, or git checkout it"
    return HybridError(f"{path} is damaged ({one_line(why)}): {instead}")


def load_stage(
    folder: Path, kind: type, build: Callable, device: torch.device, encoder: str | None = None
) -> tuple[Trainable | None, Any]:
    """Return the model of a finished stage, in evaluation mode, and its config, or None and None if there is none."""
    if (state := checkpoint.load_finished(folder / "checkpoint.pt")) is None:
        return None, None
    try:
        config = schema.restore(kind, state["about"]["config"])
        stage = build(config)
        stage.load_state_dict(state["weights"])
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise HybridError(f"{folder} holds no {kind.__name__} that can be built ({one_line(error)}): train it again") from error
    if encoder is not None and state["about"].get("encoder") != encoder:
        raise HybridError(f"{folder} was trained on the codes of other weights than those of the first stage: train it again")
    return stage.to(device=device, memory_format=torch.channels_last).eval(), config
