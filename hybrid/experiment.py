"""One experiment: a profile on a data set with a seed, from images to results.

Whatever is asked for is made if it is not there, out of what it needs, and read if it is: weights from `runs/`, outcomes
from `results/`. So a notebook opened in a fresh clone shows the committed outcomes, and trains where there are none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from hybrid import checkpoint, data, distributed, evaluate, figures, frechet, paths
from hybrid.checkpoint import write_atomically
from hybrid.classifier import Classifier, Judge
from hybrid.configs import Profile, describe
from hybrid.errors import HybridError
from hybrid.methods import TABLE, Run, check, method
from hybrid.precision import best_device
from hybrid.probe import fitted
from hybrid.profiles import profile
from hybrid.provenance import code, machine, peak_memory, provenance
from hybrid.train import Clock, TimeUp, read_history, stream

if TYPE_CHECKING:
    import pandas as pd

JUDGING = 3  # goes up whenever the code that judges, or chooses what is shown, would give other numbers


class Experiment:
    """`Experiment("demo")`, `Experiment("laptop", "cifar10", seed=1)`. Raises HybridError for values it does not know."""

    def __init__(self, profile_name: str, dataset: str | None = None, seed: int = 0, clock: Clock | None = None):
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise HybridError(f"seed {seed!r} is not usable: expected a whole number from 0 on")
        self.profile: Profile = profile(profile_name)
        check(self.profile)
        self.dataset = dataset or self.profile.dataset
        self.slug = data.slug(self.dataset)
        self.seed = seed
        self.clock = clock or Clock()
        self.device = best_device()
        self.runs = paths.runs(self.profile.name, self.slug)
        self.results = paths.results(self.profile.name, self.slug)
        self.outcomes = self.results / f"seed{seed}"
        self._models: dict[str, nn.Module] = {}
        self._trained: dict[str, dict] = {}  # provenance of each stage's training
        # Two data sets of a user may have one name; their outcomes are told apart by what is in them.
        self.sha256 = None if self.dataset in data.PUBLISHED else self.images.sha256
        code()  # as it is now, before anybody changes it

    @classmethod
    def from_notebook(cls, namespace: dict) -> Experiment:
        """The experiment that a notebook's parameters name: `Experiment.from_notebook(globals())` right after that cell.

        papermill only warns of a parameter that the notebook does not have; this raises. What is no plain value is none:
        the notebook's own objects, where its cells are run again.
        """
        known = {"profile", "dataset", "seed"}
        plain = {n for n, v in namespace.items() if not n.startswith("_") and isinstance(v, str | int | float | bool)}
        if unknown := sorted(plain - known):
            raise HybridError(f"parameter {unknown[0]!r} is unknown: this notebook takes {', '.join(sorted(known))}")
        return cls(namespace["profile"], namespace["dataset"], namespace["seed"])

    @cached_property
    def images(self) -> data.ImageSet:
        """The data set, on the device."""
        return distributed.from_first(lambda: data.load(self.dataset, paths.data())).to(self.device)

    def run(self, name: str) -> Run:
        """Where and on what a method is trained."""
        return Run(self.profile, self.images, self.seed, self._folder(name), self.clock)

    def _folder(self, name: str) -> Path:
        return self.runs / name / f"seed{self.seed}"

    def model(self, name: str = "hybrid") -> nn.Module:
        """A method's model, trained as far as it was not. Raises TimeUp when the clock runs out."""
        if name not in self._models:
            run = self.run(name)
            figures.pairs(self.images, 2 * self.profile.evaluation.pairs, self.seed)  # too few are told before the training
            self._models[name] = method(name).train(run, method(name).config(self.profile))
            distributed.from_first(lambda: self._keep_histories(name, run.folder))
        return self._models[name]

    def _keep_histories(self, name: str, folder: Path) -> None:
        for stage in method(name).stages:
            # Written only where it differs: a newer file would have the notebooks executed again.
            content, kept = (folder / stage / "history.jsonl").read_bytes(), self.history_path(name, stage)
            if not kept.exists() or kept.read_bytes() != content:
                write_atomically(kept, lambda path, content=content: path.write_bytes(content))

    def history_path(self, name: str, stage: str) -> Path:
        return self.outcomes / f"{name}-{stage}.jsonl"

    def history(self, name: str, stage: str) -> pd.DataFrame:
        """The history of a stage's training: a row each time that it was logged."""
        import pandas as pd  # slow to import

        kept, now = read_json(self.outcomes / f"{name}.json"), self._key(name)
        if not self.history_path(name, stage).exists() or (kept is not None and kept["key"]["method"] != now["method"]):
            self.model(name)
        return pd.DataFrame(read_history(self.history_path(name, stage)))

    def metrics(self, name: str = "hybrid") -> dict:
        """How a method was judged: `metrics`, `calibration`, `details`, `provenance`.

        Raises TimeUp when the clock has run out before it is judged.
        """
        kept = distributed.from_first(lambda: self.judged_before(name))
        if kept is None:
            model = self.model(name)
            if distributed.from_first(lambda: self.clock.up):
                raise TimeUp(f"{name} is trained and not judged yet; the same command goes on from there")
            judged = evaluate.evaluate(
                model,
                method(name),
                self.images,
                self.profile.evaluation,
                self.seed,
                calibrate=name == "hybrid",
                known=self._known(name),
            )
            seconds = judged.pop("seconds")
            kept = {"key": self._key(name), **judged, "provenance": self.provenance(name, evaluation_seconds=seconds)}
            write_json(self.outcomes / f"{name}.json", kept)
        return kept

    def judged_before(self, name: str) -> dict | None:
        """A method's kept outcome, None where it is to be made (anew)."""
        kept = read_json(self.outcomes / f"{name}.json")
        return None if kept is None or kept["key"] != self._key(name) or self._fid_can_be_had(name, kept) else kept

    def _known(self, name: str) -> dict[str, float]:
        """Error and accuracies of a representation that is another method's, which is judged first."""
        first = method(name).first
        metrics = self.metrics(first)["metrics"] if first else {}
        return {key: value for key, value in metrics.items() if key.split("_")[0] in ("mse", "acc")}

    def _fid_can_be_had(self, name: str, kept: dict) -> bool:
        """Whether FID is missing from an outcome for want of weights that have come since, and the trained model is here."""
        wanted = self.profile.evaluation.inception and "fid" in method(name).metrics and "fid" not in kept["metrics"]
        trained = all((self._folder(name) / stage / "checkpoint.pt").exists() for stage in method(name).stages)
        return wanted and trained and frechet.inception_is_here()

    def gallery(self, name: str = "hybrid") -> dict:
        """A method's samples, and test images with its reconstructions, those that it can have, for `figures`.

        Some of the samples have their `nearest` train images beside them, which older galleries lack.
        """
        config = self.profile.evaluation

        def make() -> dict:
            shown = figures.gallery(
                self.model(name), method(name).metrics, self.images, config.sampler_steps, config.eta, self.seed
            )
            from hybrid import nearest  # imports matplotlib

            return shown | (nearest.beside(shown["samples"], self.images, *self._features) if "samples" in shown else {})

        return self._kept(f"{name}-gallery", make, name)

    @cached_property
    def _features(self) -> tuple[frechet.FeatureNetwork, Tensor]:
        """The network that neighbours are found with, and its features of the train images: the same for all galleries."""
        network = frechet.load_network("efficientnet_lite0", self.device)
        return network, network(self.images.train_images)

    def figure(self, number: int) -> dict:
        """The data of one of the paper's figures 2-5, for `figures.draw`, or of Hybrid+'s figure 6, for `given.draw`."""
        if number == 6:
            return self._kept("figure6", self._given, "hybridplus")
        if number not in figures.PARTS:
            raise HybridError(f"figure {number} is not drawn from data: choose one of 2, 3, 4, 5, 6")
        config = self.profile.evaluation

        def make() -> dict:
            chosen = figures.pairs(self.images, 2 * config.pairs, self.seed)
            # Figures 2-4 show the same pairs, so that they compare; figure 5 shows others, as the paper's appendix does.
            chosen = chosen[config.pairs :] if number == 5 else chosen[: config.pairs]
            return figures.interpolations(self.model(), self.images, chosen, config.frames, figures.PARTS[number])

        return self._kept(f"figure{number}", make)

    def _given(self) -> dict:
        """Figure 6, judged by the linear probe on y and by a classifier of pixels, which is trained for it."""
        from hybrid import given  # imports pandas and matplotlib

        model, images, run = self.model("hybridplus"), self.images, self.run("hybridplus")
        judge = Judge.of(self.profile)
        torch.manual_seed(stream(self.seed, "classifier"))
        classifier = run.stage("classifier", Classifier(images.classes, judge), judge, lambda: images.train_images)
        probe = fitted(model.features(images.train_images)["y"], images.train_labels)
        judges = {"probe": lambda pictures: probe(model.features(pictures)["y"]), "classifier": classifier.predict}
        config = self.profile.evaluation
        return given.study(model, images, judges, config.sampler_steps, config.eta, self.seed)

    def table(self) -> pd.DataFrame:
        """Table 1, tidy, over all the methods and seeds that have been judged."""
        from hybrid import table  # imports pandas and matplotlib

        measured = {name: {} for name in TABLE}
        for path, kept in self.judged().items():
            measured[path.stem][int(path.parent.name.removeprefix("seed"))] = kept["metrics"]
        return table.tidy(self.slug, measured)

    def judged(self) -> dict[Path, dict]:
        """The kept outcomes of the table's methods, of every seed. Those of a profile that was another then do not count."""

        def counts(path: Path) -> bool:
            return path.stem in TABLE and path.parent.name.removeprefix("seed").isdigit()

        found = {path: read_json(path) for path in sorted(self.results.glob("seed*/*.json")) if counts(path)}
        return {path: kept for path, kept in found.items() if kept is not None and self._comparable(path.stem, kept["key"])}

    def _comparable(self, name: str, key: dict) -> bool:
        now = self._key(name)
        return all(key.get(part) == now.get(part) for part in now.keys() - {"seed", "training"})

    def provenance(self, name: str, **details) -> dict:
        """Where an outcome comes from: as `provenance.provenance`, and for each stage where its training does."""
        stages = {stage: read_history(self.history_path(name, stage)) for stage in method(name).stages}
        if name not in self._trained:  # large files, read once
            kept = {stage: checkpoint.load(self.run(name).folder / stage / "checkpoint.pt") for stage in stages}
            self._trained[name] = {stage: state["provenance"] for stage, state in kept.items() if state is not None}
        trained = self._trained[name]
        return provenance(
            profile=describe(self.profile),
            dataset=self.slug,
            sha256=self.images.sha256,
            seed=self.seed,
            **machine(self.device),
            peak_memory_gib=max([peak_memory(self.device), *(origin["peak_memory_gib"] for origin in trained.values())]),
            training_seconds={stage: lines[-1]["seconds"] for stage, lines in stages.items() if lines},
            trained=trained,
            **details,
        )

    def _kept(self, stem: str, make: Callable[[], dict], name: str = "hybrid") -> dict:
        """Arrays that are read where they were kept under the same key, else made and kept."""
        path = self.outcomes / f"{stem}.npz"
        kept = checkpoint.load_arrays(path)
        if kept is None or json.loads(str(kept["key"])) != self._key(name):
            kept = make()
            kept["key"] = np.array(json.dumps(self._key(name)))
            kept["provenance"] = np.array(json.dumps(self.provenance(name)))
            checkpoint.save_arrays(path, kept)
        return kept

    def _key(self, name: str) -> dict:
        """What an outcome depends on: kept ones with another key are made anew.

        `training` tells one training from another by their histories, whose times never agree. So the outcomes in a fresh
        clone are of the histories beside them, and give way once something is trained there.
        """
        histories = [self.history_path(name, stage) for stage in method(name).stages]
        if first := method(name).first:
            histories.append(self.history_path(first, "representation"))
        contents = b"".join(path.read_bytes() for path in histories if path.exists())
        key = {
            "dataset": self.slug,
            "seed": self.seed,
            "training": hashlib.sha256(contents).hexdigest(),
            "method": describe(method(name).config(self.profile)),
            "evaluation": describe(self.profile.evaluation),
            "judging": JUDGING,
        }
        if self.sha256 is not None:
            key["sha256"] = self.sha256
        return json.loads(json.dumps(key))  # lists for tuples, as in what was kept


def read_json(path: Path) -> dict | None:
    """The content of a JSON file, None where there is none or it is damaged."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def write_json(path: Path, value: dict) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(value, indent=1) + "\n"))
