"""What a trial is: `TrialConfig`, its parts, and every word that a trial may use.

`TrialConfig()` alone is the digits preset. The page below is the vocabulary: each family of methods is one `Literal`,
held equal to the family's own table by a test. Nothing here imports torch, so a bad word is refused in a moment.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from lthray.config.fields import either, from_flat, walk, words

DataName = Literal[
    "digits", "digits_low", "digits_high", "mnist", "fashion_mnist", "cifar10", "cifar100", "flowers102", "folder"
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
Budget = Literal["uniform", "overall", "erk", "lamp", "ramp", "sampled", "sensitivity", "hsic", "cka"]
Granularity = Literal["layer", "block", "level"]
Unit = Literal["weight", "channel", "n_of_m"]
RegimeName = Literal["static", "set", "rigl", "gradual", "rst"]
RewindRule = Literal["init", "late", "tuned", "lr", "random", "sign", "given"]
Elastic = Literal["interpolate", "append"]
Control = Literal[
    "none", "reinit", "shuffle", "random_mask", "complement", "perturb", "dense", "small_dense", "tuned", "lr", "one_shot"
]
Sampler = Literal["ddim", "ddpm", "dpm_solver", "heun"]
Split = Literal["validation", "test"]

ImportPath = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")]  # package.module:factory
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Density = Annotated[float, Field(gt=0, lt=1)]

# channels, side, classes, training images: what a config must know of a data set before it is loaded (0: the user says)
IMAGES: dict[str, tuple[int, int, int, int]] = {
    "digits": (1, 8, 10, 1197),
    "digits_low": (1, 8, 5, 599),
    "digits_high": (1, 8, 5, 596),
    "mnist": (1, 28, 10, 55_000),
    "fashion_mnist": (1, 28, 10, 55_000),
    "cifar10": (3, 32, 10, 45_000),
    "cifar100": (3, 32, 100, 45_000),
    "flowers102": (3, 64, 102, 5459),
    "folder": (0, 0, 0, 0),
}
# layers kept whole unless prune.layers says otherwise: they are few weights, and the ways in and out
POLICY: dict[str, tuple[tuple[str, float | str], ...]] = {
    "unet": (("conv_in", 1.0), ("conv_out", 1.0), ("time_embedding.*", 1.0), ("*", "free")),
    "lenet300": (("output", 1.0), ("*", "free")),
    "lenet5": (("convs.0", 1.0), ("output", 1.0), ("*", "free")),
    "resnet": (("stem", 1.0), ("output", 1.0), ("*", "free")),
    "autoencoder": (("encoder.conv_in", 1.0), ("decoder.conv_out", 1.0), ("*", "free")),
}
# what learns what
DENOISERS = ("denoise", "latent_denoise")
LEARNS: dict[str, tuple[str, ...]] = {
    "denoise": ("unet",),
    "latent_denoise": ("unet",),
    "classify": ("lenet300", "lenet5", "resnet"),
    "autoencode": ("autoencoder",),
}
FEATURES = 32  # width of the feature extractor that FID, KID, precision and recall see

EVIDENCE = ("sensitivity", "hsic", "cka")  # budgets whose densities follow from what is measured of the network

# where a thing lies is no part of what a trial is: the content's digest enters the keys instead
PLACES = ("data.root", "data.download", "model.pretrained", "latent.pretrained", "measure.inception", "origin")

POINTED = ("late", "lr", "tuned")  # rewind rules that have a rewind point
MOVING = ("set", "rigl", "gradual", "rst")  # regimes whose mask is not what it was at the start
# words that only some values of another use, and that must be left at their default under the others
USED: dict[str, tuple[str, tuple[str, ...]]] = {
    "model.dropout": ("model.name", ("unet", "resnet")),
    "objective.prediction": ("objective.name", DENOISERS),
    "objective.kl": ("objective.name", ("autoencode",)),
    "prune.threshold": ("prune.criterion", ("diff_pruning",)),
    "prune.slope": ("prune.budget", ("ramp",)),
    "prune.granularity": ("prune.budget", EVIDENCE),
    "prune.gamma": ("prune.budget", EVIDENCE),
    "prune.between": ("prune.budget", ("cka",)),
    "prune.group": ("prune.unit", ("n_of_m",)),
    "rewind.anchor": ("rewind.rule", ("late",)),
    "regime.every": ("regime.name", MOVING),
    "regime.until": ("regime.name", MOVING),
    "regime.share": ("regime.name", ("set", "rigl")),
    "regime.penalty": ("regime.name", ("rst",)),
    "regime.power": ("regime.name", ("rst",)),
    "sigma": ("control", ("perturb",)),
}

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Data:
    """The images."""

    name: DataName | ImportPath = "digits"
    """Data set; digits are embedded in scikit-learn (digits_low: 0 to 4, digits_high: 5 to 9), the others are read by
    torchvision from data.root; folder: every image below data.root, a class a subfolder; or the import path of your own
    factory(data.root) -> images [N, C, H, W] or [N, H, W] of uint8, and labels [N]."""
    root: str = ""
    """Folder that holds the torchvision data sets (MNIST/raw, cifar-10-batches-py, flowers-102, ...), or the images."""
    side: Whole = 0
    """Side to which images are cut square and scaled; 0 = the data set's own (a folder and your own have none)."""
    channels: Literal[0, 1, 3] = 0
    """1 = grey, 3 = colour; 0 = the data set's own (a folder and your own have none)."""
    classes: Whole = 0
    """Of a folder: its subfolders, where the network must know them; of your own: labels are below it."""
    download: bool = False
    """Fetch the data set into data.root when it is not there."""
    fraction: Fraction = 1.0
    """Share of the training images that is used; held-out splits stay whole."""
    augment: Augment = "none"
    """flip: mirrored at random; shift: moved by up to an eighth of the side at random; flip_shift: both."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Model:
    """The network."""

    name: ModelName | ImportPath = "unet"
    """unet: diffusers UNet2DModel; lenet300: LeNet-300-100; lenet5: a small convolutional classifier; resnet: He et al.
    (2016) with GroupNorm, ResNet-20 being channels 16 32 64 and layers 3, ResNet-18 channels 64 128 256 512 and 2;
    autoencoder: diffusers AutoencoderKL; or the import path of your own factory((channels, height, width), classes), of a
    torch network that is called with x, and t of a denoiser, and answers with a tensor."""
    channels: tuple[Count, ...] = (16, 32)
    """Channels of each level of a U-Net or autoencoder, ResNet stage, or lenet5 convolution."""
    layers: Count = 1
    """Residual blocks of a level or stage."""
    latent: Count = 2
    """Channels of an autoencoder's latents."""
    attention: tuple[Whole, ...] = ()
    """U-Net levels (0 = full resolution) with self-attention; with any, the middle block has it too."""
    groups: Count = 8
    """Groups of the GroupNorm layers; each entry of channels must be a multiple."""
    conditional: bool = False
    """Whether a U-Net is told the class of an image; samples are then of all classes in turn."""
    dropout: Share = 0.0
    """Share of activations that each residual block leaves out in training."""
    head: Count = 8
    """Channels of one attention head."""
    hidden: tuple[Count, ...] = (300, 100)
    """Widths of the hidden fully connected layers of lenet300 and lenet5."""
    pretrained: str = ""
    """Weights to start from, which `init` then means: a safetensors file or a folder with one, a saved diffusers UNet2DModel,
    a pipeline with one, or a Hub id such as google/ddpm-cifar10-32 (name@revision). Every name must be the network's."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Objective:
    """What is learnt."""

    name: ObjectiveName = "denoise"
    """denoise: predict the noise (Ho et al. 2020); latent_denoise: that of an autoencoder's latents (Rombach et al. 2022);
    classify: cross-entropy; autoencode: squared error of the image made again (Kingma and Welling 2014)."""
    timesteps: Count = 1000
    """Length of the noise schedule."""
    schedule: NoiseSchedule = "linear"
    """Noise schedule: linear (Ho et al. 2020), squaredcos_cap_v2 (cosine; Nichol and Dhariwal 2021) or sigmoid (Xu et al.
    2022)."""
    prediction: Prediction = "epsilon"
    """What a denoiser answers: the noise, the velocity (Salimans and Ho 2022) or the clean image."""
    kl: Annotated[float, Field(ge=0)] = 1e-4
    """autoencode: weight of the divergence of a latent from the standard normal, each averaged over its own numbers."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Latent:
    """The latents of objective latent_denoise: of an autoencoder that is trained once for each data set."""

    channels: Count = 2
    """Channels of a latent."""
    widths: tuple[Count, ...] = (16, 32)
    """Channels of each level of the autoencoder; each level but the first halves the side."""
    groups: Count = 8
    """Groups of its GroupNorm layers."""
    steps: Count = 1000
    """Optimizer steps of its training."""
    pretrained: str = ""
    """A trained AutoencoderKL in its place, which is then not trained: a saved one, a pipeline or a Hub id (as
    model.pretrained); channels and the number of widths must be its own."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Train:
    """One training run."""

    steps: Whole = 400
    """Optimizer steps of a full run; 0 = the weights are measured as they are given, with an empty prune.ladder."""
    batch: Count = 32
    """Images a step."""
    optimizer: OptimizerName = "adam"
    """Optimizer; always the fused implementation."""
    lr: Positive = 4e-3
    """Peak learning rate."""
    warmup: Whole = 0
    """Steps of linear warm-up."""
    decay: Decay = "constant"
    """Shape of the learning rate after warm-up."""
    floor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Last learning rate, as a share of the peak; fine-tuning goes on at this rate."""
    momentum: Share = 0.9
    """Momentum of sgd, or the first beta of adam."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay (decoupled in adamw)."""
    clip: Annotated[float, Field(ge=0)] = 1.0
    """Largest gradient norm, taken after the mask; 0 = no clipping."""
    ema: Share = 0.995
    """Decay of the exponential moving average of the weights, which is what is measured; 0 = none."""
    autocast: Literal["none", "bfloat16"] = "none"
    """Mixed precision of the forward pass."""
    channels_last: bool = False
    """Memory format of convolution weights and images."""
    compile: Literal["none", "default", "reduce-overhead"] = "none"
    """torch.compile mode of the loss; reduce-overhead captures CUDA graphs."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Prune:
    """What is cut."""

    criterion: Criterion = "magnitude"
    """Score of a weight, of what was trained: magnitude; movement, magnitude_increase: how far, and how much larger, it has
    become (Zhou et al. 2019); snip (Lee et al. 2019), taylor (Molchanov et al. 2019) and diff_pruning (Fang et al. 2023):
    what cutting it does to the loss, to first order; grasp: to the gradient (Wang et al. 2020); synflow: paths through
    it, without data (Tanaka et al. 2020); sensitivity: the loss with its layer cut; hsic: what its channel has to do
    with the target; random."""
    scored: Literal["trained", "rewound"] = "trained"
    """Weights that are scored: as trained, or those from which the rung begins (pruning at initialisation, as snip, grasp
    and synflow were published: with rewind.rule = init)."""
    scoring_steps: Count = 1
    """Steps, by equal factors of density, in which a rung is cut, with new scores at each."""
    images: Annotated[int, Field(ge=8)] = 128
    """Training images that a criterion sees."""
    terms: Count = 10
    """Timesteps (of a classifier: batches) at which it sees them."""
    threshold: Share = 0.05
    """Criterion diff_pruning: share of the largest loss so far at which it stops, from low noise to high."""
    budget: Budget = "overall"
    """How a density is shared out over the layers."""
    slope: float = 0.0
    """Budget ramp: density falls by exp(slope) from the first layer to the last (forward order); < 0 rises."""
    dials: tuple[float, ...] = ()
    """Budget sampled: one log-density a block in forward order, shifted so that the overall density is exact."""
    granularity: Granularity = "layer"
    """Budgets sensitivity, hsic and cka: what shares one density; a level is that of a U-Net, down and up together."""
    gamma: float = 1.0
    """Budgets sensitivity, hsic and cka: density goes as evidence to this power; < 0 is the reverse, its control."""
    between: Literal["tickets", "dense"] = "tickets"
    """Budget cka: networks of two seeds that are compared, the tickets of the rung before or the dense ones."""
    early: Share = 0.0
    """Share of what a mask keeps below which it counts as settled: it is then cut from there and not from the end of the
    training (early-bird tickets: You et al. 2020, arXiv 1909.11957; of diffusion models, Whalen et al. 2025, arXiv
    2504.09606); 0 = from the end."""
    looks: Annotated[int, Field(ge=5)] = 10
    """prune.early: points of the training at which the mask is looked at; it is settled when it differs from none of the
    four before by more."""
    least: Share = 0.0
    """Smallest density that a free layer may come to, so that a global ranking cuts none away; others give way."""
    unit: Unit = "weight"
    """What is cut as one: single weights; channels with all that is coupled to them (Fang et al. 2023), at most a rung's
    density being left, of a network that is trained and measured without them; or N of every M = prune.group inputs (2:4
    sparsity is density 0.5 of 4)."""
    group: Annotated[int, Field(ge=2)] = 4
    """M of unit n_of_m; every density is then N / M, in every layer."""
    ladder: tuple[Density, ...] = (0.5, 0.25, 0.125, 0.0625)
    """Densities of the rungs, over all weights that are free to be cut; () trains the dense network only."""
    layers: tuple[tuple[str, Annotated[float, Field(gt=0, le=1)] | Literal["free"]], ...] = ()
    """Ordered (pattern, density) pairs over the layers, first match wins; free = the budget decides. () is the network's
    own policy: first and last layer and the time embedding stay dense. Norms and biases are never cut, but go with their
    channels; a layer that stays dense keeps all its outputs, its inputs go with the channels that feed them."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Rewind:
    """Where what is left begins again."""

    rule: RewindRule = "late"
    """init, late: the anchor's weights at step 0 or k; tuned, lr: the trained weights with the last or the rewound
    learning rate (Renda et al. 2020); random: fresh weights; sign: the initial signs only (Zhou et al. 2019); given: what
    the ticket of `origin` begins with in its own trial, at its own step."""
    fraction: Share = 0.05
    """k, as a share of train.steps."""
    anchor: Literal["dense", "previous"] = "dense"
    """late: the dense run's state at k, or the previous round's own, k steps after its start."""
    state: Literal["rewound", "reset"] = "rewound"
    """late: moments and EMA come from the anchor too, or start anew. The other rules always start anew."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Regime:
    """What the mask does while a ticket is trained."""

    name: RegimeName = "static"
    """static: nothing; set, rigl: in each layer the smallest weights make way for others, drawn at random (Mocanu et al.
    2018) or those with the largest gradient (Evci et al. 2020); gradual: cut little by little (Zhu and Gupta 2017); rst:
    what will be cut is pressed to zero first (Bai et al. 2022; with prune.criterion = random)."""
    every: Count = 10
    """Steps between two changes."""
    until: Fraction = 0.75
    """Share of the run after which the mask rests."""
    share: Fraction = 0.3
    """set, rigl: share of a layer's weights that are exchanged at first; falls to 0 as a cosine."""
    penalty: Positive = 1.0
    """rst: L2 coefficient just before the cut."""
    power: Annotated[int, Field(ge=1, le=3)] = 1
    """rst: the coefficient grows as x, x^2 or x^3."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Measure:
    """What is measured of each round; the expensive part only where `rounds` says."""

    split: Split = "validation"
    """Held-out split: validation to search, test to confirm."""
    images: Count = 300
    """Held-out images of the paired panel (at most what the split has)."""
    timesteps: Count = 20
    """Stratified timesteps of the paired panel."""
    checkpoints: Whole = 10
    """Points along each training run at which a quarter of the panel is measured."""
    samples: Whole = 400
    """Generated images for FID, KID, precision, recall and memorisation; 0 = none."""
    samplers: tuple[Sampler, ...] = ("ddim",)
    """Samplers, each with its own metrics."""
    sampling_steps: tuple[Count, ...] = (20,)
    """Network calls a generated image: one number for all samplers, or one for each."""
    rounds: tuple[int, ...] = (0, -1)
    """Rounds that are measured at length (samples, sharpness, sensitivity); 0 = dense, -1 = the sparsest."""
    perturbations: Whole = 0
    """Random perturbations of the weights over which sharpness is averaged, of dense networks and tickets in `rounds`;
    0 = none."""
    sensitivity: bool = False
    """Of dense networks and tickets in `rounds`, also the loss with each layer alone cut to a tenth of what it has."""
    inception: str = ""
    """Inception-v3 weights of torch-fidelity as a safetensors file; given, FID and KID are also taken with it."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrialConfig:
    """A trial: one whole trajectory of train, prune, rewind."""

    seed: Seed = 0
    """Initial weights."""
    stream: Seed = 0
    """Data order, timesteps and noise."""
    data: Data = Field(default_factory=Data)
    model: Model = Field(default_factory=Model)
    objective: Objective = Field(default_factory=Objective)
    latent: Latent = Field(default_factory=Latent)
    train: Train = Field(default_factory=Train)
    prune: Prune = Field(default_factory=Prune)
    rewind: Rewind = Field(default_factory=Rewind)
    regime: Regime = Field(default_factory=Regime)
    control: Control = "none"
    """What else is trained in each ticket's place, of the same chain of masks. reinit: new weights; shuffle: the mask
    permuted within its layers; random_mask: over the whole network; complement: weights that the ticket cuts; perturb:
    kept weights moved by sigma; dense: nothing cut, the same rewinding; small_dense: a narrower network with as many
    parameters; tuned, lr: trained weights, as those rewinding rules take them; one_shot: cut in one step."""
    sigma: Positive = 0.5
    """Control perturb: noise on the kept weights, in standard deviations of the layer."""
    fork: Whole = 0
    """n > 0: what is trained in each ticket's place sees the n-th other stream while the chain keeps its own; the loss is
    measured between its end and that of the same weights on the chain's stream."""
    rungs: tuple[int, ...] = ()
    """Rounds in which a control or a fork is trained: 1 = the first rung, -1 = the last; () = all."""
    measure: Measure = Field(default_factory=Measure)
    origin: str = ""
    """Ticket file of another trial: its mask is the only rung, trained from this trial's own rewound weights, or with
    rewind.rule = given from the ticket's. Its network may have other model.layers, and nothing else that differs."""
    elastic: Elastic = "interpolate"
    """Order of a level's blocks where the network of `origin` is less deep (Chen et al. 2021): each block followed by its
    copies (0 1 1 2 2 of 0 1 2), or the level appended to itself (0 1 2 1 2); where it is deeper, such copies are left
    out."""

    def __post_init__(self) -> None:
        faults = [line for check in CHECKS for line in check(self)]
        if faults:
            raise ValueError("\n".join(faults))

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any], base: "TrialConfig | None" = None) -> "TrialConfig":
        """The config that `flat` ({"prune.criterion": "random"}) makes of `base`; ConfigError lists every fault."""
        return from_flat(cls, flat, base)

    def flat(self) -> dict[str, Any]:
        """Every field by its dotted word."""
        return dict(walk(asdict(self)))

    def canonical(self, *prefixes: str) -> dict[str, Any]:
        """Fields that differ from the default, by dotted word, places left out; only those under `prefixes` if given."""
        default = TrialConfig().flat()
        return {
            word: value
            for word, value in self.flat().items()
            if value != default[word] and word not in PLACES and (not prefixes or word.split(".")[0] in prefixes)
        }


