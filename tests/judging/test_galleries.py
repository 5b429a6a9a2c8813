"""The images that are shown of a method."""

from types import SimpleNamespace

import numpy as np
import torch

from hybrid.data.datasets import ImageSet
from hybrid.judging import galleries


def test_test_images_stand_beside_their_own_reconstructions():
    test = torch.arange(100, 140, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32).contiguous()
    images = ImageSet("greys", 0 * test, torch.arange(40) % 2, test, torch.arange(40) % 2, ("a", "b"))
    asked = []
    model = SimpleNamespace(
        reconstruct=lambda x: 1 - x / 255,
        sample=lambda *args, **options: asked.append((args, options)) or torch.zeros(64, 3, 32, 32),
    )
    found = galleries.gallery(model, ("mse", "fid"), images, 7, 0.5, 3, order=1)
    assert asked == [((64, 7, 0.5, 3), {"order": 1})] and len(np.unique(found["originals"])) == 32
    assert found["originals"].min() >= 100 and np.array_equal(found["reconstructions"], 255 - found["originals"])
