"""Name what a denoiser is put under when its robustness is measured, and how hard."""

from dataclasses import dataclass

RADII = (0.05, 0.1, 0.2)  # of attacks, in units of the noise of a level


@dataclass(frozen=True)
class StressFacts:
    """State how hard a stressor is, and how it is called."""

    label: str
    severities: tuple[float, ...]
    """Mild to hard."""
    attack: bool = False
    """Whether it is looked for by gradients, so that it must be shown to be worth something."""
    sampled: bool = False
    """Whether it acts on sampling, and what is told is how far images move."""


STRESSES: dict[str, StressFacts] = {
    "less_noise": StressFacts("less noise than told", (-0.1, -0.2, -0.4)),
    "more_noise": StressFacts("more noise than told", (0.1, 0.2, 0.4)),
    "gaussian": StressFacts("noise in the image", (0.1, 0.2, 0.4)),
    "salt": StressFacts("salt and pepper", (0.02, 0.05, 0.1)),
    "blur": StressFacts("blur", (0.4, 0.6, 0.8)),
    "contrast": StressFacts("less contrast", (0.8, 0.6, 0.4)),
    "l2": StressFacts("attack in L2", RADII, attack=True),
    "linf": StressFacts("attack in L-inf", RADII[1:2], attack=True),
    "weights": StressFacts("noise on the weights", (0.02, 0.05, 0.1)),
    "integers": StressFacts("weights of 8 and 4 bits", (8, 4)),
    "start": StressFacts("moved x_T", (0.05, 0.1, 0.2), sampled=True),
    "steps": StressFacts("noise at each step", (0.02, 0.05, 0.1), sampled=True),
}
"""Name -> facts; lthray.measure.stress has what is done."""