def preset(name: str) -> TrialConfig:
    """A preset by name; see PRESETS."""
    return TrialConfig.from_flat(PRESETS[name])


def layers_of(c: TrialConfig) -> tuple[tuple[str, float | str], ...]:
    """Ordered (pattern, density) pairs over the layers: as given, or the network's own policy; a user's has none."""
    return c.prune.layers or POLICY.get(c.model.name, (("*", "free"),))


def own_of(data: Data) -> tuple[int, int, int, int]:
    """Channels, side, classes and training images of a data set; of a user's own it is the config that says."""
    return IMAGES.get(data.name, IMAGES["folder"])


def shape_of(data: Data) -> tuple[int, int, int]:
    """Channels, side and classes of the images as the network sees them."""
    channels, side, classes, _ = own_of(data)
    return data.channels or channels, data.side or side, data.classes or classes


def input_of(c: TrialConfig) -> tuple[int, int]:
    """Channels and side of what the network works on: the images, or their latents."""
    channels, side, _ = shape_of(c.data)
    if c.objective.name == "latent_denoise":
        return c.latent.channels, side // 2 ** (len(c.latent.widths) - 1)
    return channels, side


def images_of(c: TrialConfig) -> int:
    """Training images; of a folder or a user's own, as many as there may be."""
    return math.ceil((own_of(c.data)[3] or 10**9) * c.data.fraction)


