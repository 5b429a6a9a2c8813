"""A small folder of one's own goes the whole way, with classes and without."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from hybrid import paths
from hybrid.cli import main
from hybrid.experiments import table


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flat", "classes"])
def test_a_small_folder_of_ones_own_goes_the_whole_way(home, tmp_path, kind, capsys, caplog):
    """40 pictures: whatever needs labels is left out where there are none, and counts are cut to what is there."""
    rng = np.random.default_rng(0)
    for i in range(40):
        path = tmp_path / "mine" / ("" if kind == "flat" else ("ant", "bee")[i % 2]) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (33, 50, 3), dtype=np.uint8)).save(path)
    command = ["--profile", "smoke,evaluation.pairs=5", "--dataset", str(tmp_path / "mine")]
    methods = ["hybrid", "hybridplus", "biggan"] if kind == "flat" else ["hybrid"]
    assert main(["train", *command, "--methods", "hybrid"]) == 0
    assert main(["reproduce", *command, "--no-notebooks", "--methods", *methods]) == 0
    (results,) = paths.results("smoke,evaluation.pairs=5", "mine").parent.glob("mine*")  # its digest is in its name
    metrics = json.loads((results / "seed0" / "hybrid.json").read_text())["metrics"]
    assert ("acc_y" in metrics) == (kind == "classes") and metrics["mse"] > 0 and metrics["moved_w"] > 0
    shown = ["report.html", "table1.md", "seed0/figure5.png", "seed0/samples.png", "seed0/baselines.png"]
    for name in [*shown, "seed0/figure6.png" if kind == "flat" else "claim.png"]:
        assert (results / name).stat().st_size > 0, name
    page, accuracy = (results / "report.html").read_text(encoding="utf-8"), table.heading("acc")
    page = re.sub(r"base64,[A-Za-z0-9+/=]*", "", page)  # any letters can stand in a picture
    assert "missing" not in page and "NVAE" not in page and "NVAE" not in (results / "table1.md").read_text(encoding="utf-8")
    assert "Raw data" in page and "Notebooks" not in page
    pictures = set(re.findall(r'id="figure-([\w-]+)"', page))
    if kind == "flat":
        assert accuracy not in page and "linear probe" not in page and not (results / "claim.png").exists()
        assert "baselines" in pictures and "claim" not in pictures and "bold" in page
    else:
        assert accuracy in page and "claim" in pictures and "baselines" not in pictures and "is bold" not in page
    told = "\n".join(caplog.messages)
    assert "a batch has 8 images instead of 512, because the train set has only 32" in told
    assert "pairs of unlike images, 10 are wanted: figures 2 to 5 have fewer rows" in told
    assert ("whatever needs labels" in told) == (kind == "flat")
