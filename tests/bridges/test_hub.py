"""A hybrid in a folder and in a repository, which a folder stands for."""

import inspect
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

import hybrid
from hybrid.bridges import hub
from hybrid.errors import HybridError
from hybrid.model import HybridModel
from hybrid.models.autoencoder import Decoder, Encoder
from hybrid.models.latent_ddim import LatentDDIM, PlusPrior, SemanticPrior, TexturePrior
from hybrid.profiles.overrides import profile

SMOKE = profile("smoke,hybrid.prior.predict=v")
CONFIG = SMOKE.hybrid.representation.autoencoder


def made(kind):
    torch.manual_seed(0)
    prior = {
        "none": lambda: None,
        "ddim": lambda: LatentDDIM(SMOKE.hybrid.prior, CONFIG),
        "plus": lambda: PlusPrior(SemanticPrior(SMOKE.plus.y, CONFIG), TexturePrior(SMOKE.plus.w, CONFIG)),
    }[kind]()
    model = HybridModel(Encoder(CONFIG), Decoder(CONFIG), prior)
    for parameter in model.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)  # layers that begin as zeros would hide what is lost
    return model


@pytest.mark.parametrize("kind", ["none", "ddim", "plus"])
def test_a_folder_gives_the_same_model(tmp_path, images, kind):
    model = made(kind)
    assert hybrid.save_pretrained(model, tmp_path / "mine") == tmp_path / "mine"
    again = hybrid.from_pretrained(tmp_path / "mine")
    assert repr(again) == repr(model)
    torch.testing.assert_close(again.reconstruct(images), model.reconstruct(images))
    if kind != "none":
        torch.testing.assert_close(again.sample(2, steps=2), model.sample(2, steps=2))
    card = (tmp_path / "mine" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: hybrid-mi") and "# mine" in card and "{{" not in card
    assert ("model.sample" in card) == (kind != "none")
    weights = tmp_path / "mine" / "model.safetensors"
    assert set(load_file(weights)) == set(model.state_dict())
    assert weights.stat().st_mode == (tmp_path / "mine" / "README.md").stat().st_mode


def test_pushed_and_got_back(tmp_path, monkeypatch, images):
    """By the calls of huggingface_hub's own interface, whose network is a folder here."""
    made_of = {}

    class Api:
        def __init__(self, token=None):
            self.token = token

        def create_repo(self, repo_id, *, private=None, exist_ok=False):
            made_of[repo_id] = tmp_path / "hub" / repo_id
            assert exist_ok and self.token == "secret"

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            shutil.copytree(folder_path, made_of[repo_id])
            return f"https://hub/{repo_id}"

    for name in ("create_repo", "upload_folder"):  # the real one takes what is given here
        taken = [inspect.signature(getattr(kind, name)).parameters.keys() for kind in (Api, huggingface_hub.HfApi)]
        assert taken[0] <= taken[1], name
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(made_of[name]))
    monkeypatch.chdir(tmp_path)
    model = made("ddim")
    assert hybrid.push_to_hub(model, "me/mine", token="secret") == "https://hub/me/mine"
    torch.testing.assert_close(hybrid.from_pretrained("me/mine").encode(images), model.encode(images))
    assert "# mine" in (tmp_path / "hub/me/mine/README.md").read_text()


def test_what_is_no_hybrid_is_told(tmp_path, monkeypatch):
    def absent(*_, **__):
        raise OSError("404\nnot found")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", absent)
    with pytest.raises(HybridError, match=r"'me/nothing' is neither a folder nor a repository .*\(404 not found\)"):
        hybrid.from_pretrained("me/nothing")
    with pytest.raises(HybridError, match="Encoder cannot be saved: expected a HybridModel"):
        hybrid.save_pretrained(made("none").encoder, tmp_path / "encoder")
    assert not (tmp_path / "encoder").exists()
    with pytest.raises(HybridError, match=r"holds no hybrid: expected config\.json .*; a run's folder is for hybrid\.load"):
        hybrid.from_pretrained(tmp_path)
    with pytest.raises(HybridError, match=r"device = 'nowhere' cannot be used"):
        hybrid.from_pretrained(tmp_path, device="nowhere")
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", absent)
    with pytest.raises(HybridError, match=r"'me/mine' could not be written \(404 not found\)"):
        hybrid.push_to_hub(made("none"), "me/mine")


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "model.safetensors").write_bytes(b"no weights"),
        lambda folder: save_file({"encoder.x": torch.zeros(1)}, folder / "model.safetensors"),
        lambda folder: (folder / "config.json").write_text('{"library": "hybrid-mi", "format": 1}'),
        lambda folder: (folder / "config.json").write_text('{"library": "hybrid-mi", "format": 1, "autoencoder": {"x": 1}}'),
        lambda folder: (folder / "config.json").write_text('{"library": "hybrid-mi", "format": 1, "autoencoder": "x"}'),
        lambda folder: (folder / "config.json").write_text('{"library": "hybrid-mi", "format": 2}'),
        lambda folder: (folder / "config.json").write_text("[]"),
    ],
)
def test_a_damaged_folder_is_told_in_a_line(tmp_path, harm):
    folder = Path(hub.save_pretrained(made("none"), tmp_path / "mine"))
    harm(folder)
    with pytest.raises(HybridError) as caught:
        hub.from_pretrained(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
