"""Draws the people of the generated dataset as its cameras see them."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["CAMERAS", "CHOICES", "Camera", "Marks", "render"]

WIDTH, HEIGHT = 64, 128
# Figures are drawn this many times larger and then averaged down, which smooths the edges.
SUPERSAMPLING = 3

COLOURS = {
    "red": (205, 45, 45),
    "yellow": (240, 205, 50),
    "green": (60, 165, 80),
    "blue": (70, 145, 225),
    "white": (240, 240, 235),
    "purple": (165, 75, 175),
}


class Marks(NamedTuple):
    """The marks that distinguish one identity from another."""

    hat: str
    hat_colour: str
    emblem: str
    emblem_colour: str
    emblem_place: str
    armband: str
    bag: str
    bag_colour: str
    knee: str
    shoes: str


CHOICES = Marks(
    hat=("cap", "beanie", "helmet", "headband"),
    hat_colour=tuple(COLOURS),
    emblem=("disc", "square", "triangle", "cross"),
    emblem_colour=tuple(COLOURS),
    emblem_place=("chest", "middle", "belly"),
    armband=("none", *COLOURS),
    bag=("satchel", "rucksack", "belt"),
    bag_colour=tuple(COLOURS),
    knee=("none", *COLOURS),
    shoes=tuple(COLOURS),
)


@dataclass(frozen=True)
class Camera:
    """A camera: ``gain`` and ``gamma`` set its light, ``cast`` its colour, and ``blur`` is a radius in pixels."""

    background: str
    gain: float
    gamma: float
    cast: tuple[float, float, float]
    blur: float
    noise: float


CAMERAS = (
    Camera("wall", gain=1.05, gamma=1.0, cast=(1.0, 1.0, 0.98), blur=0.3, noise=3.0),
    Camera("park", gain=1.12, gamma=0.9, cast=(0.95, 1.06, 0.88), blur=0.6, noise=4.0),
    Camera("corridor", gain=0.9, gamma=1.15, cast=(1.12, 0.98, 0.8), blur=0.8, noise=6.0),
    Camera("road", gain=0.8, gamma=1.0, cast=(0.86, 0.96, 1.15), blur=0.5, noise=8.0),
)


class _Pen:
    """Draws in pixels of the final image, zoomed by ``zoom`` and then moved by ``shift``."""

    def __init__(self, image: Image.Image, zoom: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> None:
        self.draw = ImageDraw.Draw(image)
        self.zoom, self.shift = zoom * SUPERSAMPLING, (shift[0] * SUPERSAMPLING, shift[1] * SUPERSAMPLING)

    def at(self, x: float, y: float) -> tuple[float, float]:
        # The zoom keeps the middle of the image where it is.
        return (
            (x - WIDTH / 2) * self.zoom + WIDTH / 2 * SUPERSAMPLING + self.shift[0],
            (y - HEIGHT / 2) * self.zoom + HEIGHT / 2 * SUPERSAMPLING + self.shift[1],
        )

    def polygon(self, points, fill) -> None:
        self.draw.polygon([self.at(*point) for point in points], fill=fill)

    def box(self, x0, y0, x1, y1, fill) -> None:
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill)

    def ellipse(self, x, y, rx, ry, fill) -> None:
        self.draw.ellipse([self.at(x - rx, y - ry), self.at(x + rx, y + ry)], fill=fill)

    def limb(self, points, width, fill) -> None:
        """A thick line with round ends and joints."""
        corners = [self.at(*point) for point in points]
        self.draw.line(corners, fill=fill, width=round(width * self.zoom))
        for point in points:
            self.ellipse(*point, width / 2, width / 2, fill)


def _shade(colour, factor: float) -> tuple[int, int, int]:
    return tuple(min(255, round(value * factor)) for value in colour)


def _draw_background(pen: _Pen, kind: str, rng: np.random.Generator) -> None:
    horizon = 62 + rng.uniform(-6, 6)
    shift = rng.uniform(0, 16)
    wall, floor = {
        "wall": ((150, 120, 108), (128, 126, 122)),
        "park": ((112, 140, 92), (150, 142, 112)),
        "corridor": ((168, 164, 154), (112, 104, 98)),
        "road": ((122, 130, 142), (88, 90, 96)),
    }[kind]
    pen.box(-20, -20, WIDTH + 20, HEIGHT + 20, floor)
    pen.box(-20, -20, WIDTH + 20, horizon, wall)
    if kind == "wall":  # bricks
        for row in range(-2, 12):
            y = horizon - 6 * row
            pen.box(-20, y, WIDTH + 20, y + 0.7, _shade(wall, 0.86))
            for column in range(-3, 8):
                x = 12 * column + shift + 6 * (row % 2)
                pen.box(x, y - 6, x + 0.7, y, _shade(wall, 0.86))
        pen.box(-20, horizon - 1, WIDTH + 20, horizon + 1, _shade(floor, 0.7))
    elif kind == "park":  # trees and tufts of grass
        for x in rng.uniform(-8, WIDTH + 8, 3):
            pen.box(x - 1.5, horizon - 34, x + 1.5, horizon, (92, 76, 60))
            for _ in range(4):
                dx, dy = rng.uniform(-8, 8, 2)
                pen.ellipse(x + dx, horizon - 38 + dy, 9, 8, _shade((82, 122, 66), rng.uniform(0.85, 1.15)))
        for x, y in rng.uniform((0, horizon), (WIDTH, HEIGHT), (25, 2)):
            pen.ellipse(x, y, 2.5, 0.8, _shade((112, 132, 84), rng.uniform(0.9, 1.1)))
    elif kind == "corridor":  # a door and floor tiles
        x = shift * 4 - 10
        pen.box(x, horizon - 48, x + 20, horizon, (124, 100, 78))
        pen.ellipse(x + 17, horizon - 22, 1, 1, (210, 200, 150))
        for line in range(1, 8):
            pen.box(-20, horizon + line**1.8, WIDTH + 20, horizon + line**1.8 + 0.6, _shade(floor, 1.15))
        for line in range(-6, 7):
            x = WIDTH / 2 + line * 8
            pen.limb([(x, horizon), (x + line * 14, HEIGHT)], 0.6, _shade(floor, 1.15))
    else:  # a lane marking and parked cars
        for x in (shift * 4 - 24, shift * 4 + 30):
            paint = _shade((120, 118, 124), rng.uniform(0.6, 1.4))
            pen.ellipse(x, horizon - 6, 17, 7, paint)
            pen.box(x - 11, horizon - 17, x + 9, horizon - 7, paint)
            pen.box(x - 9, horizon - 15, x + 7, horizon - 9, (66, 76, 88))
            for wheel in (x - 9, x + 9):
                pen.ellipse(wheel, horizon, 4, 4, (40, 40, 44))
        pen.polygon(
            [(shift, horizon + 12), (shift + 4, horizon + 12), (shift + 22, 150), (shift + 12, 150)], (196,) * 3
        )


def _draw_emblem(pen: _Pen, shape: str, x: float, y: float, fill) -> None:
    if shape == "disc":
        pen.ellipse(x, y, 2.8, 2.8, fill)
    elif shape == "square":
        pen.box(x - 2.5, y - 2.5, x + 2.5, y + 2.5, fill)
    elif shape == "triangle":
        pen.polygon([(x - 3.2, y + 2.6), (x + 3.2, y + 2.6), (x, y - 3.2)], fill)
    else:
        pen.box(x - 3.2, y - 1, x + 3.2, y + 1, fill)
        pen.box(x - 1, y - 3.2, x + 1, y + 3.2, fill)


def _draw_hat(pen: _Pen, kind: str, x: float, fill) -> None:
    if kind == "cap":
        pen.ellipse(x, 19, 7, 5, fill)
        pen.ellipse(x - 3, 21.5, 8, 1.6, _shade(fill, 0.8))
    elif kind == "beanie":
        pen.ellipse(x, 18, 7, 6.5, fill)
        pen.box(x - 7.2, 19, x + 7.2, 22, _shade(fill, 0.8))
        pen.ellipse(x, 11.5, 2, 2, _shade(fill, 0.8))
    elif kind == "helmet":
        pen.ellipse(x, 19.5, 8.2, 7.2, fill)
        pen.box(x - 1, 12.6, x + 1, 20, _shade(fill, 0.8))
    else:
        pen.box(x - 7.2, 19, x + 7.2, 21.6, fill)


def _draw_figure(pen: _Pen, marks: Marks, rng: np.random.Generator) -> None:
    cloth = rng.uniform(0.88, 1.12)
    jacket, trousers, skin = _shade((62, 68, 88), cloth), _shade((84, 80, 76), cloth), (206, 164, 136)
    colour = COLOURS.get
    lean, stride, swing = rng.uniform(-1.5, 1.5), rng.uniform(-7, 7), rng.uniform(-4, 4)
    middle = WIDTH / 2 + lean

    pen.ellipse(32, 114, 15, 2.5, (70, 70, 72))  # shadow
    for side in (1, -1):
        knee, foot = (32 + side * 5 + stride * 0.4 * side, 90), (32 + side * 5.5 + stride * side, 111)
        pen.limb([(32 + side * 4.5, 68), knee, foot], 7.5, _shade(trousers, 1.0 if side > 0 else 0.9))
        if side > 0 and marks.knee != "none":
            pen.ellipse(*knee, 3, 3.4, colour(marks.knee))
        pen.ellipse(foot[0] + side, 113, 5, 2.6, colour(marks.shoes))
    for side in (-1, 1):
        shoulder, elbow = (middle + side * 10.5, 41), (32 + side * 14, 56)
        hand = (32 + side * 14 + swing * side, 70)
        pen.ellipse(hand[0], hand[1] + 2, 2.6, 3, skin)
        pen.limb([shoulder, elbow, hand], 6, _shade(jacket, 0.85))
        if side < 0 and marks.armband != "none":
            x, y = (shoulder[0] + elbow[0]) / 2, (shoulder[1] + elbow[1]) / 2
            pen.box(x - 3.4, y - 1.8, x + 3.4, y + 1.8, colour(marks.armband))
    torso = [(middle - 9, 36), (middle + 9, 36), (middle + 11.5, 41), (41.5, 71), (22.5, 71), (middle - 11.5, 41)]
    pen.polygon(torso, jacket)
    pen.polygon([(middle + 4, 36), *torso[1:4], (36, 71)], _shade(jacket, 0.9))
    pen.box(31.7, 38, 32.3, 71, _shade(jacket, 0.7))  # zip

    pen.box(middle - 2.5, 32, middle + 2.5, 37, _shade(skin, 0.85))
    pen.ellipse(middle, 18.5, 7, 7.5, (62, 48, 42))  # hair
    pen.ellipse(middle, 25, 6, 7.5, skin)
    for side in (-1, 1):
        pen.ellipse(middle + side * 2.4, 25, 0.8, 0.8, (50, 40, 40))
    _draw_hat(pen, marks.hat, middle, colour(marks.hat_colour))

    bag = colour(marks.bag_colour)
    if marks.bag == "rucksack":
        for side in (-1, 1):
            pen.limb([(middle + side * 6.5, 37), (middle + side * 8, 56)], 1.6, bag)
    elif marks.bag == "satchel":
        pen.limb([(middle - 8, 38), (42, 66)], 1.4, _shade(bag, 0.85))
        pen.box(37.5, 64, 46, 73, bag)
        pen.box(37.5, 64, 46, 66.5, _shade(bag, 0.8))
    else:
        pen.box(22.5, 67, 41.5, 70, _shade(bag, 0.85))
        pen.box(26, 66, 33, 71.5, bag)
    place = {"chest": (middle + 5, 43.5), "middle": (middle, 50.5), "belly": (27.5, 59)}[marks.emblem_place]
    _draw_emblem(pen, marks.emblem, *place, colour(marks.emblem_colour))


def render(marks: Marks, camera: Camera, rng: np.random.Generator, *, cut_off: bool = False) -> Image.Image:
    """One crop of HEIGHT x WIDTH pixels. ``cut_off``: a bad detection that shows at most a part of the body."""
    image = Image.new("RGB", (WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING))
    _draw_background(_Pen(image), camera.background, rng)
    zoom, shift = rng.uniform(0.92, 1.08), rng.uniform((-3, -5), (3, 5))
    if cut_off:
        zoom, shift = rng.uniform(0.7, 1.6), rng.choice((-1, 1), 2) * rng.uniform((18, 40), (30, 70))
    _draw_figure(_Pen(image, zoom, tuple(shift)), marks, rng)
    image = image.reduce(SUPERSAMPLING).filter(ImageFilter.GaussianBlur(camera.blur * rng.uniform(0.6, 1.4)))

    light = camera.gain * rng.uniform(0.85, 1.15) * np.array(camera.cast) * rng.uniform(0.95, 1.05, 3)
    pixels = 255 * (np.asarray(image) / 255) ** camera.gamma * light
    pixels *= np.linspace(*rng.uniform(0.88, 1.12, 2), WIDTH)[None, :, None]  # light from one side
    pixels += rng.normal(0, camera.noise, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
