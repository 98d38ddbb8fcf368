"""Tickets that leave the store: torch and diffusers alone make of them what is made here."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lthray.__main__ import main
from lthray.cli import study
from lthray.config import options
from lthray.config.fields import ConfigError
from lthray.config.options import Root
from lthray.config.trial import TICKET, TrialConfig
from lthray.core.random import generator
from lthray.core.store import Store
from lthray.core.ticket_file import read_ticket
from lthray.export import card, folder, found, small_unet
from lthray.export.found import named
from lthray.export.recorded import RecordedTicket
from lthray.findings import claims, wording
from lthray.findings.claims import best, judged
from lthray.findings.evidence import gather
from lthray.findings.wording import of_ticket
from lthray.study.ledger import Ledger
from lthray.task.samplers import sample
from lthray.tracking.client import TrackingError, client
from lthray.trial.points import point
from lthray.trial.recipe import trajectory
from lthray.trial.steps import VERSIONS

from . import nets
from .conftest import TINY, TINY_LENET, rounds
from .test_desk import LIST
from .test_verdicts import SEEDS, WHOLE, trial

CHANNELS = {"prune.unit": "channel", "model.channels": (8, 16)}
WIDE = {"data.name": "folder", "data.side": 8, "data.width": 16, "data.channels": 1}
KINDS = {
    "weights": TINY,
    "channels": TINY | CHANNELS,
    "attention": TINY | CHANNELS | {"model.attention": (1,), "model.head": 4},
    "latents": TINY | {"objective.name": "latent_denoise", "latent.steps": 2},
    "conditional": TINY | {"model.conditional": True},
    "wide": TINY | WIDE,
    "wide latents": TINY | WIDE | {"objective.name": "latent_denoise", "latent.steps": 2},
    "classifier": TINY_LENET,
    "small classifier": TINY_LENET | {"prune.unit": "channel"},
    "own": TINY | nets.OWN | {"model.name": "tests.nets:Norm", "prune.budget": "uniform"},
}
PIPELINES = ("weights", "channels", "attention", "latents", "wide")
LOOPS = ("conditional", "wide latents")  # what no pipeline of diffusers draws
PROGRAMS = ("classifier", "small classifier", "own")
CALLS = 4
ALONE = """
import json, os, re, sys
sys.modules["lthray"] = None  # nothing of it can be imported from here on
import numpy as np, torch
"""
EVERYTHING = """
from diffusers import DiffusionPipeline
from diffusers.schedulers import scheduling_ddpm
drawn = scheduling_ddpm.randn_tensor

def sampled(noises, calls):
    scheduling_ddpm.randn_tensor = lambda *args, **kwargs: noises.pop(0)
    pipeline = DiffusionPipeline.from_pretrained(".", trust_remote_code=True)
    first = torch.Generator().manual_seed(0)
    made = pipeline(batch_size=3, num_inference_steps=calls, generator=first, output_type="np")
    scheduling_ddpm.randn_tensor = drawn
    return made.images

def answered(inputs):
    return torch.export.load("network.pt2").module()(*inputs).detach().numpy()

for kind, job in json.load(open(sys.argv[1])).items():
    os.chdir(job["place"])
    given = [torch.from_numpy(np.load(path)) for path in job["given"]]
    if job["calls"]:
        np.save(job["theirs"], sampled(given, job["calls"]))
    elif given:
        np.save(job["theirs"], answered(given))
    (code,) = re.findall("```python\\n(.*?)```", open("README.md").read(), re.S)
    exec(code.replace("steps=50", "steps=2").replace("timesteps(50)", "timesteps(2)"), {})
"""


def plainly(script: str, place: Path, *argv: object) -> None:
    """Run a script in a folder where nothing of lthray can be imported."""
    command = [sys.executable, "-c", ALONE + script, *map(str, argv)]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Kind -> a ticket that was trained, and the folder that it was written to."""
    root = tmp_path_factory.mktemp("export")
    store = Store(root / "runs" / "store")
    pixels = np.random.default_rng(0).integers(0, 256, (120, 8, 16), dtype=np.uint8)
    np.savez(root / "wide.npz", images=pixels)

    @cache
    def make(kind: str) -> tuple[RecordedTicket, Path]:
        own = {"data.root": str(root / "wide.npz")} if "wide" in kind else {}
        ticket, place = recorded(store, KINDS[kind] | own), root / kind
        folder.write(ticket, place, [])
        return ticket, place

    return make


