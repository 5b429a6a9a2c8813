"""Images one after the other, from every place that they may come from."""

import io

import numpy as np
import pytest
from PIL import Image

from hybrid.data.sources import Row, source
from hybrid.errors import HybridError


def write(path, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 33), (level, level, level)).save(path)
    return str(path)


def levels(found):
    pixels, places, errors = found.read(0, len(found))
    assert places == list(range(len(found))) and not errors
    return pixels[:, 0, 0, 0].tolist()


def test_a_flat_a_nested_and_a_split_folder(tmp_path):
    flat = [write(tmp_path / "flat" / f"{i}.png", i) for i in range(3)]
    assert source([str(tmp_path / "flat")]).rows == tuple(Row(file) for file in flat)
    nested = [write(tmp_path / "nested" / name / "deep" / "a.png", 7) for name in ("ant", "bee")]
    assert source([str(tmp_path / "nested")]).rows == tuple(Row(f, "", n) for f, n in zip(nested, ("ant", "bee"), strict=True))
    for split in ("train", "test"):
        write(tmp_path / "split" / split / "ant" / "a.png", 1)
        write(tmp_path / "split" / split / "bee.png", 1)
    found = {(row.split, row.label) for row in source([str(tmp_path / "split")]).rows}
    assert found == {("train", "ant"), ("train", ""), ("test", "ant"), ("test", "")}
    assert levels(source([str(tmp_path / "flat")])) == [0, 1, 2]


def test_files_lists_and_standard_input(tmp_path, monkeypatch):
    files = [write(tmp_path / f"{i}.png", i) for i in range(4)]
    assert levels(source(files[::-1])) == [3, 2, 1, 0]
    (tmp_path / "list.txt").write_text("\n".join(files[1:3]) + "\n")
    assert levels(source([str(tmp_path / "list.txt"), files[0]])) == [1, 2, 0]
    (tmp_path / "marked.txt").write_text("\r\n".join(files), encoding="utf-8-sig")
    assert levels(source([str(tmp_path / "marked.txt")])) == [0, 1, 2, 3]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(files).encode()), encoding="ascii"))
    assert levels(source(["-"])) == [0, 1, 2, 3]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(files)))
    assert levels(source(["-"])) == [0, 1, 2, 3]


@pytest.mark.parametrize("tail", [(), (1,), (3,)])
def test_an_npz_of_a_data_set_or_of_samples(tmp_path, tail):
    images = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, *[1] * len(tail)) + np.zeros((5, 50, 40, *tail), np.uint8)
    np.savez(tmp_path / "samples.npz", images=images, unread=np.array([{}], dtype=object))
    found = source([str(tmp_path / "samples.npz")])
    assert levels(found) == [0, 1, 2, 3, 4] and found.rows[3] == Row("images[3]")
    about = {"train_labels": np.array([[0], [1], [0]]), "class_names": np.array(["ant", "bee"])}
    np.savez(tmp_path / "set.npz", train_images=images[:3], val_images=images[3:], **about)
    found = source([str(tmp_path / "set.npz")])
    assert found.rows[1] == Row("train_images[1]", "train", "bee") and found.rows[4] == Row("val_images[1]", "val")
    assert found.read(2, 4)[0][:, 0, 0, 0].tolist() == [2, 3] and found.read(2, 4)[1] == [2, 3]


def test_a_data_set_by_name():
    found = source(["digits"])
    assert found.rows[0].split == "train" and found.rows[-1].split == "test" and found.rows[0].label in "0123456789"
    assert found.rows[-1].file == f"test_images[{sum(row.split == 'test' for row in found.rows) - 1}]"


def test_what_cannot_be_read_is_told_and_the_rest_is_read(tmp_path):
    files = [write(tmp_path / f"{i}.png", i) for i in range(4)]
    (tmp_path / "2.png").write_bytes(b"no image")
    pixels, places, errors = source([str(tmp_path)]).read(1, 4)
    assert pixels[:, 0, 0, 0].tolist() == [1, 3] and places == [1, 3]
    assert len(errors) == 1 and files[2] in errors[0]


def test_identity_is_that_of_the_images(tmp_path):
    files = [write(tmp_path / f"{i}.png", i) for i in range(3)]
    before = source(files).identity
    assert source(files).identity == before != source(files[:2]).identity
    write(tmp_path / "0.png", 99)
    assert source(files).identity != before


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["nowhere"], "'nowhere' is not there: expected a data set's name, an .npz, a folder"),
        (["nowhere.npz"], "nowhere.npz is not there"),
        (["nowhere.txt"], "nowhere.txt cannot be read"),
        ([], "the list holds no images"),
        (["{}"], "holds no images: expected"),
        (["{}/codes.npz"], "holds no images: expected an array called images"),
        (["{}/codes.npz", "{}/floats.npz"], "codes.npz. is one of several names: give an .npz alone"),
        (["{}/floats.npz"], r"images is float64 \(2, 32, 32, 3\): expected uint8"),
    ],
)
def test_what_holds_no_images_is_told(tmp_path, names, says):
    np.savez(tmp_path / "codes.npz", y=np.zeros(3))
    np.savez(tmp_path / "floats.npz", images=np.zeros((2, 32, 32, 3)))
    with pytest.raises(HybridError, match=says):
        source([name.format(tmp_path) for name in names])
