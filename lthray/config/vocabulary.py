"""List every word that a trial may use, and what must be known of it before torch is imported.

Each family of methods is one `Literal`; a test holds it equal to the family's own table. Where a
config cannot be checked or named without knowing something of a member, the family also has a table
of facts here, one row a member. Nothing in this file imports another file of the package.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

DataName = Literal[
    "digits", "digits_low", "digits_high", "mnist", "fashion_mnist", "cifar10", "cifar100",
    "flowers102", "folder",
]  # fmt: skip
Augment = Literal["none", "flip", "shift", "flip_shift"]
ModelName = Literal["unet", "lenet300", "lenet5", "resnet", "autoencoder"]
ObjectiveName = Literal["denoise", "latent_denoise", "classify", "autoencode"]
NoiseSchedule = Literal["linear", "squaredcos_cap_v2", "sigmoid"]
Prediction = Literal["epsilon", "v_prediction", "sample"]
OptimizerName = Literal["adam", "adamw", "sgd"]
Decay = Literal["constant", "linear", "cosine"]
Criterion = Literal[
    "magnitude", "random", "movement", "magnitude_increase",
    "snip", "grasp", "synflow", "taylor", "diff_pruning", "sensitivity", "hsic",
]  # fmt: skip
Budget = Literal[
    "uniform", "overall", "erk", "lamp", "ramp", "sampled", "sensitivity", "hsic", "cka"
]
Scored = Literal["trained", "average", "rewound"]
Granularity = Literal["layer", "block", "level"]
Unit = Literal["weight", "channel", "n_of_m"]
RegimeName = Literal["static", "set", "rigl", "gradual", "rst"]
RewindRule = Literal["init", "late", "tuned", "lr", "random", "sign", "given"]
Elastic = Literal["interpolate", "append"]
Control = Literal[
    "none", "reinit", "shuffle", "random_mask", "complement", "perturb", "dense", "small_dense",
    "equal_compute", "tuned", "lr", "one_shot",
]  # fmt: skip
Sampler = Literal["ddim", "ddpm", "dpm_solver", "heun"]
FEWEST_CALLS = {"heun": 3}  # network calls of an image, of samplers that take more than one
TRACING = ("movement", "magnitude_increase")  # criteria that ask from where a training began
COMPARING = ("hsic", "cka")  # criteria and budgets that compare the images of a batch, four or more
CALLS_A_STEP = {"heun": 2}  # of samplers that call the network more than once a timestep
Split = Literal["validation", "test"]
LogName = Literal["tensorboard", "optuna"]
RoleName = Literal["identity", "setting", "recipe", "control", "measure"]

# width of the feature extractor whose features FID, KID, precision and recall are taken of
FEATURES = 32
# ordered (pattern, density) pairs over the layers, first match wins; "free" = the budget decides
LayerRules = tuple[tuple[str, float | str], ...]


@dataclass(frozen=True)
class DataFacts:
    """State the images of a data set; zeros where only the user's images or words can say."""

    channels: int
    side: int
    classes: int
    training_images: int

    @property
    def brought(self) -> bool:
        """Whether the user brings the images, so that the config must say their shape."""
        return not self.training_images


@dataclass(frozen=True)
class AugmentFacts:
    """State whether an augmentation moves the image."""

    shifts: bool = False


@dataclass(frozen=True)
class NetworkFacts:
    """State what a network learns, and how the words of its part are read."""

    learns: tuple[ObjectiveName, ...]
    layers: LayerRules
    """Densities unless prune.layers says otherwise: the ways in and out stay whole. So do, of any
    network, the layers that never see the image, which tell it the time or the class."""
    levels: bool = False
    """Whether model.channels are levels with GroupNorm, each but the first at half the side."""
    even: bool = False  # whether a side that is halved must be even, since it is doubled again
    attention: bool = False
    """Whether levels may have self-attention."""


@dataclass(frozen=True)
class ObjectiveFacts:
    """State what an objective asks of data and network, and how trials of it are named."""

    denoises: bool = False
    in_latents: bool = False
    """Whether the network works on the latents of an autoencoder that is trained before."""
    classifies: bool = False
    """Whether labels are learnt; prune.terms then are batches, which share out prune.images."""
    label: str = ""


@dataclass(frozen=True)
class DecayFacts:
    """State what becomes of the learning rate after the warm-up."""

    falls: bool = True


