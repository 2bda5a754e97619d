"""One generated picture: a scene with a subject, its quality factors, and a photographic style."""

import colorsys
import dataclasses

import numpy as np
from PIL import Image

from mtp.data.demo.styles import SCENE_STYLES, STYLES, Layers, blurred, grid

NAMES = tuple(sorted({*STYLES, *SCENE_STYLES}))
BUCKETS = ((80, 120), (120, 80), (80, 80))  # HxW pixels that pictures lie around


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a picture shows. Factors lie in -1 (bad) .. 1 (good).

    place: the subject on a third (good) or dead centre or cut by the frame (bad); sharp: focus; vivid: strong
    colours, the subject's far from the background's; calm: no clutter along the frame; fit: a tall subject in
    a tall frame, a wide one in a wide frame.
    """

    height: int
    width: int
    place: float
    sharp: float
    vivid: float
    calm: float
    fit: float
    style: str

    def quality(self, integrity: float) -> float:
        """Latent quality; integrity 0 leaves out what depends on framing and aspect."""
        return sum(weight * getattr(self, factor) for factor, weight in quality_weights(integrity).items())


def quality_weights(integrity: float) -> dict[str, float]:
    """How much each factor counts; integrity scales those of framing and aspect."""
    framing = {"place": 0.8, "fit": 0.3, "calm": 0.4}
    return {"sharp": 1.2, "vivid": 1.6} | {factor: integrity * weight for factor, weight in framing.items()}


def draw_scene(rng: np.random.Generator) -> Scene:
    """A random scene; all factors are independent of one another, of size and of style."""
    height, width = BUCKETS[rng.choice(3, p=[0.5, 0.25, 0.25])]
    area, stretch = rng.uniform(0.75, 1.4), rng.uniform(0.9, 1.11)
    tall = np.sqrt(area * stretch)
    wide = np.sqrt(area / stretch)
    factors = rng.uniform(-1, 1, 5)
    return Scene(
        max(48, round(height * tall)),
        max(48, round(width * wide)),
        *factors.tolist(),
        style=NAMES[rng.integers(len(NAMES))],
    )


def render(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """The scene's pixels, uint8 (H, W, 3)."""
    hue = rng.random()
    background = _background(scene, hue, rng)
    alpha, shade, centre = _subject(scene, rng)
    # far hues stand out; the sign of every difference is random, so that mean colours tell nothing
    turn = rng.choice([-1, 1]) * (0.08 + 0.21 * (scene.vivid + 1))
    if scene.style == "Complementary_Colors":
        turn = 0.5
    colour = colorsys.hsv_to_rgb((hue + turn) % 1, 0.15 + 0.42 * (scene.vivid + 1), rng.uniform(0.55, 0.95))
    subject = np.clip(colour * shade[..., None] + _noise(scene, 2, rng)[..., None] * 0.3, 0, 1)
    radius = 0.2 + 1.3 * (1 - scene.sharp)
    subject, background, alpha = (blurred(layer, radius) for layer in (subject, background, alpha))
    picture = background * (1 - alpha[..., None]) + subject * alpha[..., None]
    apply = STYLES.get(scene.style)
    if apply:
        picture = apply(Layers(picture, background, alpha[..., None], centre, rng))
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


def _noise(scene: Scene, cell: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise in about -.5 .. .5 whose grain is `cell` pixels."""
    small = rng.random((scene.height // cell + 2, scene.width // cell + 2)).astype(np.float32)
    image = Image.fromarray(small - 0.5).resize((scene.width, scene.height), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _background(scene: Scene, hue: float, rng: np.random.Generator) -> np.ndarray:
    """Sky over ground with texture, and clutter along the frame."""
    y, x = grid(scene.height, scene.width)
    horizon = rng.uniform(0.45, 0.75) + rng.uniform(-0.08, 0.08) * (x - 0.5)
    saturation = 0.05 + 0.3 * (scene.vivid + 1) + rng.uniform(0, 0.1)
    top, bottom = rng.uniform(0.35, 0.9), rng.uniform(0.2, 0.8)
    grain = rng.uniform(0.1, 0.7)  # of the ground: sharpness is not how much detail there is
    sky = np.array(colorsys.hsv_to_rgb(hue, saturation, 1.0)) * (top + 0.25 * (y - 0.3))[..., None]
    ground = np.array(colorsys.hsv_to_rgb((hue + rng.uniform(-0.07, 0.07)) % 1, saturation, 1.0))
    ground = ground * (bottom + grain * _noise(scene, int(rng.integers(2, 7)), rng))[..., None]
    picture = np.where((y < horizon)[..., None], sky + 0.2 * _noise(scene, 16, rng)[..., None], ground)
    clutter = round(3.5 * (1 - scene.calm))
    for _ in range(clutter):
        side, along, size = rng.integers(4), rng.random(), rng.uniform(0.06, 0.1)
        cy, cx = ((0.04, along), (0.96, along), (along, 0.04), (along, 0.96))[side]
        spot = np.maximum(abs(y - cy) * scene.height, abs(x - cx) * scene.width) < size * min(
            scene.height, scene.width
        )
        picture[spot] = rng.random(3)
    return np.clip(picture, 0, 1)


def _subject(scene: Scene, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Coverage and shading of the subject, and where it lies."""
    y, x = grid(scene.height, scene.width)
    third = np.array([rng.choice([1 / 3, 2 / 3]), rng.choice([1 / 3, 2 / 3])])
    # badly placed: dead centre, or cut off by the frame
    bad = np.array([0.5, 0.5]) if rng.random() < 0.15 else np.where(third < 0.5, -0.05, 1.05)
    cy, cx = third + (bad - third) * (1 - scene.place) / 2
    is_wide = (
        scene.width > scene.height if rng.random() < (1 + scene.fit) / 2 else scene.width <= scene.height
    )
    reach = rng.uniform(0.18, 0.23) * np.sqrt(scene.height * scene.width)
    if scene.style == "Macro":
        reach *= 1.5
    ratio = 1.5 if is_wide else 1 / 1.5
    dy, dx = (y - cy) * scene.height / reach * np.sqrt(ratio), (x - cx) * scene.width / reach / np.sqrt(ratio)
    kind = rng.integers(3)
    if kind == 0:
        distance = np.hypot(dy, dx)
    elif kind == 1:
        distance = np.maximum(abs(dy), abs(dx)) * 1.1
    else:
        petals = rng.integers(4, 8)
        distance = np.hypot(dy, dx) * (1.1 + 0.35 * np.cos(petals * np.arctan2(dy, dx) + rng.uniform(0, 6)))
    shade = 0.8 + 0.25 * np.clip(-dy * 0.5 + dx * rng.choice([-0.5, 0.5]), -1, 1)
    # stripes give the subject detail that a loss of focus takes away
    shade += 0.22 * np.sign(np.sin((dy + dx * rng.choice([-1, 1])) * rng.uniform(7, 10)))
    return (distance < 1).astype(np.float64), shade, (float(cy), float(cx))
