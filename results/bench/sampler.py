"""Samples of the released CIFAR-10 hybrid by DDIM and by the sampler of second order: `python results/bench/sampler.py`.

It writes sampler.json beside this file, half an hour on one core (Xeon with AMX, bf16). controls.json has DDIM with 50 steps.
"""

from __future__ import annotations

import time
from pathlib import Path

from controls import SAMPLES

import hybrid
from hybrid import paths, released
from hybrid.data.pixels import to_uint8
from hybrid.judging import frechet
from hybrid.machine.files import write_json
from hybrid.machine.provenance import machine, provenance

OUT = Path(__file__).with_suffix(".json")
SETTINGS = ((2, 25, 1.0), (2, 25, 1.5), (2, 25, 2.0))  # order, steps, guidance


def main() -> None:
    """Measure all settings and write the file."""
    started, model, images = time.monotonic(), hybrid.pretrained("cifar10"), hybrid.load_dataset("cifar10")
    weights = released.sha256(released.FOLDER / "cifar10.safetensors")
    about = provenance(**machine(model.device), seed=0, dataset="cifar10", weights=weights)
    networks = [frechet.load_network(name, model.device) for name in frechet.STAND_INS]
    train = images.train_images, f"{images.sha256} train", paths.cache()
    compared, codes, rows = [frechet.reference(network, *train) for network in networks], model.prior.texture.codes, []
    for order, steps, guidance in SETTINGS:
        began = time.monotonic()
        z = model.sample_codes(SAMPLES, steps, order=order, guidance=guidance)
        seconds = round(time.monotonic() - began, 1)
        row = {"order": order, "steps": steps, "guidance": guidance, "seconds": seconds}
        row["spread of w"] = ((model.split(z)[1] - codes.w_mean) / codes.w_std).std((0, 2, 3)).mean().item()
        pictures = to_uint8(model.decode(z))
        rows.append(row | {key: value for each in compared for key, value in each.compare(pictures).items()})
        print(rows[-1], flush=True)
    about["seconds"] = round(time.monotonic() - started, 1)
    write_json(OUT, {"samples": rows, "provenance": about})


if __name__ == "__main__":
    main()
