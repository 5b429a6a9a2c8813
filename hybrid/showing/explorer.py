"""Explore a trained hybrid in a notebook: choose two images, move the slider for t, and see the decoded image change.

`Explorer(model, images)` is a widget for JupyterLab. Its `strip()` draws the same as a plain figure, for GitHub and for print.
You can control everything by keyboard, and every image has an alternative text.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from hybrid.data import pixels
from hybrid.data.datasets import ImageSet
from hybrid.data.pictures import SIDE, read_image
from hybrid.errors import HybridError, counted
from hybrid.judging import given, interpolations, knn, probe
from hybrid.model import HybridModel
from hybrid.models.autoencoder import LATENT_SIZE
from hybrid.models.latent_ddim import PlusPrior
from hybrid.showing import figures

FRAMES = 21  # number of values for t, from 1 to 0
SAMPLES = 8  # images that a button samples
STEPS = 50  # sampler steps
COLUMNS = 8  # thumbnails per row
NEAREST = 4  # number of nearest images by y to show
KNOWN = 2000  # largest number of labelled images for fitting the probe, so that it takes seconds
STYLE = """
.hybrid-explorer img { image-rendering: pixelated; max-width: 100%; }
.hybrid-explorer .widget-label { white-space: normal; height: auto; }
.hybrid-explorer .widget-toggle-buttons button {
  width: 32px; height: 32px; margin: 2px; padding: 0; border: 0;
  background: var(--sheet); color: transparent; image-rendering: pixelated;
}
.hybrid-explorer .widget-toggle-buttons button:hover { outline: 2px solid #888; }
.hybrid-explorer button:focus-visible { outline: 3px dashed #d2691e; outline-offset: 1px; }
.hybrid-explorer .widget-toggle-buttons button.mod-active { outline: 3px solid #1976d2; }
"""
# Screen readers read these names. ipywidgets leaves the buttons of Play and the handle of a slider without one, and has no
# option for it. The browser runs this when the style is there; the widgets may come up to five seconds later.
NAMES = """
const root = this.closest('.hybrid-explorer');
const name = (tries) => {
  const parts = root.querySelectorAll('.widget-play button, .noUi-handle');
  if (parts.length < 4 && tries > 0) return setTimeout(name, 200, tries - 1);
  ['play', 'stop', 'repeat', 't, from 1 to 0'].forEach((text, i) => parts[i]?.setAttribute('aria-label', text));
};
name(25);
"""


class Picture(widgets.HTML):
    """An image with an alternative text."""

    png = b""

    def show(self, image: np.ndarray, scale: int, words: str) -> None:
        """Show an image, uint8 (H, W, 3), with each pixel enlarged to `scale` x `scale`. `words` is the alternative text."""
        self.png = _png(image, scale)
        data = base64.b64encode(self.png).decode()
        self.value = f'<img alt="{html.escape(words)}" src="data:image/png;base64,{data}">'


class Explorer(widgets.VBox):
    """Show decoded images at one t, with the whole code, only y, or only w moved; and two uses of y.

    `images`: uint8 (N, 3, 32, 32), the images to choose from at first. `known` names the classes of the shown images: it is a
    labelled data set, to whose y a probe is fitted, or a function such as `released.class_reader` returns. Without it, no
    classes are named. Raises HybridError if there are no images.
    """

    def __init__(self, model: HybridModel, images: Tensor, known: ImageSet | Callable[[Tensor], list[str]] | None = None):
        if len(images) == 0:
            raise HybridError("there are no images to explore: give one or more, (N, 3, 32, 32)")
        self.model, self.images, self.seed = model, images.cpu(), 0
        self._y = torch.empty(0, model.encoder.y_channels * LATENT_SIZE**2)  # y of the images, computed when needed
        self.start, self.end = (widgets.ToggleButtons(options=range(len(images))) for _ in range(2))
        self.end.index = min(1, len(images) - 1)
        places = [(f"{t:.2f}", i) for i, t in enumerate(np.linspace(1, 0, FRAMES))]
        self.t = widgets.SelectionSlider(
            description="t",
            options=places,
            layout={"flex": "1 1 200px", "max_width": "560px"},
            style={"description_width": "initial"},
        )
        self.upload = widgets.FileUpload(accept="image/*", multiple=True, description="Your images")
        self.upload.tooltip = "add image files from this computer"
        self.sample = widgets.Button(description=f"{SAMPLES} new samples", icon="random", disabled=model.prior is None)
        plus = isinstance(model.prior, PlusPrior)
        self.other_w = widgets.Button(description=f"{SAMPLES} with the start's y", icon="random", disabled=not plus)
        self.other_w.tooltip = "same y, other w" if plus else "needs Hybrid+, which samples w given y"
        for button in (self.upload, self.sample, self.other_w):
            button.layout.width = "auto"  # the default width cuts long texts
        self.message, self._css = widgets.HTML(), widgets.HTML(layout={"display": "none"})
        self.shown = {name: Picture() for name in ("start", "end", *figures.TITLES, "near", "swapped")}
        self.labels = {name: widgets.Label() for name in self.shown}
        if isinstance(known, ImageSet):
            known = self._class_reader(known) if known.labelled else None
        self._classes = known
        super().__init__([self._css, self._pickers(), self._controls(), self._pictures(), self._uses()])
        self._own = f"explorer-{self.model_id[:8]}"  # a page can have several explorers, each with its own thumbnails
        self.add_class("hybrid-explorer").add_class(self._own)
        if model.prior is None:
            self._say("This model cannot sample new images, because its second stage, the latent DDIM, was not trained.")
        self._thumbnails()
        self._decode()
        for picker in (self.start, self.end):
            picker.observe(self._decode, "value")
        self.t.observe(self._show, "value")
        self.upload.observe(self._read, "value")
        self.sample.on_click(self._draw)
        self.other_w.on_click(self._draw_given)

    def __repr__(self) -> str:
        return f"Explorer of {counted(len(self.images), 'image')}: run it in JupyterLab to use it"

    def strip(self) -> Figure:
        """Draw every second frame of the chosen pair's paths as a figure, which needs no widgets."""
        paths = {part: self.frames[part][:, ::2] for part in figures.TITLES}
        return figures.draw(self.frames | paths | {"t": self.frames["t"][::2]})

    def add(self, images: Tensor) -> None:
        """Add images to choose from, uint8 (N, 3, 32, 32). The first of them becomes the start."""
        chosen = {self.start: len(self.images), self.end: self.end.value}
        self.images = torch.cat([self.images, images.cpu()])
        for picker, value in chosen.items():
            picker.unobserve(self._decode, "value")  # setting the options selects the first one
            picker.options, picker.value = range(len(self.images)), value
            picker.observe(self._decode, "value")
        self._thumbnails()
        self._decode()

    def _decode(self, _: object = None) -> None:
        """Decode all frames of the chosen pair, so that moving the slider only has to show them."""
        x0, x1 = self.images[[self.start.value]], self.images[[self.end.value]]
        self.frames = interpolations.between(self.model, x0, x1, FRAMES, tuple(figures.TITLES))
        for name, picker, t in (("start", self.start, 1), ("end", self.end, 0)):
            words = f"{name}: image {picker.value}"
            self.labels[name].value = f"{words} (t = {t})"
            self.shown[name].show(self.frames[name][0], 4, words)
        self._show()
        self._use_y()

    def _show(self, _: object = None) -> None:
        for part, title in figures.TITLES.items():
            words = f"{title}; t = {self.t.label}"
            self.labels[part].value = words
            path = f"from image {self.start.value} to image {self.end.value}"
            self.shown[part].show(self.frames[part][0, self.t.value], 7, f"decoded, {path}, {words}")

    def _use_y(self) -> None:
        """Show the images nearest to the start by y, and the start's y with the end's w, with their classes if known."""
        if len(self._y) < len(self.images):
            self._y = torch.cat([self._y, self.model.features(self.images[len(self._y) :])["y"].cpu()])
        start = self.start.value
        places = knn.nearest(self._y, self._y[[start]], NEAREST + 1)[1][0].tolist()
        places = [place for place in places if place != start][:NEAREST]
        swapped = self.frames["w"][0, -1]
        both = torch.stack([self.images[start], torch.from_numpy(swapped).permute(2, 0, 1)])
        named = ["", ""] if self._classes is None else self._classes(both)
        near = f"nearest to image {start} by y: images {', '.join(map(str, places)) or 'none'}"
        self.labels["near"].value = near + (f"; the probe on y reads: {named[0]}" if named[0] else "")
        if places:
            self.shown["near"].show(pixels.tile(self.images[places], NEAREST), 3, near)
        words = f"y of image {start}, w of image {self.end.value}"
        self.labels["swapped"].value = words + (f"; the probe on its y reads: {named[1]}" if named[1] else "")
        self.shown["swapped"].show(swapped, 3, f"decoded from {words}")

    def _class_reader(self, known: ImageSet) -> Callable[[Tensor], list[str]]:
        """Fit a linear probe to y; return a function from images (N, 3, 32, 32) to the names of their predicted classes."""
        order = torch.randperm(len(known.train_images), generator=torch.Generator().manual_seed(0))[:KNOWN]
        chosen = order.to(known.train_images.device)
        read = probe.fitted(self.model.features(known.train_images[chosen])["y"], known.train_labels[chosen])
        return lambda images: [known.class_names[place] for place in read(self.model.features(images)["y"]).tolist()]

    def _read(self, _: object = None) -> None:
        """Add uploaded files to the images, and report those that cannot be read."""
        files, images, errors = self.upload.value, [], []
        self.upload.value = ()
        for file in files:
            try:
                images.append(read_image(_Upload(file["name"], file["content"])))
            except HybridError as error:
                errors.append(str(error))
        if images:
            self.add(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2))
        if files:
            self._say(
                *errors,
                f"{len(images)} of {counted(len(files), 'file')} added; the start is the first of them." if images else "",
            )

    def _draw(self, _: object = None) -> None:
        """Add new samples to the images, different ones each time."""
        self._add_drawn(self.sample, lambda: self.model.sample(SAMPLES, seed=self.seed))

    def _draw_given(self, _: object = None) -> None:
        """Add new images with the start's y."""
        start = self.images[[self.start.value]]
        self._add_drawn(self.other_w, lambda: given.same_y(self.model, start, SAMPLES, STEPS, 0.0, self.seed)[0])

    def _add_drawn(self, button: widgets.Button, draw: Callable[[], Tensor]) -> None:
        button.disabled = True
        self._say("Sampling …")
        try:
            self.add(pixels.to_uint8(draw()))
        finally:
            button.disabled = False
        self.seed += 1
        self._say(f"{SAMPLES} samples added; the start is the first of them.")

    def _say(self, *lines: str) -> None:
        self.message.value = "<br>".join(html.escape(line) for line in lines if line)

    def _thumbnails(self) -> None:
        """Set the images as backgrounds of the pickers' buttons. Without CSS the buttons show numbers."""
        sheet = base64.b64encode(_png(pixels.tile(self.images, len(self.images)))).decode()
        places = (
            f".{self._own} .widget-toggle-buttons button:nth-child({i + 1}) {{ background-position: -{i * SIDE}px 0; }}"
            for i in range(len(self.images))
        )
        own = f".{self._own} {{ --sheet: url(data:image/png;base64,{sheet}); }}"
        self._css.value = "\n".join([f'<style onload="{NAMES}">', STYLE, own, *places, "</style>"])
        for name, picker in (("start", self.start), ("end", self.end)):
            picker.tooltips = [f"image {i} as the {name}" for i in range(len(self.images))]

    def _pickers(self) -> widgets.Widget:
        def picker(name: str, buttons: widgets.ToggleButtons) -> widgets.Widget:
            buttons.layout = {"max_width": f"{COLUMNS * (SIDE + 4) + 20}px", "max_height": "180px", "overflow": "hidden auto"}
            return widgets.VBox([self.labels[name], _row(self.shown[name], buttons)])

        return _row(picker("start", self.start), picker("end", self.end))

    def _controls(self) -> widgets.Widget:
        play = widgets.Play(max=FRAMES - 1, interval=150)
        widgets.jslink((play, "value"), (self.t, "index"))
        return widgets.VBox(
            [_row(self.upload, self.sample, self.other_w, self.message), _row(play, self.t)], layout={"margin": "8px 0"}
        )

    def _pictures(self) -> widgets.Widget:
        return _row(*(widgets.VBox([self.labels[part], self.shown[part]]) for part in figures.TITLES))

    def _uses(self) -> widgets.Widget:
        return _row(*(widgets.VBox([self.labels[name], self.shown[name]]) for name in ("near", "swapped")))


class _Upload(io.BytesIO):
    """An uploaded file. Error messages show its name."""

    def __init__(self, name: str, content: bytes):
        super().__init__(content)
        self.name = name

    def __repr__(self) -> str:
        return self.name


def _row(*children: widgets.Widget) -> widgets.HBox:
    return widgets.HBox(children, layout={"flex_flow": "row wrap", "grid_gap": "4px 16px", "align_items": "center"})


def _png(image: np.ndarray, scale: int = 1) -> bytes:
    """Encode an image, uint8 (H, W, 3), as PNG, with each pixel enlarged to scale x scale."""
    buffer = io.BytesIO()
    Image.fromarray(image.repeat(scale, axis=0).repeat(scale, axis=1)).save(buffer, "png")
    return buffer.getvalue()