def recorded(store: Store, words) -> RecordedTicket:
    """Train a trial, as `lthray trial` does, and return its last ticket."""
    config = TrialConfig.from_flat(words)
    plan = {"study": "trial", "preset": "digits", "smoke": False, "config": config.canonical()}
    about = {"study": "trial", "preset": "digits", "smoke": False, "question": ""}
    ledger = Ledger.freeze(store, plan, {**about, "command": "lthray trial", "lthray": "0"})
    ledger.begin(0, point(trajectory(config), {}, "single"))
    rounds(config, store)
    ledger.finish(0, "done")
    return named(store, f"{ledger.key[:16]}-0", -1, "")


@pytest.fixture(scope="module")
def theirs(exported, tmp_path_factory):
    """Kind -> what torch and diffusers alone make of its folder, in one process for all kinds, in
    which the code of every card has run too."""
    place = tmp_path_factory.mktemp("alone")
    jobs = {}
    for kind in KINDS:
        ticket, home = exported(kind)
        given = GIVEN[kind in PIPELINES](ticket) if kind not in LOOPS else ()
        paths = [str(place / f"{kind}_{i}.npy") for i in range(len(given))]
        for path, tensor in zip(paths, given, strict=True):
            np.save(path, tensor.numpy())
        calls = CALLS * (kind in PIPELINES)
        made = str(place / f"{kind}.npy")
        jobs[kind] = {"place": str(home), "given": paths, "calls": calls, "theirs": made}
    (place / "jobs.json").write_text(json.dumps(jobs))
    plainly(EVERYTHING, place, place / "jobs.json")
    return lambda kind: np.load(jobs[kind]["theirs"])


def noises(ticket: RecordedTicket) -> list[torch.Tensor]:
    """Return the fresh noise of every step of ancestral sampling, for three images."""
    shape = (3, *ticket.run.workshop.shape)
    return [torch.randn(shape, generator=generator("ancestral", i)) for i in range(CALLS)]


def inputs(ticket: RecordedTicket) -> tuple[torch.Tensor, ...]:
    """Return arguments of a network for another number of images than its program was written
    with."""
    workshop, g = ticket.run.workshop, torch.Generator().manual_seed(1)
    return workshop.task.example(torch.randn(5, *workshop.shape, generator=g))


GIVEN = {True: noises, False: inputs}


@pytest.mark.parametrize("kind", PIPELINES)
def test_diffusers_alone_draws_the_same_samples_from_the_same_noise(exported, theirs, kind):
    ticket, _ = exported(kind)
    run, first = ticket.run, torch.Generator().manual_seed(0)
    x = torch.randn((3, *run.workshop.shape), generator=first)
    objective = run.workshop.objective
    made = sample(ticket.trained, objective, "ddpm", CALLS, x, bound=run.images.bound)
    pictures = ticket.latents.decode(made) if ticket.latents else made
    ours = (pictures / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).detach().numpy()
    assert ours.std() > 0.01
    assert theirs(kind) == pytest.approx(ours, abs=1e-5)


@pytest.mark.parametrize("kind", PROGRAMS)
def test_torch_alone_answers_as_the_network_does(exported, theirs, kind):
    ticket, _ = exported(kind)
    with torch.no_grad():
        ours = ticket.trained(*inputs(ticket)).numpy()
    assert theirs(kind) == pytest.approx(ours, abs=1e-5)


def test_pictures_of_no_square_are_drawn_as_wide_as_they_are(exported, theirs):
    _, place = exported("wide")
    assert theirs("wide").shape == (3, 8, 16, 1)
    assert json.loads((place / "unet" / "config.json").read_text())["sample_size"] == [8, 16]
    assert "--data.root FOLDER" in (place / "README.md").read_text()


