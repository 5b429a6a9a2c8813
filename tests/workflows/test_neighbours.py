"""The images nearest to a picture: found among files and among kept codes."""

import zipfile

import matplotlib
import numpy as np
import pytest
from PIL import Image

matplotlib.use("Agg")

from hybrid.data.sources import source
from hybrid.errors import HybridError
from hybrid.workflows import embed, neighbours


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
        neighbours.draw(found, images, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    assert found.as_json()["neighbours"][0]["class"] == "red" and str(found).count("\n") == 8


def test_among_arrays_and_with_files_that_cannot_be_read(model, folder, tmp_path):
    np.savez(tmp_path / "some.npz", images=np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8))
    found, searched = neighbours.search(model, folder / "red" / "4.png", [str(tmp_path / "some.npz")], "y", 8)
    assert sorted(found.files) == [f"images[{i}]" for i in range(5)]
    neighbours.draw(found, searched, tmp_path / "a.png")
    (folder / "red" / "0.png").write_bytes(b"no image")
    assert len(neighbours.search(model, folder / "red" / "4.png", [str(folder)], "y", 100)[0].files) == 18


@pytest.mark.parametrize(
    ("images", "part", "count", "says"),
    [
        ("{}", "y", 0, "count = 0: give 1 or more"),
        ("{}/../codes.npz", "w", 3, "lacks the arrays file and w"),
        ("{}/../other.npz", "y", 3, "give codes of the same model"),
        ("{}/../none", "y", 3, "is not there"),
    ],
)
def test_what_cannot_be_searched_is_told(model, folder, tmp_path, images, part, count, says):
    for name, channels in (("codes", 3), ("other", 2)):
        with zipfile.ZipFile(tmp_path / f"{name}.npz", "w") as archive:  # numpy's savez has an argument called file
            for member, array in (("file", np.array(["a"])), ("y", np.zeros((1, channels, 16, 16), np.float32))):
                with archive.open(f"{member}.npy", "w") as file:
                    np.lib.format.write_array(file, array)
    with pytest.raises(HybridError, match=says):
        neighbours.search(model, folder / "red" / "4.png", [images.format(folder)], part, count)