def _unused(c: TrialConfig):
    flat, standard = c.flat(), _standard()
    for word, (by, values) in USED.items():
        if flat[word] != standard[word] and flat[by] not in values:
            needed = repr(values[0]) if len(values) == 1 else either(values)
            yield f"{word} = {flat[word]!r}: only for {by} = {needed}, not {flat[by]!r}"


@lru_cache(maxsize=1)
def _standard() -> dict[str, Any]:
    """Word -> default; not TrialConfig().flat(), which would be checked in turn."""
    return {word: default for word, (_, default, _) in words(TrialConfig).items()}


def _data(c: TrialConfig):
    own = own_of(c.data)
    if own != IMAGES["folder"]:
        if c.data.classes:
            yield f"data.classes = {c.data.classes}: only for data.name = 'folder' or your own; {c.data.name} has {own[2]}"
        if c.data.channels == 3 and own[0] == 1:
            yield f"data.channels = 3: {c.data.name} is grey"
        return
    for word in ("side", "channels"):
        if not getattr(c.data, word):
            yield f"data.{word} = 0: data.name = {c.data.name!r} needs it"
    if not c.data.classes and (c.objective.name == "classify" or c.model.conditional):
        yield f"data.classes = 0: the network must know how many {c.data.name!r} has"
    if c.measure.samples and not c.data.classes:
        yield (
            f"measure.samples = {c.measure.samples}: samples are judged by a classifier of the same images; give data.classes, "
            "or 0 samples"
        )