class Tied(torch.nn.Module):
    """A network that has one weight under two names."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x))


class Asking(torch.nn.Module):
    """A network whose way depends on what it is given, which torch.export cannot follow."""

    def forward(self, x, *told):
        return x if x.mean() > 0 else -x


def test_a_network_that_has_two_names_for_a_weight_is_written(tmp_path):
    tied = Tied()
    save_file(folder._tensors(tied), tmp_path / "model.safetensors")
    again = Tied()
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(again.first.weight, tied.first.weight)


def test_a_network_that_cannot_be_a_program_is_one_line_and_no_folder(exported, tmp_path):
    ticket, _ = exported("own")
    asking = replace(ticket)
    asking.__dict__["trained"] = Asking()
    with pytest.raises(ConfigError, match=r"torch\.export cannot follow its forward"):
        folder.write(asking, tmp_path / "place", [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_the_card_names_diffusers_where_it_is_needed(exported, kind):
    _, place = exported(kind)
    named = "library_name: diffusers" in (place / "README.md").read_text()
    assert named == (place / "model_index.json").is_file()


def test_a_ticket_that_was_never_confirmed_claims_nothing(exported):
    _, place = exported("weights")
    assert card.ALONE in (place / "README.md").read_text()


@pytest.mark.parametrize("kind", ["channels", "attention", "small classifier"])
def test_without_its_channels_a_network_is_smaller_in_the_file(exported, kind):
    ticket, place = exported(kind)
    kept = ticket.round.metrics["cost/kept"]
    assert kept < 0.8 * ticket.trial.rounds[0].metrics["cost/parameters"]
    (file,) = [p for p in place.rglob("*.safetensors") if p.name != TICKET]
    assert file.stat().st_size < 4 * kept + 20_000  # float32, and a header


@pytest.mark.parametrize("kind", KINDS)
def test_the_ticket_file_holds_the_mask_and_the_weights_from_which_it_begins(exported, kind):
    ticket, place = exported(kind)
    read, facts = read_ticket((place / TICKET).read_bytes())
    assert read.mask == ticket.mask
    begin = ticket.run.masked_begin()
    assert read.start == begin.step
    assert read.weights.keys() == begin.weights.keys()
    assert all(torch.equal(read.weights[name], begin.weights[name]) for name in begin.weights)
    assert facts["round"] == ticket.round.index


@pytest.mark.parametrize("kind", ["channels"])
def test_the_reader_in_the_docs_reads_it_without_lthray(exported, tmp_path, kind):
    ticket, place = exported(kind)
    page = (Path(__file__).parent.parent / "docs" / "tickets.md").read_text()
    (reader,) = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(reader.strip().splitlines()) <= 20
    kept = """
