"""Draws the birds of the generated fine-grained dataset."""

import colorsys
import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["SPECIES", "Species", "render"]

SIZE = 96
# Birds are drawn this many times larger and then averaged down, which smooths the edges.
SUPERSAMPLING = 3

COLOURS = {
    "white": (250, 250, 245),
    "yellow": (255, 222, 40),
    "orange": (250, 130, 20),
    "red": (222, 30, 40),
    "blue": (40, 120, 245),
    "green": (30, 200, 70),
    "pink": (255, 90, 190),
}


class Species(NamedTuple):
    """A class: its family, and the one mark that identifies it, such as a yellow ring on the wing."""

    colour: str
    mark: str
    family: str

    @property
    def name(self) -> str:
        return f"{self.colour}-{self.mark} {self.family}"


# A family has its mark on one part of the body, in two shapes and two colours.
FAMILIES = {
    "warbler": (("white", "yellow"), ("barred", "ringed")),  # wing
    "thrush": (("red", "orange"), ("bibbed", "spotted")),  # breast
    "plover": (("blue", "white"), ("crowned", "browed")),  # head
    "wagtail": (("yellow", "pink"), ("tipped", "banded")),  # tail
    "finch": (("red", "green"), ("billed", "chinned")),  # bill and throat
}
SPECIES = tuple(
    Species(colour, mark, family)
    for family, (colours, marks) in FAMILIES.items()
    for colour in colours
    for mark in marks
)


class _Pen:
    """Draws in pixels of the final image, (0, 0) at ``origin``, scaled by ``scale``, rotated by ``angle`` radians."""

    def __init__(
        self, image: Image.Image, origin: tuple[float, float] = (0, 0), scale: float = 1.0, angle: float = 0.0
    ) -> None:
        self.image, self.origin, self.scale, self.angle = image, origin, scale, angle
        self.draw = ImageDraw.Draw(image)

    def moved(self, x: float, y: float, turn: float = 0.0) -> "_Pen":
        """A pen for a part of the body, with its own origin and direction."""
        return _Pen(self.image, self._at(x, y), self.scale, self.angle + turn)

    def _at(self, x: float, y: float) -> tuple[float, float]:
        sine, cosine = math.sin(self.angle), math.cos(self.angle)
        return (
            self.origin[0] + self.scale * (x * cosine - y * sine),
            self.origin[1] + self.scale * (x * sine + y * cosine),
        )

    def polygon(self, points, fill) -> None:
        corners = [tuple(SUPERSAMPLING * value for value in self._at(*point)) for point in points]
        self.draw.polygon(corners, fill=fill)

    def ellipse(self, x, y, rx, ry, fill, start=0.0, end=2 * math.pi) -> None:
        """An ellipse, or a segment of it from angle ``start`` to ``end``, clockwise from the right."""
        angles = np.linspace(start, end, 28)
        self.polygon([(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles], fill)

    def line(self, points, width, fill) -> None:
        """A thick line with round ends and joints."""
        for (x0, y0), (x1, y1) in pairwise(points):
            length = math.hypot(x1 - x0, y1 - y0)
            dx, dy = width / 2 * (y0 - y1) / length, width / 2 * (x1 - x0) / length
            self.polygon([(x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy)], fill)
        for x, y in points:
            self.ellipse(x, y, width / 2, width / 2, fill)


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue % 1, saturation, value))


def _shade(colour, factor: float) -> tuple[int, int, int]:
    return tuple(min(255, round(value * factor)) for value in colour)