def _objective(c: TrialConfig):
    o, own = c.objective, c.model.name not in POLICY
    if not own and c.model.name not in LEARNS[o.name]:
        yield f"model.name = {c.model.name!r}: objective.name = {o.name!r} needs {either(LEARNS[o.name])}"
    if own and o.name == "autoencode":
        yield f"model.name = {c.model.name!r}: objective.name = 'autoencode' needs 'autoencoder'"
    if own and c.model.conditional:
        yield f"model.conditional = True: only for model.name = 'unet', not {c.model.name!r}"
    if o.name not in DENOISERS and c.model.conditional:
        yield f"model.conditional = True: only for objective.name = {either(DENOISERS)}"


def _latent(c: TrialConfig):
    if c.objective.name not in DENOISERS and c.latent != Latent():
        yield f"latent = {c.latent}: only for a denoiser, not objective.name = {c.objective.name!r}"
    if c.objective.name != "latent_denoise":  # a study may draw the space, so it may say what latents would be
        return
    yield from _levels("latent.widths", c.latent.widths, "latent.groups", c.latent.groups, shape_of(c.data)[1])
    if c.data.augment in ("shift", "flip_shift"):
        yield f"data.augment = {c.data.augment!r}: latents of 'latent_denoise' are made once, of images and of mirrored ones"


