"""The titles of distortions and small changes, in tables and figures; quick to import."""

from typing import Literal

Distortion = Literal["shifted", "rotated", "scaled", "noisy", "thinner", "thicker"]
Nudge = Literal["shift", "rotation", "stroke"]
DISTORTION_TITLES: dict[Distortion, str] = {
    "shifted": "shifted by up to 2 pixels",
    "rotated": "rotated by up to 15°",
    "scaled": "0.9 to 1.1 times as large",
    "noisy": "Gaussian noise, σ = 0.2",
    "thinner": "thinner strokes",
    "thicker": "thicker strokes",
}
NUDGE_TITLES: dict[Nudge, str] = {
    "shift": "shifted by 1 pixel",
    "rotation": "rotated by 5°",
    "stroke": "thinner or thicker",
}