def _draw_background(image: Image.Image, rng: np.random.Generator) -> None:
    """Out-of-focus sky, reeds or woods, with flowers and berries in the colours of the marks."""
    pen = _Pen(image)
    hue = rng.choice([0.57, 0.3, 0.22, 0.1]) + rng.normal(0, 0.03)
    saturation, value = rng.uniform(0.08, 0.25), rng.uniform(0.52, 0.9)
    for y in range(0, SIZE, 3):
        fill = _rgb(hue, saturation, value * (1 - 0.25 * y / SIZE))
        pen.polygon([(0, y), (SIZE, y), (SIZE, y + 3), (0, y + 3)], fill)
    for x, y in rng.uniform(-10, SIZE + 10, (rng.integers(6, 14), 2)):
        blob = _rgb(hue + rng.normal(0, 0.05), saturation * rng.uniform(0.7, 1.4), value * rng.uniform(0.6, 1.1))
        pen.ellipse(x, y, *rng.uniform(6, 22, 2), blob)
    for _ in range(rng.integers(2, 6)):  # twigs
        x, lean = rng.uniform(0, SIZE), rng.normal(0, 25)
        pen.line([(x, -5), (x + lean, SIZE + 5)], rng.uniform(0.8, 2.5), _rgb(0.09, 0.35, rng.uniform(0.25, 0.6)))
    image.paste(image.filter(ImageFilter.GaussianBlur(SUPERSAMPLING * rng.uniform(0.8, 2.5))))
    for _ in range(rng.integers(0, 5)):  # flowers and berries, around the bird
        x, y = rng.uniform(0, SIZE, 2)
        if math.dist((x, y), (SIZE / 2, SIZE / 2)) > 0.35 * SIZE:
            radius = rng.uniform(1, 2)
            pen.ellipse(x, y, radius, radius, _shade(rng.choice(list(COLOURS.values())), 0.95))


def _draw_wing(pen: _Pen, species: Species, colour, light) -> None:
    """The pen's origin is the shoulder; the wing points to the left."""
    pen.ellipse(-3, 1, 8, 7, colour)
    pen.polygon([(-1, -6), (3, 6), (-14, 6.5), (-27, 2.5), (-12, -4)], colour)
    for y in (1.5, 4.0):  # flight feathers
        pen.line([(-9, y), (-22 + y, y + 0.7)], 0.6, _shade(colour, 0.75))
    if species.mark == "barred":
        for x in (-1.5, -9.5):
            pen.line([(x + 2, -4), (x - 2, 6)], 3.8, light)
    elif species.mark == "ringed":
        pen.ellipse(-6, 0.8, 6.4, 6.4, light)
        pen.ellipse(-6, 0.8, 2.9, 2.9, (25, 25, 30))


def _draw_tail(pen: _Pen, species: Species, length: float, colour, light) -> None:
    """The pen's origin is where the tail begins; the tail points to the left."""

    def part(start: float, end: float, fill) -> None:
        widths = [3 + 2.4 * share for share in (start, end)]
        points = [(-length * start, -widths[0]), (-length * end, -widths[1])]
        pen.polygon([*points, (-length * end, widths[1]), (-length * start, widths[0])], fill)

    part(-0.2, 1.0, colour)
    if species.mark == "tipped":
        part(0.5, 1.05, light)
    elif species.mark == "banded":
        part(0.22, 0.42, light)
        part(0.62, 0.82, light)


def _draw_head(pen: _Pen, species: Species, colour, beak, light) -> None:
    """The pen's origin is the middle of the head; the beak points to the right."""
    pen.ellipse(0, 0, 8, 7.6, colour)
    if species.mark == "crowned":
        pen.ellipse(0, 0, 8.6, 8.4, light, math.radians(175), math.radians(345))
    elif species.mark == "chinned":
        pen.ellipse(3.5, 5.2, 6, 4.6, light)
    elif species.mark == "browed":
        pen.line([(-6.5, -0.5), (-1, -3.8), (6, -3.6)], 3.6, light)
    if species.mark == "billed":
        beak = light
    pen.polygon([(5, -4.2), (16.5, 1.2), (5, 4.6)], beak)
    pen.line([(7, 0.9), (13, 1.3)], 0.5, _shade(beak, 0.7))
    pen.ellipse(2.6, -1.2, 1.7, 1.7, (20, 18, 20))
    pen.ellipse(3.1, -1.8, 0.55, 0.55, (245, 245, 245))