@dataclass(frozen=True)
class BudgetFacts:
    """State what a budget needs and allows, and how trials of it are named."""

    label: str
    """Short name; {slope:...} and {dials} stand for words of the config."""
    evidence: bool = False
    """Whether the densities follow from what is measured of the network."""
    pair: bool = False
    """Whether networks of two seeds are compared."""
    dials: bool = False
    """Whether prune.dials are read."""
    uniform: bool = False
    """Whether every layer has the same density."""
    channels: bool = False
    """Whether it can share out channels, which several layers lose together."""


@dataclass(frozen=True)
class UnitFacts:
    """State what is cut as one, and how trials of it are named."""

    single: bool = False
    """Whether single weights are cut, so that a mask may move weight by weight."""
    coupled: bool = False
    """Whether channels are cut, with all that is coupled to them."""
    pattern: bool = False
    """Whether N of every M = prune.group inputs are kept."""
    label: str = ""
    """Short name; {group} stands for the word of the config."""


@dataclass(frozen=True)
class RegimeFacts:
    """State what the mask does while a ticket is trained."""

    moves: bool = True


@dataclass(frozen=True)
class RewindFacts:
    """State where a rewinding rule begins and whose weights it takes."""

    pointed: bool = False
    """Whether rewind.fraction is read."""
    midway: bool = False
    """Whether the weights are those of step k, which must lie within the training run."""
    trained: bool = False
    """Whether trained weights are kept."""
    ticket: bool = False
    """Whether the weights are those of the ticket `origin`."""
    rate: bool = False
    """Whether nothing but the learning rate goes back, which then must have fallen."""


@dataclass(frozen=True)
class ControlFacts:
    """State what a control needs in order to be made."""

    trains: bool = True
    """Whether anything is trained in the ticket's place."""
    other_weights: bool = False
    """Whether its mask keeps weights that the ticket has cut; it is drawn at random."""
    fresh: bool = False
    """Whether its weights are drawn or moved at random."""
    whole_network: bool = False
    """Whether its mask is drawn over the whole network, whatever the layers."""
    chain: bool = False
    """Whether it is made from the chain of rungs, which the ticket of another trial has not."""
    narrower: bool = False
    """Whether it trains a narrower network."""
    rate: bool = False
    """Whether nothing but the learning rate goes back, which then must have fallen."""
    one_mask: bool = False
    """Whether its mask is settled before the training, so that none may move."""


DATA_SETS: dict[str, DataFacts] = {
    "digits": DataFacts(1, 8, 10, 1197),
    "digits_low": DataFacts(1, 8, 5, 599),
    "digits_high": DataFacts(1, 8, 5, 596),
    "mnist": DataFacts(1, 28, 10, 55_000),
    "fashion_mnist": DataFacts(1, 28, 10, 55_000),
    "cifar10": DataFacts(3, 32, 10, 45_000),
    "cifar100": DataFacts(3, 32, 100, 45_000),
    "flowers102": DataFacts(3, 64, 102, 5459),
    "folder": DataFacts(0, 0, 0, 0),
}
AUGMENTS: dict[str, AugmentFacts] = {
    "none": AugmentFacts(),
    "flip": AugmentFacts(),
    "shift": AugmentFacts(shifts=True),
    "flip_shift": AugmentFacts(shifts=True),
}
NETWORKS: dict[str, NetworkFacts] = {
    "unet": NetworkFacts(
        learns=("denoise", "latent_denoise"),
        layers=(("conv_in", 1.0), ("conv_out", 1.0), ("*", "free")),
        levels=True,
        even=True,
        attention=True,
    ),
    "lenet300": NetworkFacts(learns=("classify",), layers=(("output", 1.0), ("*", "free"))),
    "lenet5": NetworkFacts(
        learns=("classify",), layers=(("convs.0", 1.0), ("output", 1.0), ("*", "free"))
    ),
    "resnet": NetworkFacts(
        learns=("classify",),
        layers=(("stem", 1.0), ("output", 1.0), ("*", "free")),
        levels=True,
    ),
    "autoencoder": NetworkFacts(
        learns=("autoencode",),
        layers=(("encoder.conv_in", 1.0), ("decoder.conv_out", 1.0), ("*", "free")),
        levels=True,
        even=True,
    ),
}
# a network that the user brings by import path
OWN_NETWORK = NetworkFacts(("denoise", "latent_denoise", "classify"), layers=(("*", "free"),))

