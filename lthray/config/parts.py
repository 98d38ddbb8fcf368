"""Define the parts of a trial's config, from the images to what is measured.

Each part is read by one kind of step and is its cache key. Each field says in its docstring what it
is, for --help, and in its type what it may be; a word that depends on another stands after it.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from lthray.config import vocabulary
from lthray.config.fields import Only, Place
from lthray.config.spec import STRICT
from lthray.config.vocabulary import Granularity, denoisers, evidence_budgets, moving_regimes

# package.module:factory
ImportPath = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")]
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Side = Annotated[int, Field(ge=0, le=4096)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Positive = Annotated[float, Field(gt=0)]
Rates = Annotated[tuple[Positive, ...], Field(min_length=1)]
AtLeastZero = Annotated[float, Field(ge=0), AfterValidator(abs)]  # -0.0 is 0.0
Fraction = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, lt=1), AfterValidator(abs)]
Signed = Annotated[float, AfterValidator((0.0).__add__)]
Density = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Data:
    """Say which images a trial learns from."""

    name: vocabulary.DataName | ImportPath = "digits"
    """Data set. digits come with scikit-learn (digits_low: 0 to 4, digits_high: 5 to 9); the others
    are read by torchvision from data.root; folder: your own images at data.root, a folder, an .npz
    or a list (docs/images.md); or the import path of your own factory(data.root) -> images
    [N, C, H, W] or [N, H, W] of uint8, and labels [N]."""
    root: Annotated[str, Place()] = ""
    """Folder that holds the images, or the torchvision data sets (MNIST/raw, cifar-10-batches-py,
    flowers-102, ...)."""
    download: Annotated[bool, Place()] = False
    """Download the data set into data.root when it is not there."""
    side: Side = 0
    """Height in pixels, and width unless data.width says another, to which images are cropped and
    resized; 0 = the data set's own. Of your own images a command line asks the images."""
    width: Side = 0
    """Width in pixels of images that are not square; 0 = data.side."""
    channels: Literal[0, 1, 2, 3, 4] = 0
    """1 = grey, 3 = colour, 2 and 4 = with transparency; 0 = the data set's own. Of your own images
    a command line asks the images."""
    classes: Whole = 0
    """Number of classes, where the network must know it: of a folder, its subfolders; of your own
    images, a number above every label. A command line counts them."""
    ground: Annotated[Literal["white", "black"], Only("data.name", "folder")] = "white"
    """Colour that shows through where a picture of a folder is transparent."""
    skip_bad: Annotated[bool, Place(), Only("data.name", "folder")] = False
    """Go on without the files of a folder that cannot be read, instead of refusing them."""
    fraction: Fraction = 1.0
    """Share of the training images that is used; held-out splits stay whole."""
    scrambled: bool = False
    """Put the pixels of all images into one random order, and draw their labels at random: images
    of the same grey levels from which nothing can be learnt for others. A negative control."""
    augment: vocabulary.Augment = "none"
    """flip: images are mirrored at random; shift: they are moved at random by up to an eighth of
    the side; flip_shift: both."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Model:
    """Say which network is trained and pruned."""

    name: vocabulary.ModelName | ImportPath = "unet"
    """unet: diffusers UNet2DModel; lenet300: LeNet-300-100; lenet5: a small convolutional
    classifier; resnet: He et al. (2016) with GroupNorm, where ResNet-20 has channels 16 32 64 and
    layers 3, and ResNet-18 channels 64 128 256 512 and layers 2; autoencoder: diffusers
    AutoencoderKL; or the import path of your own factory((channels, height, width), classes), of a
    torch network that is called with x, and with t if it is a denoiser, and returns a tensor."""
    pretrained: Annotated[str, Place()] = ""
    """Weights to start from, which then are the initial ones: a safetensors file or a folder with
    one, a saved diffusers UNet2DModel, a pipeline with one, or a Hub id such as
    google/ddpm-cifar10-32 (name@revision). Every name in it must be one of the network's."""
    channels: tuple[Count, ...] = (16, 32)
    """Channels of each level of a U-Net or autoencoder, ResNet stage, or lenet5 convolution."""
    layers: Count = 1
    """Residual blocks of a level or stage."""
    groups: Count = 8
    """Groups of the GroupNorm layers; each entry of model.channels must be a multiple."""
    attention: tuple[Whole, ...] = ()
    """U-Net levels (0 = full resolution) with self-attention; with any, also the middle block."""
    head: Count = 8
    """Channels of one attention head."""
    dropout: Annotated[Share, Only("model.name", "unet", "resnet")] = 0.0
    """Share of activations that each residual block drops in training."""
    conditional: Annotated[bool, Only("model.name", "unet")] = False
    """Condition the network on the class of the image; samples are then of all classes in turn."""
    hidden: tuple[Count, ...] = (300, 100)
    """Widths of the hidden fully connected layers of lenet300."""
    latent: Annotated[
        Count, Only("model.name", "autoencoder", hint="that of a trial has latent.channels")
    ] = 2
    """Channels of an autoencoder's latents."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Objective:
    """Say what the network learns."""

    name: vocabulary.ObjectiveName = "denoise"
    """denoise: predict the noise in an image (Ho et al. 2020); latent_denoise: predict the noise in
    the latent of an autoencoder (Rombach et al. 2022); classify: cross-entropy; autoencode: squared
    error of the reconstructed image (Kingma and Welling 2014)."""
    prediction: Annotated[vocabulary.Prediction, Only("objective.name", *denoisers())] = "epsilon"
    """Output of a denoiser: the noise (epsilon), the velocity (Salimans and Ho 2022) or the clean
    image (sample)."""
    kl: Annotated[AtLeastZero, Only("objective.name", "autoencode")] = 1e-4
    """Weight of the divergence of a latent from the standard normal, each term being a mean over
    its own elements."""
    timesteps: Annotated[int, Field(ge=2)] = 1000
    """Length of the noise schedule; the shorter, the more noise is added at each timestep, so that
    nothing of an image is left at the last."""
    schedule: vocabulary.NoiseSchedule = "linear"
    """Noise schedule: linear (Ho et al. 2020), squaredcos_cap_v2 (cosine; Nichol and Dhariwal 2021)
    or sigmoid (Xu et al. 2022)."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Latent:
    """Say which autoencoder, trained once a data set, makes the latents of latent_denoise."""

    channels: Count = 2
    """Channels of a latent."""
    widths: tuple[Count, ...] = (16, 32)
    """Channels of each level of the autoencoder; each level but the first halves the side."""
    groups: Count = 8
    """Groups of the autoencoder's GroupNorm layers."""
    steps: Count = 1000
    """Optimizer steps in which the autoencoder is trained."""
    pretrained: Annotated[str, Place()] = ""
    """A trained AutoencoderKL, which is used as it is: a saved one, a pipeline or a Hub id (see
    model.pretrained). latent.channels and the number of latent.widths must be those it has."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Train:
    """Say how one training run goes."""

    steps: Whole = 400
    """Optimizer steps of a full run; 0 = given weights are measured as they are, with an empty
    prune.ladder."""
    batch: Count = 32
    """Images in the batch of one step."""
    optimizer: vocabulary.OptimizerName = "adam"
    """Optimizer; always the fused implementation."""
    momentum: Share = 0.9
    """Momentum of sgd, or the first beta of adam and adamw."""
    weight_decay: AtLeastZero = 0.0
    """Weight decay (decoupled in adamw)."""
    lr: Positive = 6e-3
    """Peak learning rate."""
    warmup: Whole = 0
    """Steps of linear warm-up."""
    decay: vocabulary.Decay = "cosine"
    """Shape of the learning rate after warm-up, down to train.floor at the end of the run."""
    floor: Fraction = 0.1
    """Last learning rate, as a share of the peak; fine-tuning continues at this rate."""
    clip: AtLeastZero = 1.0
    """Largest gradient norm, taken after the mask; 0 = no clipping."""
    ema: Share = 0.1
    """Width of the moving average of the weights, which is measured: the mean age of what it
    averages, as a share of the updates since it began (at most 0.5, their plain mean). 0.1 at the
    end of 400 steps is as wide as a decay of 0.975; 0 = none. It is the average by a power function
    of Karras et al. (2024, arXiv 2312.02696); 0.1 is their sigma_rel of 0.09."""
    autocast: Literal["none", "bfloat16"] = "none"
    """Mixed precision of the forward pass."""
    channels_last: bool = False
    """Use the channels-last memory format for convolution weights and images."""
    compile: Literal["none", "default", "reduce-overhead"] = "none"
    """torch.compile mode of the loss; reduce-overhead captures CUDA graphs."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Prune:
    """Say what is cut: by which score, how shared out over the layers, and to which densities."""

    criterion: vocabulary.Criterion = "magnitude"
    """Score of a weight. magnitude; movement and magnitude_increase: how far it moved, and how much
    it grew, in training (Zhou et al. 2019); snip (Lee et al. 2019), taylor (Molchanov et al. 2019)
    and diff_pruning (Fang et al. 2023): the change of the loss when it is cut, to first order;
    grasp: the change of the gradient (Wang et al. 2020); synflow: the paths through it, without
    data (Tanaka et al. 2020); sensitivity: the loss with its layer cut; hsic: the dependence
    between its channel and the target; random."""
    threshold: Annotated[Share, Only("prune.criterion", "diff_pruning")] = 0.05
    """Share of the largest loss so far at which scoring stops, going from low noise to high."""
    images: Annotated[int, Field(ge=8)] = 128
    """Training images that a criterion sees."""
    terms: Count = 10
    """Timesteps (of a classifier: batches) at which a criterion sees its images."""
    scored: vocabulary.Scored = "trained"
    """Weights that are scored: the trained ones, their moving average (train.ema), which is what is
    measured, or those from which the rung begins (rewound: pruning at initialisation, as snip,
    grasp and synflow were published, with rewind.rule = init)."""
    scoring_steps: Count = 1
    """Steps, by equal factors of density, in which a rung is cut, with new scores at each."""
    budget: vocabulary.Budget = "overall"
    """How a density is shared out over the layers. lamp does so by the sizes of the weights,
    whatever criterion chooses among those of a layer (Lee et al. 2021)."""
    slope: Annotated[Signed, Only("prune.budget", "ramp")] = 0.0
    """Density falls by exp(slope) from the first layer to the last (forward order); < 0 rises."""
    dials: tuple[Signed, ...] = ()
    """Budget sampled: one log-density a block in forward order, shifted so that the overall density
    is exact."""
    granularity: Annotated[Granularity, Only("prune.budget", *evidence_budgets())] = "layer"
    """Group of layers that share one density; a level is that of a U-Net, down and up together."""
    gamma: Annotated[Signed, Only("prune.budget", *evidence_budgets())] = 1.0
    """Density is proportional to the evidence to this power; < 0 = the reverse, as a control."""
    between: Annotated[Literal["tickets", "dense"], Only("prune.budget", "cka")] = "tickets"
    """Networks of two seeds that are compared: tickets of the rung before, or the dense ones."""
    unit: vocabulary.Unit = "weight"
    """What is cut as one. weight: single weights; channel: channels with all that is coupled to
    them (Fang et al. 2023), which leaves at most the rung's density, of a network that is trained
    and measured without them; n_of_m: N of every M = prune.group inputs are kept (2:4 sparsity is
    density 0.5 with prune.group = 4)."""
    group: Annotated[int, Field(ge=2), Only("prune.unit", "n_of_m")] = 4
    """M, the number of inputs of which N are kept; every density is then N / M, in every layer."""
    ladder: tuple[Density, ...] = (0.5, 0.25, 0.125, 0.0625)
    """Densities of the rungs, over all weights that are free to be cut; () = dense only."""
    least: Share = 0.0
    """Smallest density of a free layer, so that a global ranking leaves no layer empty; other
    layers are cut the more."""
    layers: tuple[tuple[str, Fraction | Literal["free"]], ...] = ()
    """Ordered (pattern, density) pairs over the layers, first match wins; free = the budget
    decides. () = the network's own rules: its first and last layer stay dense, and all layers that
    tell it the time or the class and never see the image. Norms and biases are never cut, except
    with their channels. A layer that stays dense keeps all its outputs; its inputs go with the
    channels that feed them."""
    early: Share = 0.0
    """Early-bird tickets (You et al. 2020, arXiv 1909.11957; of diffusion models, Whalen et al.
    2025, arXiv 2504.09606): a mask counts as settled when less than this share of what it keeps
    changes, and is cut there and not at the end of the training; 0 = at the end."""
    looks: Annotated[int, Field(ge=5)] = 10
    """With prune.early: points of the training at which the mask is compared; it is settled when it
    differs from none of the four before by more."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Rewind:
    """Say from which weights a pruned network is trained again."""

    rule: vocabulary.RewindRule = "late"
    """init, late: the anchor's weights at step 0 or k; tuned, lr: the trained weights with the last
    or the rewound learning rate (Renda et al. 2020); random: fresh weights; sign: the initial signs
    only (Zhou et al. 2019); given: the weights and the step with which the ticket `origin` begins
    in its own trial."""
    fraction: Share = 0.05
    """Rewind point k, as a share of train.steps."""
    anchor: Annotated[Literal["dense", "previous"], Only("rewind.rule", "late")] = "dense"
    """Run whose weights are taken: the dense run at k, or the run of the round before, k steps
    after its start."""
    state: Literal["rewound", "reset"] = "rewound"
    """late: optimizer moments and EMA come from the anchor too, or start anew. Under the other
    rules they always start anew. Starting anew is a treatment by itself, without any pruning: of
    the digits' dense network, at a constant rate, it changed the loss by -1.2 %. So tickets with
    reset are to be set beside control = dense with reset, not beside tickets without it."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Regime:
    """Say what the mask does while a ticket is trained."""

    name: vocabulary.RegimeName = "static"
    """static: the mask stays; set, rigl: in each layer the smallest weights are exchanged for
    others, drawn at random (Mocanu et al. 2018) or those with the largest gradient (Evci et al.
    2020); gradual: weights are cut little by little (Zhu and Gupta 2017); rst: the weights that
    will be cut are first pressed to zero (Bai et al. 2022; with prune.criterion = random)."""
    every: Annotated[Count, Only("regime.name", *moving_regimes())] = 10
    """Steps between two changes of the mask."""
    until: Annotated[Fraction, Only("regime.name", *moving_regimes())] = 0.75
    """Share of the run after which the mask rests."""
    share: Annotated[Fraction, Only("regime.name", "set", "rigl")] = 0.3
    """Share of a layer's weights that are exchanged at first; it falls to 0 as a cosine."""
    penalty: Annotated[Positive, Only("regime.name", "rst")] = 1.0
    """L2 coefficient just before the cut."""
    power: Annotated[int, Field(ge=1, le=3), Only("regime.name", "rst")] = 1
    """Power with which the L2 coefficient grows towards the cut: as x, x^2 or x^3."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Measure:
    """Say what is measured of each round; what is expensive only in measure.rounds."""

    split: vocabulary.Split = "validation"
    """Held-out split: validation to search, test to confirm."""
    images: Count = 300
    """Held-out images of the evaluation set (at most those of the split)."""
    timesteps: Count = 20
    """Stratified timesteps of the evaluation set."""
    checkpoints: Whole = 10
    """Points along each training run at which a quarter of the evaluation set is measured."""
    rounds: tuple[int, ...] = (0, -1)
    """Rounds that are measured at length (samples, sharpness, sensitivity); 0 = dense, -1 = the
    sparsest."""
    samples: Whole = 400
    """Generated images for FID, KID, precision, recall and memorisation; 0 = none."""
    samplers: Annotated[tuple[vocabulary.Sampler, ...], Field(min_length=1)] = ("ddim",)
    """Samplers, each with its own metrics."""
    sampling_steps: tuple[Count, ...] = (20,)
    """Network calls for one generated image: one number for all samplers, or one for each."""
    inception: Annotated[str, Place()] = ""
    """Inception-v3 weights of torch-fidelity as a safetensors file, with which FID and KID are then
    taken too."""
    efficientnet: bool = False
    """Judge samples also by EfficientNet-Lite0 of ImageNet, which the extra `efficientnet` brings:
    FID, KID and the perceptual distance to the dense network's images of the same noise."""
    perturbations: Whole = 0
    """Random perturbations of the weights over which sharpness is averaged, of dense networks and
    tickets in measure.rounds; 0 = none."""
    sensitivity: bool = False
    """Measure, of dense networks and tickets in measure.rounds, also the loss with each layer alone
    cut to a tenth of what it has."""
    robust: Whole = 0
    """Held-out images on which a denoiser is measured under stress: wrong noise, corrupted images,
    attacks, noise on its weights and on its way of sampling; 0 = not at all."""
    attack: Count = 20
    """Gradient steps of an attack on a denoiser, with measure.robust."""
    connected: bool = False
    """Measure, of every ticket, also the error barrier between its solution and that of the rung
    before (Paul et al. 2023, arXiv 2210.03044)."""