def _draw_breast(pen: _Pen, species: Species, light) -> None:
    """The pen's origin is the middle of the breast."""
    if species.mark == "bibbed":
        pen.ellipse(0, 0, 6.6, 6.6, light, math.radians(-60), math.radians(150))
    elif species.mark == "spotted":
        for x, y in ((-4.6, 4.2), (0.6, 5.6), (-1.6, -0.6), (3.6, 1.2), (2, -5)):
            pen.ellipse(x, y, 2, 2, light)


def _draw_bird(pen: _Pen, species: Species, rng: np.random.Generator) -> None:
    """The pen's origin is the middle of the body."""
    light = COLOURS[species.colour]
    body = _rgb(rng.uniform(), rng.uniform(0.08, 0.3), rng.uniform(0.3, 0.55))
    wing, belly = _shade(body, rng.uniform(0.55, 0.8)), _shade(body, rng.uniform(1.1, 1.35))
    horn = _rgb(0.09, 0.3, rng.uniform(0.2, 0.45))
    plump, upright = rng.uniform(0.9, 1.15), math.radians(rng.uniform(8, 32))
    head = (14 + rng.uniform(-2, 3), -13 + rng.uniform(-3, 4))

    for foot in (-3, 4):
        pen.line([(foot - 2, 9), (foot, 18)], 1.2, horn)
        pen.line([(foot - 2, 18.4), (foot + 3, 18.4)], 1.4, horn)
    tail = _shade(wing, rng.uniform(0.8, 1))
    _draw_tail(pen.moved(-15, 4, rng.uniform(-0.5, 0.35)), species, rng.uniform(16, 20), tail, light)
    trunk = pen.moved(0, 0, -upright)
    trunk.ellipse(0, 0, 19, 11 * plump, body)
    trunk.ellipse(3, 4.5 * plump, 14, 6.5 * plump, belly)
    pen.line([(8, -4), head], 14, body)
    _draw_breast(pen.moved(14, -0.5 + plump, rng.uniform(-0.2, 0.2)), species, light)
    _draw_head(pen.moved(*head, rng.uniform(-0.4, 0.3)), species, body, horn, light)
    _draw_wing(pen.moved(4, -2.5, rng.uniform(-0.4, 0.05)), species, wing, light)


def render(species: Species, rng: np.random.Generator) -> Image.Image:
    """One image of SIZE x SIZE pixels. Everything but the mark is random."""
    image = Image.new("RGB", (SIZE * SUPERSAMPLING, SIZE * SUPERSAMPLING))
    _draw_background(image, rng)
    scale, angle = rng.uniform(1.0, 1.3), math.radians(rng.uniform(-12, 12))
    pen = _Pen(image, tuple(SIZE / 2 + rng.uniform((-3, -6), (9, 8))), scale, angle)
    perch = _rgb(0.08, rng.uniform(0.2, 0.5), rng.uniform(0.25, 0.5))
    bend = rng.uniform(-6, 6, 2)
    pen.line([(-90, 21 + bend[0]), (-12, 20.5), (14, 20.5), (90, 21 + bend[1])], rng.uniform(3, 5), perch)
    _draw_bird(pen, species, rng)
    image = image.reduce(SUPERSAMPLING).filter(ImageFilter.GaussianBlur(rng.uniform(0.1, 0.7)))

    light = rng.uniform(0.85, 1.15) * rng.uniform(0.96, 1.04, 3)
    pixels = 255 * (np.asarray(image) / 255) ** rng.uniform(0.9, 1.1) * light
    pixels *= np.linspace(*rng.uniform(0.85, 1.15, 2), SIZE)[None, :, None]  # light from one side
    pixels += rng.normal(0, rng.uniform(2, 6), pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