def _model(c: TrialConfig):
    if c.model.conditional and c.model.pretrained:
        yield f"model.conditional = True: model.pretrained = {c.model.pretrained!r} was trained without classes"
    if c.model.latent != Model().latent and c.model.name != "autoencoder":
        yield f"model.latent = {c.model.latent}: only for model.name = 'autoencoder'; that of a trial has latent.channels"
    if c.model.name in ("unet", "resnet", "autoencoder"):
        side, of = input_of(c)[1], "the latents' side " if c.objective.name == "latent_denoise" else ""
        levels = len(c.model.channels)
        yield from _levels("model.channels", c.model.channels, "model.groups", c.model.groups, side, of)
        if c.model.name == "unet" and c.model.attention:
            yield from _multiples("model.channels", c.model.channels, "model.head", c.model.head)
        if c.model.name != "unet" and c.model.attention:
            yield f"model.attention = {c.model.attention}: only for model.name = 'unet'"
        if any(level >= levels for level in c.model.attention):
            yield f"model.attention = {c.model.attention}: levels are 0 to {levels - 1}"


def _levels(word: str, widths: tuple[int, ...], groups_word: str, groups: int, side: int, of: str = ""):
    """Faults of a network's levels: each but the first halves the side, each has norms of that many groups."""
    if not side or not widths or side % 2 ** (len(widths) - 1):
        yield f"{word} = {widths}: {len(widths)} levels, but {of}{side} is no multiple of 2^(levels - 1)"
    yield from _multiples(word, widths, groups_word, groups)