masks, tensors, facts = read_ticket("ticket.safetensors")
np.savez(sys.argv[1], **masks, **tensors)
"""
    plainly(reader + kept, place, tmp_path / "read.npz")
    read, begin = np.load(tmp_path / "read.npz"), ticket.run.masked_begin()
    for name, mask in ticket.mask.items():
        assert (read[name] == mask.numpy()).all()
        assert (read[f"weights.{name}"] == begin.weights[name][mask].numpy()).all()


@pytest.mark.parametrize("kind", ["weights", "channels", "classifier"])
def test_a_ticket_that_was_taken_home_trains_again_to_the_same_loss(tmp_path, kind):
    """Moments of the optimizer do not travel, so that they start anew in both. Both the folder and
    the file in it are taken as the origin of a trial."""
    store = Store(tmp_path / "store")
    ticket, place = recorded(store, KINDS[kind] | {"rewind.state": "reset"}), tmp_path / "place"
    folder.write(ticket, place, [])
    for origin in (place, place / TICKET):
        words = KINDS[kind] | {"origin": str(origin), "rewind.rule": "given"}
        words = {word: value for word, value in words.items() if word != "prune.ladder"}
        again = rounds(TrialConfig.from_flat(words), Store(tmp_path / "other"))[-1]
        assert again.metrics["loss/heldout"] == ticket.round.metrics["loss/heldout"]


@pytest.mark.parametrize("kind", ["weights", "classifier"])
def test_a_trained_network_that_was_taken_home_is_accepted_as_given(exported, tmp_path, kind):
    ticket, place = exported(kind)
    alone = {"model.pretrained": str(place), "train.steps": 0, "prune.ladder": ()}
    words = KINDS[kind] | alone
    dense = rounds(TrialConfig.from_flat(words), Store(tmp_path / "store"))[0]
    assert dense.metrics["loss/heldout"] == ticket.round.metrics["loss/heldout"]


def test_a_small_network_is_refused_as_a_given_one(exported, tmp_path):
    _, place = exported("channels")
    words = KINDS["channels"] | {"model.pretrained": str(place)}
    with pytest.raises(ConfigError, match=re.escape(str(place))):
        rounds(TrialConfig.from_flat(words), Store(tmp_path / "store"))


def test_the_class_that_travels_needs_nothing_of_lthray():
    assert "import lthray" not in Path(small_unet.__file__).read_text()
    assert "from lthray" not in Path(small_unet.__file__).read_text()


# what cannot be done


def test_what_is_there_already_is_never_overwritten(exported, tmp_path):
    ticket, _ = exported("weights")
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigError, match="is there already"):
        folder.write(ticket, tmp_path / "mine", [])
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_folder_is_whole_or_absent(exported, tmp_path, monkeypatch):
    ticket, _ = exported("weights")
    monkeypatch.setattr(card, "card", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        folder.write(ticket, tmp_path / "new", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["0f-1", "place"], "'0f-1': no trial of the store has an id that begins so"),
        (["none", "place"], "'none': no trial, and no study of this store: trial.digits"),
        (["trial.digits", "place"], "'trial.digits': no ticket of this study is shown to match"),
        (["trial"], "needs a trial or study and a folder, got 1"),
        (["{id}", "place", "--round", "7"], "--round 7: {id} has rounds 0, 1, 2"),
        (["0" * 32, "place"], "mlflow.db: nothing was recorded there"),
    ],
)
def test_what_cannot_be_taken_home_is_one_line(exported, tmp_path, capsys, argv, said):
    ticket, place = exported("weights")
    runs = place.parent / "runs"
    words = [str(word).format(id=ticket.trial.id) for word in argv]
    words = [str(tmp_path / word) if word == "place" else word for word in words]
    assert main(["export", *words, "--out", str(runs)]) == options.BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert said.format(id=ticket.trial.id) in line
    assert not (tmp_path / "place").exists()


def test_a_trial_recorded_with_other_data_is_not_taken_for_todays(exported, monkeypatch, tmp_path):
    ticket, place = exported("weights")
    store = Store(place.parent / "runs" / "store")
    monkeypatch.setattr("lthray.trial.steps.VERSIONS", {**VERSIONS, "train": 99})
    with pytest.raises(ConfigError, match="another trial was recorded"):
        named(store, ticket.trial.id, -1, "")


# the best of a study


def graded(excess: float, *, control: float) -> list:
    """Return tickets at both rungs on five seeds, and controls that are worse."""
    found = []
    for s in SEEDS:
        noise = 1e-3 * s
        found.append(trial("none", s, (excess + noise, excess + noise), **WHOLE))
        for arm in ("shuffle", "reinit"):
            found.append(trial(arm, s, (control + 2 * noise,) * 2, **WHOLE))
    return found


def test_of_a_study_the_sparsest_ticket_that_wins_is_taken_on_its_best_seed():
    found = graded(-0.05, control=0.1)
    chosen = best(judged(gather(found)))
    assert (chosen.density, chosen.metrics["loss/excess"]) == (0.1, -0.05)


def test_where_no_ticket_wins_the_sparsest_that_matches_is_recorded():
    chosen = best(judged(gather(graded(-0.05, control=-0.05))))
    assert chosen.density == 0.1
    assert best(judged(gather(graded(0.3, control=0.3)))) is None


def test_what_is_said_of_a_ticket_is_what_its_verdict_says():
    found = graded(-0.05, control=0.1)
    (verdict,) = judged(gather(found))
    grade, told = of_ticket(found, 1, found[0], 0.1)
    assert grade == {"matches": "own", "shows": "both"}
    every = wording.sentences(verdict)
    assert told == [line for line in every if line in told]
    assert "tickets with 10.0% of the free weights" in told[1]
    assert "tickets with 50.0%" not in " ".join(told)
    grade, told = of_ticket(graded(0.3, control=0.3), 1, found[0], 0.1)
    assert (grade, len(told) > 2) == ({}, True)
    assert of_ticket(found, 1, trial("none", 0, (0.0, 0.0), **{"prune.slope": 1.0}), 0.1) == (
        {},
        [],
    )


def test_the_best_ticket_of_a_finished_study_is_a_model_of_its_run(tmp_path, monkeypatch, capsys):
    out = str(tmp_path / "runs")
    assert study(LIST, ["--local", "--out", out]) == options.DONE
    assert "as a model of its run" not in capsys.readouterr().out  # two seeds show nothing
    monkeypatch.setattr(claims.Verdict, "holds", lambda *_: True)
    uri = Root(out=out).uri
    for said in (1, 0):  # it is put there once
        assert study(LIST, ["--local", "--out", out]) == options.DONE
        assert capsys.readouterr().out.count("in MLflow, as a model of its run: ") == said
        tracked = client(uri)
        experiments = [each.experiment_id for each in tracked.search_experiments()]
        (model,) = tracked.search_logged_models(experiments)
        files = {file.path for file in tracked.list_logged_model_artifacts(model.model_id)}
        assert {"README.md", "ticket.safetensors", "model_index.json"} <= files
    monkeypatch.setattr(found.models, "has_model", lambda *_: False)
    monkeypatch.setattr(found.models, "log", lambda *_: _refuse())
    assert study(LIST, ["--local", "--out", out]) == options.DONE
    assert "MLflow has no model of the best ticket (no room);" in capsys.readouterr().out


def _refuse() -> None:
    raise TrackingError("no room")


def test_tickets_are_listed_best_first_and_what_is_listed_can_be_taken(
    tmp_path, capsys, monkeypatch
):
    out = str(tmp_path / "runs")
    assert study(LIST, ["--local", "--out", out]) == options.DONE
    capsys.readouterr()
    assert main(["tickets", "list.digits", "--out", out]) == options.DONE
    _, head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["matches", "shows", "density"]
    assert len(rows) == 2 * 2  # recipes and rungs
    grades = [row.split()[0] != "none" for row in rows]
    assert grades == sorted(grades, reverse=True)
    name, _, index = rows[0].rpartition("digits ")[2].partition(" --round ")
    argv = ["export", name.strip(), str(tmp_path / "best"), "--round", index.strip()]
    assert main([*argv, "--out", out]) == options.DONE
    card_text = (tmp_path / "best" / "README.md").read_text()
    assert "matches its dense network of 8 steps" in card_text
    assert "claims of this page are one family" in card_text
    argv[2] = str(tmp_path / "registered")
    assert main([*argv, "--register", "best", "--out", out]) == options.BAD_INPUT
    assert "is not registered" in capsys.readouterr().err  # two seeds show nothing
    assert not (tmp_path / "registered").exists()
    monkeypatch.setattr(wording, "of_ticket", lambda *_: ({"matches": "own"}, ["It matches."]))
    assert main([*argv, "--register", "best", "--out", out]) == options.DONE
    assert "registered: best, version 1" in capsys.readouterr().out
    uri = Root(out=out).uri
    registry = client(uri)
    (version,) = registry.search_model_versions("name = 'best'")
    assert version.tags["trial"] == name.strip()
    assert "own" in version.tags["matches"]
    experiment = registry.get_run(version.run_id).info.experiment_id
    (model,) = registry.search_logged_models([experiment])
    assert model.source_run_id == version.run_id
    assert model.tags.items() >= version.tags.items()
    assert {file.path for file in registry.list_logged_model_artifacts(model.model_id)} >= {
        "README.md",
        "ticket.safetensors",
    }
    assert main(["tickets", "none.digits", "--out", out]) == options.BAD_INPUT
    assert "'none.digits': no study of this store: list.digits" in capsys.readouterr().err
