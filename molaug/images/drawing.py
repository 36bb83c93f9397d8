"""Pictures drawn here, so that they are exact, free and turned without interpolation.

A picture is a function from points (..., 2), y up and the shorter side from -1 to 1, to the number
of a part; every part has a colour. Each pixel shows the mean colour of 3 x 3 points inside it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .data import ImageSet, build_set, pixel_points, rotation

_SAMPLES = 3  # points across a pixel

Picture = Callable[[np.ndarray], np.ndarray]


def paint(picture: Picture, palette: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture in the colours (parts, 3) of a palette, 0 to 1: (3, height, width) float64."""
    parts = picture(pixel_points(height, width, _SAMPLES))
    return np.moveaxis(palette[parts].mean(0), -1, 0)


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Values from 0 to 1 as bytes, clipped."""
    return (image.clip(0, 1) * 255).round().astype(np.uint8)


def in_ellipse(
    points: np.ndarray, centre: tuple[float, float], radii: tuple[float, float]
) -> np.ndarray:
    return (((points - centre) / radii) ** 2).sum(-1) < 1


def in_box(
    points: np.ndarray, centre: tuple[float, float], halves: tuple[float, float]
) -> np.ndarray:
    return (np.abs(points - centre) - halves).max(-1) < 0


def in_triangle(
    points: np.ndarray, apex: tuple[float, float], base: float, half: float
) -> np.ndarray:
    """An upright triangle from its apex down (or up) to the height `base`, half as wide there."""
    down = (points[..., 1] - apex[1]) / (base - apex[1])
    return np.where(down < 1, np.abs(points[..., 0] - apex[0]) < half * down, False)


# ------------------------------------------------------------------------------------ sprites

SPRITE_CLASSES = ("rocket up", "rocket down", "tree up", "tree down")
_BLACK, _RED, _WHITE, _BLUE, _GREEN, _BROWN = range(6)
_PALETTE = np.array(
    [(0, 0, 0), (0.9, 0.2, 0.1), (0.9, 0.9, 0.9), (0.2, 0.4, 0.9), (0.1, 0.7, 0.2), (0.6, 0.4, 0.2)]
)


def _layers(points: np.ndarray, *layers: tuple[np.ndarray, int]) -> np.ndarray:
    """The part of each point: that of the last layer over it, black where there is none."""
    parts = np.full(points.shape[:-1], _BLACK)
    for covered, part in layers:
        parts[covered] = part
    return parts


def rocket(points: np.ndarray) -> np.ndarray:
    """Nose up: a white hull with a blue window, red fins at its foot."""
    return _layers(
        points,
        (in_triangle(points, (0.0, 0.1), -0.65, 0.45), _RED),
        (in_ellipse(points, (0.0, 0.0), (0.25, 0.7)), _WHITE),
        (in_ellipse(points, (0.0, 0.25), (0.12, 0.12)), _BLUE),
    )


def tree(points: np.ndarray) -> np.ndarray:
    """Top up: three green storeys, a brown trunk at their foot."""
    return _layers(
        points,
        (in_box(points, (0.0, -0.5), (0.1, 0.2)), _BROWN),
        (in_triangle(points, (0.0, 0.3), -0.4, 0.5), _GREEN),
        (in_triangle(points, (0.0, 0.5), -0.05, 0.4), _GREEN),
        (in_triangle(points, (0.0, 0.7), 0.25, 0.3), _GREEN),
    )


STANDING_CLASSES = ("rocket standing", "rocket lying", "tree standing", "tree lying")


def draw_sprites(
    count: int,
    *,
    size: int = 32,
    degrees: float = 45.0,
    seed: int = 0,
    noise: float = 0.05,
    standing: bool = False,
) -> ImageSet:
    """Two sprites, each upright or upside down, then turned by up to +-`degrees`.

    The class is the sprite together with which way up it is: rotations by +-`degrees` keep it, and
    for 45 degrees no wider range does, since twice 45 + 45 degrees is where up meets down. Image i
    has the class i mod 4; angles and noise (standard deviation, pixel values of 0 to 1) are seeded
    per image.

    standing: the sprites stand or lie, either way up: two ranges keep the class, +-(45 - `degrees`)
    and the same about half a turn.
    """
    images = [_draw_sprite(i, size, degrees, seed, noise, standing) for i in range(count)]
    stacked = np.array(images, np.uint8).reshape(count, 3, size, size)
    classes = STANDING_CLASSES if standing else SPRITE_CLASSES
    return build_set("sprites", stacked, np.arange(count) % 4, classes)


def _draw_sprite(
    i: int, size: int, degrees: float, seed: int, noise: float, standing: bool
) -> np.ndarray:
    generator = np.random.default_rng((seed, i))
    sprite = (rocket, tree)[i % 4 // 2]
    angle = np.radians(generator.uniform(-degrees, degrees)) + np.pi * (i % 2)
    if standing:
        angle += np.pi * (generator.integers(2) - (i % 2) / 2)
    image = paint(lambda points: sprite(points @ rotation(angle)), _PALETTE, size, size)
    return to_bytes(image + noise * generator.standard_normal(image.shape))


# ------------------------------------------------------------------------------------ scenes

SCENE_CLASSES = ("sky", "ground", "sun", "house", "tree")
_SKY, _GROUND, _SUN, _HOUSE, _TREE = range(5)
_TYPICAL = np.array(
    [(0.5, 0.6, 0.8), (0.5, 0.5, 0.4), (0.8, 0.7, 0.4), (0.7, 0.4, 0.4), (0.3, 0.6, 0.3)]
)


def _draw_plan(generator: np.random.Generator, reach: float) -> Picture:
    """A random scene: sun, houses and trees at random places, `reach` to either side."""
    horizon = generator.uniform(-0.4, 0.1)
    place = generator.uniform(-reach, reach, size=5)
    size = generator.uniform(0.15, 0.35, size=5)
    foot = horizon - generator.uniform(0, 0.3, size=5)

    def scene(points: np.ndarray) -> np.ndarray:
        parts = np.where(points[..., 1] > horizon, _SKY, _GROUND)
        parts[in_ellipse(points, (place[0], 0.65), (size[0], size[0]))] = _SUN
        for k in np.argsort(-foot[1:]) + 1:  # what stands nearer hides what stands behind
            if k < 3:
                covered = in_box(points, (place[k], foot[k] + size[k]), (size[k], size[k]))
                parts[covered] = _HOUSE
            else:
                apex = (place[k], foot[k] + 3 * size[k])
                parts[in_triangle(points, apex, foot[k], size[k])] = _TREE
        return parts

    return scene


def draw_scenes(
    count: int, *, height: int = 48, width: int = 64, seed: int = 0, noise: float = 0.08
) -> ImageSet:
    """Upright scenes with the exact class of every pixel's centre.

    Colours vary from scene to scene by more than classes differ, so that the place and the shape of
    a region decide; noise is the standard deviation per pixel, in pixel values of 0 to 1.
    """
    scenes = [_draw_scene(i, height, width, seed, noise) for i in range(count)]
    images = np.array([image for image, _ in scenes], np.uint8).reshape(count, 3, height, width)
    labels = np.array([plan for _, plan in scenes], np.int64).reshape(count, height, width)
    return build_set("scenes", images, labels, SCENE_CLASSES)


def _draw_scene(
    i: int, height: int, width: int, seed: int, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng((seed, i))
    scene = _draw_plan(generator, reach=width / min(height, width))
    palette = _TYPICAL + generator.uniform(-0.2, 0.2, size=_TYPICAL.shape)
    image = paint(scene, palette, height, width)
    image = to_bytes(image + noise * generator.standard_normal(image.shape))
    return image, scene(pixel_points(height, width))[0]
