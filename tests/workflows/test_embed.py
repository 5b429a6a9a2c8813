"""Codes of images in three formats, made once, whatever stops them on the way."""

import csv
import os
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from hybrid.data.sources import Files, source
from hybrid.errors import HybridError
from hybrid.model import HybridModel
from hybrid.models.autoencoder import Decoder, Encoder
from hybrid.profiles.overrides import profile
from hybrid.training import checkpoint
from hybrid.workflows import embed

CONFIG = profile("smoke").hybrid.representation.autoencoder


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(10):
        path = tmp_path / "pets" / ("train", "test")[i % 2] / ("cat", "dög")[i // 2 % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return tmp_path / "pets"


def test_three_formats_say_the_same(model, folder, tmp_path):
    images = source([str(folder)])
    expected = model.encode(images.read(0, 10)[0]).numpy()
    for suffix in embed.SUFFIXES:
        done = embed.embed(model, images, tmp_path / f"codes{suffix}", ("y", "w", "z"), chunk=3)
        assert (done.images, done.errors) == (10, ()) and str(done) == f"codes of 10 images: {done.out}"
    kept = np.load(tmp_path / "codes.npz")
    assert set(kept) == {"file", "split", "class", "y", "w", "z", "encoder"}
    np.testing.assert_allclose(kept["z"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(kept["y"], kept["z"][:, :3])
    np.testing.assert_array_equal(kept["w"], kept["z"][:, 3:])
    by_pandas = pd.read_parquet(tmp_path / "codes.parquet")
    np.testing.assert_array_equal(np.stack(by_pandas["z"]), kept["z"].reshape(10, -1))
    in_parquet = parquet.read_schema(tmp_path / "codes.parquet").metadata[b"encoder"].decode()
    assert str(kept["encoder"]) == in_parquet == checkpoint.digest(model.encoder.state_dict()) and len(in_parquet) == 16
    by_csv = pd.read_csv(tmp_path / "codes.csv")
    assert list(by_csv.columns[:4]) == ["file", "split", "class", "y0"] and by_csv.columns[-1] == "z1535"
    np.testing.assert_allclose(by_csv.loc[:, "z0":].to_numpy(), kept["z"].reshape(10, -1), rtol=1e-5)
    for name in ("file", "split", "class"):
        assert kept[name].tolist() == by_pandas[name].tolist() == by_csv[name].tolist()
    assert kept["file"].tolist() == sorted(map(str, folder.rglob("*.png")), key=lambda f: (Path(f).parent, Path(f).name))
    assert set(kept["class"]) == {"cat", "dög"} and set(kept["split"]) == {"train", "test"}
    assert not list(tmp_path.glob(".codes*"))  # what was kept on the way is gone


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_unicode(model, tmp_path):
    folder = os.fsencode(tmp_path / "odd")
    os.mkdir(folder)
    Image.new("RGB", (32, 32)).save(tmp_path / "odd" / "a.png")
    os.rename(folder + b"/a.png", folder + b"/\xff.png")
    for suffix in embed.SUFFIXES:
        assert embed.embed(model, source([str(tmp_path / "odd")]), tmp_path / f"codes{suffix}", ("y",)).images == 1
    assert pd.read_parquet(tmp_path / "codes.parquet")["file"].tolist() == [str(tmp_path / "odd" / "\ufffd.png")]


def stop_encoding(monkeypatch, call):
    """Interrupt this call of `HybridModel.encode`, counted from 1. Returns the sizes of all batches, as they come."""
    encode, calls = HybridModel.encode, []

    def interrupted(self, batch):
        calls.append(len(batch))
        if len(calls) == call:
            raise KeyboardInterrupt
        return encode(self, batch)

    monkeypatch.setattr(HybridModel, "encode", interrupted)
    return calls


def test_it_goes_on_where_it_stopped_and_gives_the_same_bytes(model, folder, tmp_path, monkeypatch):
    images = source([str(folder)])
    embed.embed(model, images, tmp_path / "whole.npz", ("y",), chunk=2)
    calls = stop_encoding(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt):
        embed.embed(model, images, tmp_path / "parts.npz", ("y",), chunk=2)
    assert not (tmp_path / "parts.npz").exists()
    embed.embed(model, images, tmp_path / "parts.npz", ("y",), chunk=2)
    assert calls == [2] * 6  # three chunks, the one that died, the two that were left
    assert (tmp_path / "parts.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


@pytest.mark.parametrize("change", ["image", "part", "model"])
def test_it_begins_anew_where_something_else_is_asked_for(model, folder, tmp_path, monkeypatch, change):
    calls = stop_encoding(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        embed.embed(model, source([str(folder)]), tmp_path / "c.npz", ("y",), chunk=2)
    if change == "image":
        Image.new("RGB", (32, 32)).save(next(folder.rglob("0.png")))
    if change == "model":
        torch.manual_seed(1)
        model = HybridModel(Encoder(CONFIG), Decoder(CONFIG))
    part = ("w",) if change == "part" else ("y",)
    embed.embed(model, source([str(folder)]), tmp_path / "c.npz", part, chunk=2)
    assert len(calls) == 3 + 5
    embed.embed(model, source([str(folder)]), tmp_path / "fresh.npz", part, chunk=2)
    assert (tmp_path / "c.npz").read_bytes() == (tmp_path / "fresh.npz").read_bytes()


@pytest.mark.parametrize("suffix", embed.SUFFIXES)
def test_what_cannot_be_read_is_left_out_and_told(model, folder, tmp_path, suffix):
    files = sorted(folder.rglob("*.png"))
    for file in files[:2]:  # the whole of the first chunk
        file.write_bytes(b"no image")
    done = embed.embed(model, Files(source([str(f) for f in files]).rows), tmp_path / f"c{suffix}", ("y",), chunk=2)
    assert done.images == 8 and len(done.errors) == 2
    assert "2 could not be read and are left out" in str(done) and str(files[0]) in str(done)
    read = {".npz": np.load, ".csv": pd.read_csv, ".parquet": pd.read_parquet}[suffix]
    assert list(read(tmp_path / f"c{suffix}")["file"]) == [str(file) for file in files[2:]]
    for file in files:
        file.write_bytes(b"")
    with pytest.raises(HybridError, match="none of 10 images could be read; the first: "):
        embed.embed(model, source([str(folder)]), tmp_path / "none.npz", ("y",))


@pytest.mark.parametrize(
    ("out", "says"), [("c.pt", r"no known ending: expected \.npz or \.csv or \.parquet"), ("", "no known")]
)
def test_where_it_cannot_be_written_is_told_first(model, tmp_path, out, says):
    with pytest.raises(HybridError, match=says):
        embed.check(tmp_path / out)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(HybridError, match="is a folder"):
        embed.check(tmp_path / "folder.npz")


@pytest.mark.parametrize("suffix", embed.SUFFIXES)
def test_memory_does_not_grow_with_the_images(model, tmp_path, monkeypatch, suffix):
    """What numpy holds at its peak, of as many images and of four times as many: codes of z have 6 kB an image."""
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    z = np.zeros((50, 6, 16, 16), np.float32)
    monkeypatch.setattr(embed, "parts_of", lambda model, images, parts: {"z": z[: len(images)].copy()})
    peaks = []
    for count in (200, 800):
        images = source([str(tmp_path / "a.png")] * count)
        tracemalloc.start()
        embed.embed(model, images, tmp_path / f"c{suffix}", ("z",), chunk=50)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 0.3 * 600 * z[0].nbytes
    if suffix == ".csv":
        with open(tmp_path / "c.csv", newline="") as file:
            assert sum(1 for _ in csv.reader(file)) == 801