def _multiples(word: str, widths: tuple[int, ...], of_word: str, of: int):
    yield from (f"{word} = {widths}: {width} is no multiple of {of_word} = {of}" for width in widths if width % of)


def _train(c: TrialConfig):
    if c.train.batch > images_of(c):
        yield f"train.batch = {c.train.batch}: at most the {images_of(c)} training images (data.fraction = {c.data.fraction})"
    if not c.train.steps and (c.prune.ladder or c.origin):
        yield f"train.steps = 0: nothing is trained, so nothing can be pruned; prune.ladder = {c.prune.ladder} must be ()"
    if c.train.warmup and c.train.warmup >= c.train.steps:
        yield f"train.warmup = {c.train.warmup}: must be less than train.steps = {c.train.steps}"


def _prune(c: TrialConfig):
    ladder = c.prune.ladder
    if any(a <= b for a, b in itertools.pairwise(ladder)):
        yield f"prune.ladder = {ladder}: densities must fall from rung to rung"
    if bool(c.prune.dials) != (c.prune.budget == "sampled"):
        yield f"prune.dials = {c.prune.dials}: one a block for prune.budget = 'sampled', none for the others"
    if ladder and c.prune.least > ladder[-1]:
        yield f"prune.least = {c.prune.least}: at most the last density of prune.ladder, {ladder[-1]}"
    if c.prune.images > images_of(c):
        yield f"prune.images = {c.prune.images}: at most the {images_of(c)} training images"
    if c.objective.name == "classify" and c.prune.images < 4 * c.prune.terms:
        yield f"prune.terms = {c.prune.terms}: at most a quarter of prune.images = {c.prune.images}, which it shares out"
    if c.prune.budget == "cka" and c.model.pretrained:
        yield "prune.budget = 'cka': compares networks of two seeds, and given weights have none"
    if c.origin and (c.prune.criterion, c.prune.budget) != ("magnitude", "overall"):
        yield f"origin = {c.origin!r}: fixes the mask; leave prune.criterion and prune.budget at their defaults"


