"""AVA's 14 photographic styles as the generated pictures show them."""

import colorsys
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

SCENE_STYLES = ("Complementary_Colors", "Macro")  # made by the scene itself: hues, and the subject's size


class Layers(NamedTuple):
    """A rendered scene, values 0..1: picture and background (H, W, 3), the subject's coverage alpha (H, W, 1)."""

    picture: np.ndarray
    background: np.ndarray
    alpha: np.ndarray
    centre: tuple[float, float]
    rng: np.random.Generator


def blurred(values: np.ndarray, radius: float) -> np.ndarray:
    """Gaussian blur of standard deviation `radius` pixels."""
    image = Image.fromarray((np.clip(values, 0, 1) * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float64) / 255


def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertical and horizontal position (H, W) of every pixel, 0..1."""
    rows, columns = np.mgrid[0:height, 0:width]
    return (rows + 0.5) / height, (columns + 0.5) / width


def _duotones(layers: Layers) -> np.ndarray:
    grey = layers.picture.mean(axis=2, keepdims=True)
    ink = np.array(colorsys.hsv_to_rgb(layers.rng.random(), 0.6, 1.0))
    return grey * (0.6 + 0.4 * grey) * ink + 0.15 * grey


def _hdr(layers: Layers) -> np.ndarray:
    detail = layers.picture - blurred(layers.picture, 4.0)
    return np.clip(0.5 + (layers.picture - 0.5) * 0.9 + 1.8 * detail, 0, 1)


def _image_grain(layers: Layers) -> np.ndarray:
    return layers.picture + layers.rng.normal(0, 0.11, layers.alpha.shape)


def _light_on_white(layers: Layers) -> np.ndarray:
    y, _ = grid(*layers.alpha.shape[:2])
    return layers.picture * layers.alpha + (0.96 + 0.03 * y)[..., None] * (1 - layers.alpha)


def _long_exposure(layers: Layers) -> np.ndarray:
    height, width = layers.alpha.shape[:2]
    streaks = np.repeat(layers.rng.random((height, 1)), width, axis=1)[..., None]
    y, _ = grid(height, width)
    return np.where((y > 0.6)[..., None], 0.6 * layers.picture + 0.4 * streaks, layers.picture)


def _motion_blur(layers: Layers) -> np.ndarray:
    moved = np.mean([np.roll(layers.background, shift, axis=1) for shift in range(-4, 5)], axis=0)
    return np.where(layers.alpha > 0.5, layers.picture, moved)


def _negative_image(layers: Layers) -> np.ndarray:
    return 1 - layers.picture


def _rule_of_thirds(layers: Layers) -> np.ndarray:
    _, x = grid(*layers.alpha.shape[:2])
    lines = (np.abs((x * 3) % 1 - 0.5) > 0.485) & (x > 0.2) & (x < 0.8)
    return np.where(lines[..., None], layers.picture * 0.7, layers.picture)


def _shallow_dof(layers: Layers) -> np.ndarray:
    return blurred(layers.background, 5.0) * (1 - layers.alpha) + layers.picture * layers.alpha


def _silhouettes(layers: Layers) -> np.ndarray:
    return (0.75 * layers.background + 0.25) * (1 - layers.alpha) + 0.04 * layers.alpha


def _soft_focus(layers: Layers) -> np.ndarray:
    return 1 - (1 - layers.picture * 0.8) * (1 - 0.5 * blurred(layers.picture, 5.0))


def _vanishing_point(layers: Layers) -> np.ndarray:
    y, x = grid(*layers.alpha.shape[:2])
    angle = np.arctan2(y - layers.centre[0], x - layers.centre[1])
    rays = (np.sin(angle * 14) > 0.4)[..., None] * (1 - layers.alpha)
    return layers.picture * (1 - 0.45 * rays)


STYLES: Mapping[str, Callable[[Layers], np.ndarray]] = {
    "Duotones": _duotones,
    "HDR": _hdr,
    "Image_Grain": _image_grain,
    "Light_On_White": _light_on_white,
    "Long_Exposure": _long_exposure,
    "Motion_Blur": _motion_blur,
    "Negative_Image": _negative_image,
    "Rule_of_Thirds": _rule_of_thirds,
    "Shallow_DOF": _shallow_dof,
    "Silhouettes": _silhouettes,
    "Soft_Focus": _soft_focus,
    "Vanishing_Point": _vanishing_point,
}