OBJECTIVES: dict[str, ObjectiveFacts] = {
    "denoise": ObjectiveFacts(denoises=True),
    "latent_denoise": ObjectiveFacts(denoises=True, in_latents=True, label="latent"),
    "classify": ObjectiveFacts(classifies=True),
    "autoencode": ObjectiveFacts(),
}
DECAYS: dict[str, DecayFacts] = {
    "constant": DecayFacts(falls=False),
    "linear": DecayFacts(),
    "cosine": DecayFacts(),
}
BUDGETS: dict[str, BudgetFacts] = {
    "uniform": BudgetFacts("uniform", uniform=True, channels=True),
    "overall": BudgetFacts("overall", channels=True),
    "erk": BudgetFacts("erk"),
    "lamp": BudgetFacts("lamp"),
    "ramp": BudgetFacts("ramp{slope:+.1f}"),
    "sampled": BudgetFacts("sampled({dials})", dials=True),
    "sensitivity": BudgetFacts("sensitivity", evidence=True),
    "hsic": BudgetFacts("hsic", evidence=True),
    "cka": BudgetFacts("cka", evidence=True, pair=True),
}
UNITS: dict[str, UnitFacts] = {
    "weight": UnitFacts(single=True),
    "channel": UnitFacts(coupled=True, label="channels"),
    "n_of_m": UnitFacts(pattern=True, label="of every {group}"),
}
REGIMES: dict[str, RegimeFacts] = {
    "static": RegimeFacts(moves=False),
    "set": RegimeFacts(),
    "rigl": RegimeFacts(),
    "gradual": RegimeFacts(),
    "rst": RegimeFacts(),
}
REWINDS: dict[str, RewindFacts] = {
    "init": RewindFacts(),
    "late": RewindFacts(pointed=True, midway=True),
    "tuned": RewindFacts(pointed=True, trained=True),
    "lr": RewindFacts(pointed=True, trained=True, rate=True),
    "random": RewindFacts(),
    "sign": RewindFacts(),
    "given": RewindFacts(ticket=True),
}
CONTROLS: dict[str, ControlFacts] = {
    "none": ControlFacts(trains=False),
    "reinit": ControlFacts(fresh=True),
    "shuffle": ControlFacts(other_weights=True),
    "random_mask": ControlFacts(other_weights=True, whole_network=True),
    "complement": ControlFacts(other_weights=True),
    "perturb": ControlFacts(fresh=True),
    "dense": ControlFacts(),
    "small_dense": ControlFacts(chain=True, narrower=True),
    "equal_compute": ControlFacts(chain=True),
    "tuned": ControlFacts(chain=True),
    "lr": ControlFacts(chain=True, rate=True),
    "one_shot": ControlFacts(chain=True, one_mask=True),
}

F = TypeVar("F")


def names(facts: Mapping[str, F], holds: Callable[[F], bool]) -> tuple[str, ...]:
    """Return the names in a table of `facts` whose row `holds`."""
    return tuple(name for name, row in facts.items() if holds(row))


def data_facts(name: str) -> DataFacts:
    """Return the facts of the data set `name`; of an import path, those of a folder of the user."""
    return DATA_SETS.get(name, DATA_SETS["folder"])


def network_facts(name: str) -> NetworkFacts:
    """Return the facts of the network `name`; of an import path, those of a user's own network."""
    return NETWORKS.get(name, OWN_NETWORK)


def denoisers() -> tuple[str, ...]:
    """Return the objectives that learn to denoise."""
    return names(OBJECTIVES, lambda objective: objective.denoises)


def learners(objective: str) -> tuple[str, ...]:
    """Return the package's networks that learn `objective`."""
    return names(NETWORKS, lambda network: objective in network.learns)


def evidence_budgets() -> tuple[str, ...]:
    """Return the budgets whose densities follow from what is measured of the network."""
    return names(BUDGETS, lambda budget: budget.evidence)


def drawn_controls() -> tuple[str, ...]:
    """Return the controls whose mask or weights are drawn at random."""
    return names(CONTROLS, lambda control: control.other_weights or control.fresh)


def moving_regimes() -> tuple[str, ...]:
    """Return the regimes under which the mask moves while a ticket is trained."""
    return names(REGIMES, lambda regime: regime.moves)