def _early(c: TrialConfig):
    p = c.prune
    if p.looks != Prune().looks and not p.early:
        yield f"prune.looks = {p.looks}: only for prune.early > 0"
    if p.early and c.regime.name != "static":
        yield f"prune.early = {p.early}: regime.name = {c.regime.name!r} moves the mask while it is looked at"
    if p.early and p.scored == "rewound":
        yield f"prune.early = {p.early}: prune.scored = 'rewound' looks at no training"
    if p.early and c.rewind.rule in ("tuned", "lr"):
        yield f"prune.early = {p.early}: rewind.rule = {c.rewind.rule!r} goes on from the end of the training"
    if p.early and p.looks > c.train.steps - round(c.rewind.fraction * c.train.steps):
        yield f"prune.looks = {p.looks}: more than the steps of a ticket's training (train.steps = {c.train.steps})"


def _unit(c: TrialConfig):
    p = c.prune
    if p.unit != "n_of_m":
        yield from _channels(c) if p.unit == "channel" else ()
        return
    if p.budget != "uniform":
        yield f"prune.budget = {p.budget!r}: with prune.unit = 'n_of_m' every layer has the same density; use 'uniform'"
    if p.scoring_steps > 1:
        yield f"prune.scoring_steps = {p.scoring_steps}: with prune.unit = 'n_of_m' there are no densities between rungs"
    fixed = [d for _, d in p.layers if d != "free"]
    for density in (*p.ladder, *fixed):
        if abs(float(density) * p.group - round(float(density) * p.group)) > 1e-9:
            yield f"prune.ladder = {p.ladder}: {density} is no N / {p.group} (prune.unit = 'n_of_m', prune.group)"


def _channels(c: TrialConfig):
    p = c.prune
    if p.budget not in ("uniform", "overall"):
        yield f"prune.budget = {p.budget!r}: with prune.unit = 'channel' layers share what is cut; use 'uniform' or 'overall'"
    if p.least:
        yield f"prune.least = {p.least}: with prune.unit = 'channel' every group of channels keeps some, whatever its layers"
    for pattern, density in p.layers:
        if density not in (1.0, "free"):
            yield f"prune.layers: {pattern!r} = {density}: with prune.unit = 'channel' a layer is 'free' or stays whole (1.0)"
    if c.control == "random_mask":
        yield "control = 'random_mask': with prune.unit = 'channel' it would leave groups without a channel; use 'shuffle'"


def _regime(c: TrialConfig):
    r = c.regime
    if r.name != "static" and c.prune.unit != "weight":
        yield f"regime.name = {r.name!r}: moves single weights; prune.unit = {c.prune.unit!r} would not hold"
    if r.name != "static" and (c.origin or c.control == "one_shot"):
        yield (
            f"regime.name = {r.name!r}: "
            + (f"origin = {c.origin!r} fixes" if c.origin else "control one_shot has")
            + " the mask"
        )


