"""The images nearest to a picture: found among files and among kept codes."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from hybrid.data.sources import source
from hybrid.errors import HybridError
from hybrid.training import checkpoint
from hybrid.workflows import embed, neighbours
from hybrid.workflows.explain import explain


@pytest.fixture
def folder(tmp_path):
    """Ten pictures in each of two colours, with a little noise."""
    rng = np.random.default_rng(0)
    for i in range(20):
        path = tmp_path / "all" / ("red", "blue")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        array = rng.integers(0, 40, (32, 32, 3), dtype=np.uint8)
        array[..., 2 * (i % 2)] += 200
        Image.fromarray(array).save(path)
    return tmp_path / "all"


def test_the_nearest_are_of_its_colour_and_the_same_by_kept_codes(model, folder, tmp_path):
    query = folder / "red" / "4.png"
    found, searched = neighbours.search(model, query, [str(folder)], "z", 9)
    assert set(found.labels) == {"red"} and len(found.files) == 9 and str(query) not in found.files
    assert list(found.similarities) == sorted(found.similarities, reverse=True)
    embed.embed(model, source([str(folder)]), tmp_path / "codes.npz", ("z",))
    kept, none = neighbours.search(model, query, [str(tmp_path / "codes.npz")], "z", 9)
    assert none is None and kept.files == found.files and kept.similarities == pytest.approx(found.similarities, abs=1e-4)
    for images, name in ((searched, "a.png"), (None, "b.png")):
        neighbours.draw(found, images, tmp_path / name, {"made from": str(query)})
        assert (tmp_path / name).stat().st_size > 1000
        assert str(query) in explain(tmp_path / name)
    assert found.as_json()["neighbours"][0]["class"] == "red" and str(found).count("\n") == 8


def test_among_arrays_and_with_files_that_cannot_be_read(model, folder, tmp_path, caplog):
    np.savez(tmp_path / "some.npz", images=np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8))
    found, searched = neighbours.search(model, folder / "red" / "4.png", [str(tmp_path / "some.npz")], "y", 8)
    assert sorted(found.files) == [f"images[{i}]" for i in range(5)]
    neighbours.draw(found, searched, tmp_path / "a.png")
    (folder / "red" / "0.png").write_bytes(b"no image")
    assert len(neighbours.search(model, folder / "red" / "4.png", [str(folder)], "y", 100)[0].files) == 18
    assert caplog.messages[-1].startswith("1 image could not be read and is left out; the first: ")


def test_a_query_that_is_there_several_times_is_left_out_each_time(model, folder):
    query = folder / "red" / "4.png"
    found, _ = neighbours.search(model, query, [str(folder), *[str(query)] * 4], "y", 3)
    assert len(found.files) == 3 and str(query) not in found.files


def test_codes_with_fewer_classes_than_files_are_refused(model, folder, tmp_path):
    codes = {"file": np.array(["a", "b"]), "class": np.array(["x"]), "y": np.zeros((2, 3, 16, 16), np.float32)}
    with zipfile.ZipFile(tmp_path / "codes.npz", "w") as archive:  # np.savez takes no array named file
        for name, values in codes.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, values)
    with pytest.raises(HybridError, match="has not a file and a class for each code"):
        neighbours.search(model, folder / "red" / "4.png", [str(tmp_path / "codes.npz")])


def test_codes_without_their_images_are_found_and_drawn_white(model, folder, tmp_path, monkeypatch, caplog):
    """As those of a data set, whose images are no files."""
    np.savez(tmp_path / "some.npz", images=np.zeros((3, 32, 32, 3), np.uint8))
    embed.embed(model, source([str(tmp_path / "some.npz")]), tmp_path / "codes.npz", ("y",))
    found, none = neighbours.search(model, folder / "red" / "4.png", [str(tmp_path / "codes.npz")])
    drawn = []
    monkeypatch.setattr(neighbours.probed, "neighbours", lambda _, pixels, titles: drawn.extend([pixels, titles]))
    monkeypatch.setattr(neighbours.figures, "save_figure", lambda *_: None)
    neighbours.draw(found, none, tmp_path / "x.png")
    assert drawn[0].shape == (1, 3, 3, 32, 32) and (drawn[0] == 255).all() and not any("(" in title for title in drawn[1][0])
    assert caplog.messages[-1].startswith(
        f"3 neighbours cannot be drawn and are white in {tmp_path / 'x.png'}; the first: images["
    )
    found, searched = neighbours.search(model, folder / "red" / "4.png", [str(folder)], "z", 9)
    neighbours.draw(found, searched, tmp_path / "x.png")
    assert all(title.endswith(" (red)") for title in drawn[3][0])


def write_codes(path, **arrays):
    """numpy's savez has an argument called file."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array)


def test_codes_of_other_weights_are_refused(model, folder, tmp_path, caplog):
    query, path = folder / "red" / "4.png", tmp_path / "codes.npz"
    embed.embed(model, source([str(folder)]), path, ("y",))
    own = checkpoint.digest(model.encoder.state_dict())
    found = neighbours.find_in_codes(model, query, path)
    assert not caplog.messages
    next(model.encoder.parameters()).data += 0.01
    with pytest.raises(HybridError, match=rf"codes.npz has codes of other weights \(digest {own}\) .*hybrid embed$"):
        neighbours.find_in_codes(model, query, path)
    next(model.encoder.parameters()).data -= 0.01
    arrays = dict(np.load(path))
    write_codes(path, **{name: arrays[name] for name in ("file", "class", "y")})  # as an earlier version did
    assert neighbours.find_in_codes(model, query, path).files == found.files
    assert caplog.messages == [f"{path} does not name the weights that its codes come from: they may be of another model"]


@pytest.mark.parametrize(
    ("images", "part", "count", "says"),
    [
        ("{}", "y", 0, "count = 0: give 1 or more"),
        ("{}/../codes.npz", "w", 3, "codes.npz has no codes of w: give --part y, or write them with hybrid embed --part w$"),
        ("{}/../none.npz", "w", 3, "none.npz has no codes of w: write them with hybrid embed --part w$"),
        ("codes.csv", "y", 3, "^codes.csv cannot be searched: give images, or codes in an .npz from hybrid embed"),
        ("codes.parquet", "y", 3, "^codes.parquet cannot be searched"),
        ("{}/../other.npz", "y", 3, "give codes of the same model"),
        ("{}/../none", "y", 3, "is not there"),
        ("{}/red/4.png", "y", 3, "there is no image but .*4.png itself: give others"),
    ],
)
def test_what_cannot_be_searched_is_told(model, folder, tmp_path, images, part, count, says):
    for name, channels in (("codes", 3), ("other", 2)):
        write_codes(tmp_path / f"{name}.npz", file=np.array(["a"]), y=np.zeros((1, channels, 16, 16), np.float32))
    write_codes(tmp_path / "none.npz", file=np.array(["a"]))
    with pytest.raises(HybridError, match=says):
        neighbours.search(model, folder / "red" / "4.png", [images.format(folder)], part, count)
