"""One experiment: a profile on a data set with a seed, from images to results.

An experiment reads results if they exist, weights from `runs/` and outcomes from `results/`, and otherwise makes them and
everything that they need. So a notebook in a fresh clone shows the committed outcomes, and trains only what is missing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from hybrid import paths
from hybrid.data import datasets, identity
from hybrid.errors import HybridError, counted, tell
from hybrid.experiments import few, one_y
from hybrid.experiments.methods import TABLE, Run, Watch, check, method
from hybrid.experiments.parts import forget_parts, judge_in_parts
from hybrid.experiments.store import Key, Store, as_json, in_another_precision
from hybrid.judging import evaluate, frechet, galleries, interpolations, nearest
from hybrid.machine import distributed
from hybrid.machine.fingerprint import modules, remember, tell_difference, tell_or_refuse
from hybrid.machine.precision import best_device
from hybrid.machine.provenance import code, machine, peak_memory, provenance, versions
from hybrid.profiles.checked import whole_seed
from hybrid.profiles.overrides import profile
from hybrid.profiles.schema import Profile, describe
from hybrid.training import checkpoint
from hybrid.training.history import active_seconds
from hybrid.training.loop import Clock

if TYPE_CHECKING:
    import pandas as pd

FIGURES = {"hybrid": tuple(interpolations.PARTS), "hybridplus": (6,)}  # the figures that need a method's model
FEWEST_TEST = 3  # test images; figure 6 compares the y of two others
JUDGING = 3  # increase it when a change of the code for judging, or for choosing what to show, changes the numbers


class Experiment:
    """`Experiment("demo")`, `Experiment("laptop", "cifar10", seed=1)`. Raises HybridError for values it does not know."""

    def __init__(
        self,
        profile_name: str,
        dataset: str | None = None,
        seed: int = 0,
        clock: Clock | None = None,
        watch: Watch | None = None,
    ):
        self.seed = whole_seed(seed)
        if not isinstance(profile_name, str):
            raise HybridError(f"profile {profile_name!r} is not usable: expected a name, such as demo")
        if not isinstance(dataset, str | None):
            raise HybridError(f"dataset {dataset!r} is not usable: expected a name, such as digits, or a path")
        self.profile: Profile = profile(profile_name)
        check(self.profile)
        weights = os.environ.get("HYBRID_INCEPTION")
        if weights and self.profile.evaluation.inception and not Path(weights).is_file():
            raise HybridError(f"HYBRID_INCEPTION = {weights!r} is not there: give the file, or leave it unset")
        self.dataset = dataset or self.profile.dataset
        # The content identifies a data set, not its name.
        self.sha256 = distributed.on_rank_zero(lambda: identity.identify(self.dataset, paths.data(), paths.cache()))
        self.slug = identity.slug(self.dataset, self.sha256)
        if self.dataset in datasets.NAMED and self.slug != self.dataset:
            tell(f"the {self.dataset} in {paths.data()} is not the published one: its outcomes go to {self.slug}")
        self.clock, self.watch = clock or Clock(), watch
        self.device = best_device()
        self.runs = paths.runs(self.profile.name, self.slug)
        self.results = paths.results(self.profile.name, self.slug)
        self.folder = self.results / f"seed{seed}"
        self.store = Store(self.folder)
        self._models: dict[str, nn.Module] = {}
        self._trained: dict[str, dict] = {}  # provenance of each stage's training
        if self.dataset not in datasets.NAMED:
            self.profile = few.clipped(self.profile, len(self.images.train_images))
        code()  # as it is now, before anybody changes it
        remember()

    @classmethod
    def from_notebook(cls, namespace: dict) -> Experiment:
        """Return the experiment for a notebook's parameters: call `Experiment.from_notebook(globals())` right after their cell.

        papermill only warns of an unknown parameter; this raises HybridError. Only plain values count as parameters. Other
        objects come from the notebook's cells, if they run again.
        """
        known = {"profile", "dataset", "seed"}
        plain = {n for n, v in namespace.items() if not n.startswith("_") and isinstance(v, str | int | float | bool)}
        if unknown := sorted(plain - known):
            raise HybridError(f"parameter {unknown[0]!r} is unknown: this notebook takes {', '.join(sorted(known))}")
        return cls(namespace["profile"], namespace["dataset"], namespace["seed"])

    @cached_property
    def images(self) -> datasets.ImageSet:
        """Return the data set, on the device. Raises HybridError if it changed after the experiment began."""

        def load() -> datasets.ImageSet:
            images = datasets.load(self.dataset, paths.data())
            if (found := identity.of(images)) != self.sha256:
                mend = "run the same command again, for the current images"
                if self.dataset == "digits":
                    mend = "install the versions of scikit-learn and numpy in requirements.lock, which draw the published ones"
                raise HybridError(
                    f"data set {self.dataset!r} holds other images ({found[:8]}) than it did, or than the published one does "
                    f"({self.sha256[:8]}): {mend}"
                )
            return images

        loaded = distributed.on_rank_zero(load).to(self.device)
        images = loaded if self.profile.images is None else loaded.spread(self.profile.images)
        if len(images.test_images) < FEWEST_TEST:
            raise HybridError(
                f"{self.dataset} has {counted(len(images.test_images), 'test image')}: give {FEWEST_TEST} or more"
            )
        return images

    @property
    def labelled(self) -> bool:
        """Whether the data set has classes. The published ones have, and are not loaded to know it."""
        return self.dataset in datasets.NAMED or self.images.labelled

    def run(self, name: str) -> Run:
        """Return the run of a method: its profile, data, seed and folder."""
        return Run(self.profile, self.images, self.seed, self.run_folder(name), self.clock, self.watch)

    def run_folder(self, name: str) -> Path:
        """Return the folder of a method's run, which has a folder for each stage."""
        return self.runs / name / f"seed{self.seed}"

    def model(self, name: str = "hybrid") -> nn.Module:
        """Return a method's model, and train it first if necessary. Raises TimeUp if the time is up."""
        if name not in self._models:
            run, wanted = self.run(name), method(name)
            self._pairs  # noqa: B018 - report too few images before training
            self._models[name] = wanted.train(run, wanted.config(self.profile))
            self.store.keep_histories(name, wanted.stages, run.folder)
            if wanted.first:  # an outcome of that method does not count if its first stage has been trained again
                self.store.keep_histories(wanted.first, ("representation",), self.run_folder(wanted.first))
        return self._models[name]

    def make(self, name: str, begin: Callable[[str], None] = lambda kind: None) -> None:
        """Train a method, judge it, and make the data of its figures. `begin` is called with "training", then "judging".

        Raises TimeUp if the time is up.
        """
        begin("training")
        self.model(name)
        begin("judging")
        self.outcome(name)
        if method(name).has_gallery:
            distributed.on_rank_zero(lambda: self.gallery(name))
        for number in FIGURES.get(name, ()):
            distributed.on_rank_zero(lambda number=number: self.figure(number))

    def history(self, name: str, stage: str) -> pd.DataFrame:
        """Return the history of a stage's training, a row per log line. Raises HybridError for an unknown stage."""
        import pandas as pd  # slow to import

        if stage not in (stages := method(name).stages):
            raise HybridError(f"stage {stage!r} of {name} is unknown: choose one of {', '.join(stages)}")

        kept, now = self.store.read(name), self.key(name)
        of_another = kept is not None and not now.matches(kept["key"], ("method", "sha256"))
        if of_another or not self.store.history(name, stage):
            self.model(name)
        return pd.DataFrame(self.store.history(name, stage))

    def outcome(self, name: str = "hybrid") -> dict:
        """Return the outcome of judging a method: `metrics`, `calibration`, `details`, `provenance`.

        Raises TimeUp if the time is up before the method is judged.
        """
        kept = self.kept_outcome(name)
        if kept is None:
            return self._judge(name)
        forget_parts(self.run_folder(name))
        return kept

    def kept_outcome(self, name: str) -> dict | None:
        """Return the saved outcome of a method, or None if it must be judged (again)."""
        kept = self.store.outcome(name, self.key(name))
        return None if kept is None or distributed.on_rank_zero(lambda: self._fid_can_be_had(name, kept)) else kept

    def _judge(self, name: str) -> dict:
        model, judged = self.model(name), method(name)
        # If the method uses the representation of another method, that one is judged first.
        known = self.outcome(judged.first)["metrics"] if judged.first else {}
        judge_part = partial(
            evaluate.evaluate,
            model,
            images=self.images,
            config=self.profile.evaluation,
            seed=self.seed,
            calibrate=name == "hybrid",
            known={key: value for key, value in known.items() if key.split("_")[0] in ("mse", "acc")},
        )
        outcome = judge_in_parts(judge_part, judged, self.run_folder(name), self._parts_key(name), self.clock)
        seconds = outcome.pop("seconds")
        outcome["provenance"] = self.provenance(name, evaluation_seconds=seconds)
        outcome = self.store.keep_outcome(name, self.key(name), outcome)
        forget_parts(self.run_folder(name))
        return outcome

    def _parts_key(self, name: str) -> dict:
        """Return all that the numbers of a part depend on, without the number of threads: the next process may have others."""
        inception = self.profile.evaluation.inception and distributed.on_rank_zero(frechet.inception_is_here)
        here = machine(self.device) | {"device": self.device.type, "versions": versions(), "inception": inception}
        return as_json({**self.key(name).values, "modules": self._judging_code(), **here})

    def _fid_can_be_had(self, name: str, kept: dict) -> bool:
        """Return whether an outcome lacks FID, although Inception's weights and the trained model are available now."""
        wanted = self.profile.evaluation.inception and "fid" in method(name).metrics and "fid" not in kept["metrics"]
        return wanted and frechet.inception_is_here() and self.is_trained(name)

    def is_trained(self, name: str) -> bool:
        """Return whether each of a method's own stages is trained to its end here."""
        return all(checkpoint.load_finished(self.run_folder(name) / stage / "checkpoint.pt") for stage in method(name).stages)

    def is_made(self, name: str) -> bool:
        """Return whether the outcome of a method, and its gallery if it has one, are saved and of this experiment."""
        kept, key = self.store.read(name), self.key(name)
        if kept is None or not key.matches(kept["key"]):
            return False
        return not method(name).has_gallery or self.store.has_arrays(f"{name}-gallery", key)

    def gallery(self, name: str = "hybrid") -> dict:
        """Return those of a method's samples, test images and reconstructions that it can have, for `figures`.

        Newer galleries also have the `nearest` train images of some samples.
        """
        config = self.profile.evaluation

        def make() -> dict:
            sampler = config.sampler_steps, config.eta, self.seed
            shown = galleries.gallery(self.model(name), method(name).metrics, self.images, *sampler, **config.solver)
            return shown | (
                nearest.nearest_train_images(shown["samples"], self.images, *self._features) if "samples" in shown else {}
            )

        having = {"fid": ["samples"], "mse": ["originals", "reconstructions"]}
        parts = [part for metric, shown in having.items() if metric in method(name).metrics for part in shown]
        return self._arrays(f"{name}-gallery", make, parts, name, judging=("galleries", "nearest"))

    @cached_property
    def _features(self) -> tuple[frechet.FeatureNetwork, Tensor]:
        """Return the network for finding neighbours and its features of the train images, which all galleries share."""
        network = frechet.load_network("efficientnet_lite0", self.device)
        return network, network(self.images.train_images)

    def figure(self, number: int) -> dict:
        """Return the data of one of the paper's figures 2-5, for `figures.draw`, or of figure 6, for `figure6.draw`."""
        if number == 6:
            return self.store.arrays(
                "figure6",
                lambda: self.key("hybridplus"),
                partial(one_y.study, self),
                partial(one_y.provenance, self),
                ("start", "y", "w"),
            )
        if number not in interpolations.PARTS:
            raise HybridError(f"figure {number} is not drawn from data: choose one of 2, 3, 4, 5, 6")
        frames = self.profile.evaluation.frames

        def make() -> dict:
            # Figures 2-4 show the same pairs, for comparison; figure 5 shows others, like the paper's appendix.
            chosen = self._pairs[1 if number == 5 else 0]
            return interpolations.interpolations(self.model(), self.images, chosen, frames, interpolations.PARTS[number])

        return self._arrays(f"figure{number}", make, ("start", "end", "t", *interpolations.PARTS[number]))

    @cached_property
    def _pairs(self) -> tuple[Tensor, Tensor]:
        """Return pairs of test images for figures 2-4, and other pairs for figure 5, or the same if there are too few."""
        wanted = self.profile.evaluation.pairs
        found = interpolations.pairs(self.images, 2 * wanted, self.seed)
        if len(found) < 2 * wanted:
            gives = f"the test set gives {counted(len(found), 'pair')} of unlike images, {2 * wanted} are wanted"
            tell(f"{gives}: figures 2 to 5 have fewer rows{', figure 5 the same pairs' if len(found) <= wanted else ''}")
        return found[:wanted], found[wanted:] if len(found) > wanted else found

    def _arrays(
        self, stem: str, make: Callable[[], dict], parts: Iterable[str], name: str = "hybrid", judging: tuple[str, ...] = ()
    ) -> dict:
        return self.store.arrays(stem, lambda: self.key(name), make, lambda: self.provenance(name, judging), parts)

    def table(self) -> pd.DataFrame:
        """Return Table 1 as tidy rows, for all methods and seeds that were judged."""
        from hybrid.experiments import table  # imports pandas

        return table.of_outcomes(self.slug, self.comparable_outcomes())

    def comparable_outcomes(self) -> dict[Path, dict]:
        """Return the saved outcomes of the table's methods for all seeds, except those of another profile or other data.

        Seeds whose precision differs from a method's first seed are left out, and those of other code are used: a line reports
        either, or --strict refuses them.
        """
        keys = {name: self.key(name) for name in TABLE}
        parts = [part for part in keys["hybrid"].values if part not in ("seed", "training")]
        found = {}
        folders = {folder.name.removeprefix("seed"): folder for folder in self.results.glob("seed*")}
        for seed in sorted(int(number) for number in folders if number.isdecimal()):
            folder = self.results / f"seed{seed}"
            for name in TABLE:
                kept, path = Store(folder).read(name), folder / f"{name}.json"
                if kept is None or not keys[name].matches(kept["key"], parts):
                    continue
                if kept["key"].get("seed") != seed:
                    tell(f"{path} does not count: it belongs to seed {kept['key'].get('seed')}")
                    continue
                if kept["key"].get("training") != Store(folder).digest(self._histories(name)):
                    tell(f"{path} does not count: a stage of it was trained again after it was judged")
                    continue
                tell_difference(str(path), kept["provenance"])
                found[path] = kept
        for name in TABLE:
            own = {path: kept for path, kept in found.items() if path.stem == name}
            for path, reason in in_another_precision(own).items():
                tell_or_refuse(reason, "the table leaves it out; HYBRID_PRECISION sets the precision of a training")
                del found[path]
        return found

    def provenance(self, name: str, judging: tuple[str, ...] = (), **details) -> dict:
        """Return the provenance of an outcome, with that of the training of each stage.

        `judging`: the modules of hybrid.judging that it depends on, besides those of the table's numbers.
        """
        stages = {stage: self.store.history(name, stage) for stage in method(name).stages}
        if name not in self._trained:  # large files, read once
            kept = {stage: checkpoint.load(self.run_folder(name) / stage / "checkpoint.pt") for stage in stages}
            self._trained[name] = {stage: state["provenance"] for stage, state in kept.items() if state is not None}
        trained = self._trained[name]
        return provenance(
            profile=describe(self.profile),
            dataset=self.slug,
            sha256=self.images.sha256,
            seed=self.seed,
            **machine(self.device),
            modules=self._judging_code(judging),
            peak_memory_gib=max([peak_memory(self.device), *(origin["peak_memory_gib"] for origin in trained.values())]),
            training_seconds={stage: active_seconds(lines)[-1] for stage, lines in stages.items() if lines},
            trained=trained,
            **details,
        )

    def _judging_code(self, more: tuple[str, ...] = ()) -> dict[str, str]:
        """Return the fingerprints of the modules that the table's numbers depend on, and of `more` of hybrid.judging."""
        return modules(*(f"hybrid.judging.{each}" for each in ("evaluate", "interpolations", *more)))

    def key(self, name: str) -> Key:
        """Return the key of a method's outcome, with all that it depends on. An outcome with another key is made again.

        `training` is a digest of the histories. So the outcomes in a fresh clone belong to the committed histories, and are
        replaced after a new training.
        """
        config = method(name).config(self.profile)
        values = {
            "dataset": self.slug,
            "seed": self.seed,
            "training": self.store.digest(self._histories(name)),
            "method": describe(config),
            "evaluation": describe(self.profile.evaluation),
            "judging": JUDGING,
            "sha256": self.sha256,
        }
        if self.profile.images is not None:
            values["images"] = self.profile.images
        return Key(as_json(values), type(config))

    def _histories(self, name: str) -> list[tuple[str, str]]:
        """Return (method, stage) of all trainings that a method's model comes from."""
        first = method(name).first
        return [(name, stage) for stage in method(name).stages] + ([(first, "representation")] if first else [])