def _rewind(c: TrialConfig):
    k = round(c.rewind.fraction * c.train.steps)
    if c.rewind.rule == "late" and (c.prune.ladder or c.origin) and not 1 <= k < c.train.steps:
        yield f"rewind.fraction = {c.rewind.fraction}: k = {k} of train.steps = {c.train.steps}, late needs 1 <= k < steps"
    trained = ("tuned", "lr")
    if c.control in ("shuffle", "random_mask", "complement") and c.rewind.rule in trained:
        yield f"control = {c.control!r}: rewind.rule = {c.rewind.rule!r} keeps trained weights, which are zero off the mask"
    if c.origin and c.control in (*trained, "small_dense", "one_shot"):
        yield f"origin = {c.origin!r}: has one rung and no chain, so control = {c.control!r} has nothing to be made from"
    if c.model.pretrained and c.control == "small_dense":
        yield f"control = 'small_dense': model.pretrained = {c.model.pretrained!r} has no narrower network"
    if c.model.name not in POLICY and c.control == "small_dense":
        yield f"control = 'small_dense': model.name = {c.model.name!r} has no narrower network"
    if c.fork and c.control == "small_dense":
        yield f"fork = {c.fork}: not for control = 'small_dense', which shares no weights with the chain"
    if c.origin and (c.rewind.rule in trained or c.rewind.anchor == "previous"):
        yield (
            f"origin = {c.origin!r}: rewind.rule must go back to this trial's own dense run (init, late, random, sign) or be "
            "'given'"
        )
    if not c.origin and c.rewind.rule == "given":
        yield "rewind.rule = 'given': only with the ticket of another trial, origin"
    if not c.origin and c.elastic != "interpolate":
        yield f"elastic = {c.elastic!r}: only with the ticket of another trial, origin"


def _measure(c: TrialConfig):
    rungs = 1 if c.origin else len(c.prune.ladder)
    if 0 < c.measure.samples < 10 * FEATURES:
        yield f"measure.samples = {c.measure.samples}: 0, or at least {10 * FEATURES} (ten a feature), or FID is all bias"
    if max(c.measure.sampling_steps, default=0) > c.objective.timesteps:
        yield f"measure.sampling_steps = {c.measure.sampling_steps}: at most objective.timesteps = {c.objective.timesteps}"
    if len(c.measure.sampling_steps) not in (1, len(c.measure.samplers)):
        yield f"measure.sampling_steps = {c.measure.sampling_steps}: one, or one each for {', '.join(c.measure.samplers)}"
    if c.measure.timesteps > c.objective.timesteps:
        yield f"measure.timesteps = {c.measure.timesteps}: at most objective.timesteps = {c.objective.timesteps}"
    for index in c.measure.rounds:
        if not -1 <= index <= rungs:
            yield f"measure.rounds = {c.measure.rounds}: rounds are 0 (dense) to {rungs}, or -1 for the last"
    if any(index not in (-1, *range(1, rungs + 1)) for index in c.rungs):
        yield f"rungs = {c.rungs}: rounds of a control are 1 to {rungs} (prune.ladder), or -1 for the last"
    if c.rungs and c.control == "none" and not c.fork:
        yield f"rungs = {c.rungs}: only for a control or a fork; a ticket needs every round before it"


CHECKS = (_unused, _data, _objective, _latent, _model, _train, _prune, _early, _unit, _regime, _rewind, _measure)

GREY = {
    "model.channels": (32, 64, 64),
    "train.steps": 3000,
    "train.batch": 128,
    "train.lr": 1e-3,
    "train.ema": 0.999,
    "prune.ladder": (0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625),
    "measure.images": 1000,
    "measure.samples": 1000,
    "measure.sampling_steps": (50,),
}
COLOUR = GREY | {
    "data.augment": "flip",
    "model.channels": (64, 128, 128, 128),
    "model.layers": 2,
    "model.attention": (1,),
    "model.groups": 32,
    "train.steps": 20_000,
    "train.lr": 5e-4,
    "measure.samples": 5000,
}
PRESETS: dict[str, dict[str, Any]] = {
    "digits": {},  # two CPU cores
    "mnist": GREY | {"data.name": "mnist"},  # a GPU, or smaller channels
    "fashion_mnist": GREY | {"data.name": "fashion_mnist"},
    "cifar10": COLOUR | {"data.name": "cifar10"},  # a GPU
    "cifar100": COLOUR | {"data.name": "cifar100"},
}
