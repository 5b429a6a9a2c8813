"""Save a hybrid to a folder in the format of huggingface_hub: model.safetensors, config.json and a model card, README.md.

    hybrid.save_pretrained(model, "my-hybrid")
    hybrid.push_to_hub(model, "me/my-hybrid")
    model = hybrid.from_pretrained("me/my-hybrid")  # or a folder

Only uploads and downloads need the extra: pip install 'hybrid-mi[hub]'.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from jinja2 import Environment, PackageLoader
from safetensors.torch import save

from hybrid.errors import HybridError, one_line
from hybrid.machine.files import write_atomically, write_json
from hybrid.machine.precision import usable
from hybrid.model import HybridModel
from hybrid.released import FORMAT, SAVED, SETTINGS, saved, settings_of

CARD = "README.md"


def save_pretrained(model: HybridModel, folder: str | Path, name: str = "") -> Path:
    """Write the model to `folder`, in float32, with a model card, and return the folder. `name` (default: the folder's) is
    the title of the card. Raises HybridError for another model than a hybrid."""
    if not isinstance(model, HybridModel):
        raise HybridError(f"{type(model).__name__} cannot be saved: expected a HybridModel, such as hybrid.load returns")
    folder = Path(folder).expanduser()
    name = name or folder.resolve().name
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    write_atomically(folder / SAVED, lambda temporary: temporary.write_bytes(save(tensors, {"format": "pt"})))
    write_json(folder / SETTINGS, {"library": "hybrid-mi", "format": FORMAT, **settings_of(model)})
    template = Environment(loader=PackageLoader("hybrid.bridges", "")).get_template("card.md")
    card = template.render(name=name, model=repr(model), generates=model.prior is not None)
    write_atomically(folder / CARD, lambda temporary: temporary.write_text(card, encoding="utf-8"))
    return folder


def from_pretrained(
    source: str | Path, device: torch.device | str = "cpu", revision: str | None = None, token: str | None = None
) -> HybridModel:
    """Return the model in a folder that `save_pretrained` wrote, or in a repository of huggingface_hub, such as me/my-hybrid.

    `revision` (a branch, tag or commit) and `token` go to huggingface_hub. Raises HybridError if there is no such model.
    """
    folder, device = Path(source).expanduser(), usable(device)
    if not folder.is_dir():
        hub = _hub()
        try:
            files = [SAVED, SETTINGS]
            folder = Path(hub.snapshot_download(str(source), revision=revision, token=token, allow_patterns=files))
        except Exception as error:  # many kinds: no such repository, no network, no permission
            raise HybridError(
                f"{str(source)!r} is neither a folder nor a repository that can be read ({one_line(error)}): give one of these"
            ) from None
    return saved(folder, device)


def push_to_hub(model: HybridModel, repository: str, private: bool | None = None, token: str | None = None) -> str:
    """Write the model to a repository of huggingface_hub, such as me/my-hybrid, and create it if necessary; return its address.

    `private` and `token` go to huggingface_hub. Raises HybridError if the upload fails.
    """
    api = _hub().HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, name=repository.split("/")[-1])
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=repository, folder_path=folder, commit_message="A hybrid"))
        except Exception as error:  # as above
            raise HybridError(f"{repository!r} could not be written ({one_line(error)}): check name, token, network") from None


def _hub():
    try:
        import huggingface_hub
    except ImportError:
        raise HybridError("huggingface_hub is not installed: pip install 'hybrid-mi[hub]'") from None
    return huggingface_hub
