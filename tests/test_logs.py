"""TensorBoard and Optuna read what MLflow has: every round once, however often a study was cut."""

import io
import itertools
import json
import math
import shlex
import struct
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from PIL import Image
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from lthray.__main__ import main
from lthray.cli import study as run_page
from lthray.config import options
from lthray.config.trial import argv_of
from lthray.core.record import Outcome
from lthray.core.store import Store
from lthray.study.ledger import FAILED
from lthray.study.results import News, trials
from lthray.study.space import Choice
from lthray.tracking.events import NAME, events, folder_of, grow, packed
from lthray.tracking.journal import Journal
from lthray.tracking.logs import LOGS, Log
from lthray.tracking.write import Projector
from lthray.trial.view import assemble

from .conftest import TINY
from .test_desk import LIST, SEARCH, opened, work_off
from .test_recording import SAMPLED, free_port, uri_of
from .test_searched import LOST, recorded_plan, walked  # noqa: F401, a fixture

# event files


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store with one call of a list: two trials done, one failed, one unfinished."""
    store = Store(tmp_path_factory.mktemp("made") / "store")
    sampled = [text for word, value in SAMPLED.items() for text in (f"--{word}", value)]
    call, ledger = opened(LIST, store, *sampled)
    work_off(call, ledger, store, last=1)
    ledger.finish(2, FAILED, "NonFinite: nan at step 3")
    return store, ledger


def read(data: bytes) -> list[Event]:
    """The events of an event file: each between its length with a checksum, and a checksum."""
    found = []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        found.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return found


def numbers(found: list[Event]) -> dict[str, list[tuple[int, float]]]:
    """Tag -> steps and numbers, in order."""
    series: dict[str, list[tuple[int, float]]] = {}
    for event in found:
        for value in event.summary.value:
            if value.HasField("simple_value"):
                series.setdefault(value.tag, []).append((event.step, value.simple_value))
    return series


def single(number: float) -> float:
    """A number with the precision of an event file."""
    return struct.unpack("f", struct.pack("f", number))[0]


def file_of(folder: Path, trial) -> Path:
    return folder / "tensorboard" / "list.digits" / folder_of(trial) / NAME


@pytest.fixture(scope="module")
def written(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    assert Log("tensorboard", str(folder)).catch_up(News(*made)) == 3
    return folder


def wanted_of(trial) -> dict[str, list[tuple[int, float]]]:
    """What an event file of a trial has to show."""
    wanted: dict[str, list[tuple[int, float]]] = {}
    for r in trial.rounds:
        for name, number in r.metrics.items():
            wanted.setdefault(name, []).append((r.index, single(number)))
        for step, train, heldout in r.curve:
            for name, number in (("train", train), ("heldout", heldout)):
                tag = f"curve/{name}/round_{r.index:02d}"
                wanted.setdefault(tag, []).append((step, single(number)))
    return wanted


def test_an_event_file_has_every_metric_and_every_curve_once(made, written):
    recorded = list(trials(*made))
    assert [len(trial.rounds) for trial in recorded[:2]] == [3, 3]
    for trial in recorded:
        found = read(file_of(written, trial).read_bytes())
        wanted = wanted_of(trial)
        assert numbers(found) == wanted
        assert "loss/excess" in wanted
        assert "curve/heldout/round_02" in wanted or trial.number > 1
        times = {event.step: event.wall_time for event in found if "loss/gap" in str(event)}
        assert times == {r.index: r.created for r in trial.rounds}


def test_tensorboard_reads_what_was_written(made, written):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for trial in trials(*made):
        folder = file_of(written, trial).parent
        accumulated = reader.EventAccumulator(str(folder)).Reload()
        wanted = wanted_of(trial)
        assert set(accumulated.Tags()["scalars"]) == set(wanted)
        for tag, series in wanted.items():
            assert [(e.step, e.value) for e in accumulated.Scalars(tag)] == series
        pictures = [name for r in trial.rounds for name in r.files if name != "ticket"]
        assert len(accumulated.Tags()["images"]) == len(set(pictures))


def test_pictures_are_those_of_the_store(made, written):
    trial = next(iter(trials(*made)))
    found = {}
    for event in read(file_of(written, trial).read_bytes()):
        for value in event.summary.value:
            if value.HasField("image"):
                found[value.tag, event.step] = value.image
    stored = {("samples/ddim", r.index): r.files.get("samples_ddim") for r in trial.rounds}
    stored = {place: png for place, png in stored.items() if png}
    assert {place: image.encoded_image_string for place, image in found.items()} == stored
    assert len(stored) == 2
    for image in found.values():
        size = Image.open(io.BytesIO(image.encoded_image_string)).size
        assert (image.width, image.height) == size


def messages(found: list[Event]) -> list[HParamsPluginData]:
    """What an event file tells the plugin for hyperparameters."""
    values = [value for event in found for value in event.summary.value]
    plugged = [value.metadata.plugin_data for value in values if "_hparams_" in value.tag]
    return [HParamsPluginData.FromString(data.content) for data in plugged]


def test_hyperparameters_are_the_words_that_vary_and_how_the_trial_ended(made, written):
    told = []
    for trial in trials(*made):
        start, *end = messages(read(file_of(written, trial).read_bytes()))
        words = start.session_start_info.hparams
        assert words["prune.criterion"].string_value == trial.point.words["prune.criterion"]
        assert words["seed"].number_value == trial.point.seed
        assert set(words) == {"prune.criterion", "seed", "control"}
        told.append([each.session_end_info.status for each in end])
    assert told == [[1], [1], [2], []]  # success, success, failure, and one that is unfinished


def test_writing_again_and_from_the_beginning_gives_the_same_bytes(made, written, tmp_path):
    before = {path: path.read_bytes() for path in written.rglob(NAME)}
    assert len(before) == 4
    Log("tensorboard", str(written)).catch_up(News(*made))
    Log("tensorboard", str(tmp_path)).catch_up(News(*made))
    for path, content in before.items():
        assert path.read_bytes() == content
        assert (tmp_path / path.relative_to(written)).read_bytes() == content


def test_a_file_only_grows_while_its_trial_does(made):
    store, ledger = made
    trial = next(iter(trials(store, ledger)))
    stages = [replace(trial, end=None, rounds=trial.rounds[:count]) for count in range(4)]
    contents = [packed(events(each, ledger.about)) for each in [*stages, trial]]
    for shorter, longer in itertools.pairwise(contents):
        assert longer.startswith(shorter)
        assert len(longer) > len(shorter)


def test_a_file_that_was_cut_anywhere_is_whole_again_and_another_is_replaced(tmp_path):
    path, content = tmp_path / NAME, bytes(range(64))
    for there in [*(content[:length] for length in range(65)), b"other", content + b"more"]:
        path.write_bytes(there)
        grow(path, content)
        assert path.read_bytes() == content
    assert [each.name for each in tmp_path.iterdir()] == [NAME]


def test_a_reader_that_holds_a_file_open_sees_what_is_added(tmp_path):
    path = tmp_path / NAME
    grow(path, b"one")
    with path.open("rb") as reader:
        assert reader.read() == b"one"
        grow(path, b"one, two")
        assert reader.read() == b", two"


def test_nothing_is_written_outside_the_folder_whatever_a_store_says(made, tmp_path):
    store, ledger = made
    trial = next(iter(trials(store, ledger)))
    trial = replace(trial, point=replace(trial.point, name="../../x/../é\n" + "y" * 400))
    about = ledger.about | {"collection": "../../../up"}
    LOGS["tensorboard"].opened(tmp_path / "inside").record(trial, about)
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert file.relative_to(tmp_path).parts[0] == "inside"
    assert len(file.relative_to(tmp_path).parts) == 4


# the storage file of Optuna


def about_of(walked, **more):  # noqa: F811
    """What is recorded of the search beside its trials, as a ledger holds it."""
    plan = recorded_plan(walked.call, **more)
    about = {"study": "tried", "preset": "digits", "smoke": False, "question": "What works?"}
    return {**about, "command": "python tried.py", "plan": plan, "order": plan["order"]}


def loaded(path: Path) -> optuna.Study:
    """The one study of a storage file."""
    storage = JournalStorage(JournalFileBackend(str(path)))
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def facts_of(path: Path) -> list[tuple]:
    """What a storage file says of each trial, but for the times."""
    return [
        (t.number, t.state, t.values, t.params, t.distributions, t.intermediate_values)
        + (t.user_attrs,)
        for t in loaded(path).trials
    ]


def write(path: Path, about, records) -> None:
    journal = Journal(path)
    for trial in records:
        journal.record(trial, about)


@pytest.fixture(scope="module")
def whole(walked, tmp_path_factory):  # noqa: F811
    path = tmp_path_factory.mktemp("whole") / "optuna.log"
    write(path, about_of(walked), walked.trials)
    return path


STATES = {
    "done": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def test_optuna_loads_the_search_as_it_was_recorded(walked, whole):  # noqa: F811
    study = loaded(whole)
    assert study.study_name == f"tried.digits/{walked.trials[0].id[:12]}"
    assert study.direction.name == "MINIMIZE"
    assert study.user_attrs == {"question": "What works?", "command": "python tried.py"}
    assert study.metric_names == ["excess loss over the own dense network"]
    assert [trial.number for trial in study.trials] == list(range(14))
    assert {trial.status for trial in walked.trials} == set(STATES)
    for there, trial in zip(study.trials, walked.trials, strict=True):
        past = walked.search.past[trial.number]
        assert there.state == STATES[trial.status]
        assert there.params == past.words
        assert there.distributions == {
            word: walked.call.space[word].distribution() for word in past.words
        }
        assert list(there.intermediate_values.values()) == list(past.scores)
        assert there.value == (past.scores[-1] if trial.status == "done" else None)
        assert there.user_attrs["trial"] == trial.id
        assert there.user_attrs["name"] == trial.name
        assert there.datetime_start.timestamp() == pytest.approx(trial.point.at)
    assert study.trials[LOST].user_attrs["reason"] == "NonFinite: nan at step 3"
    best = min(p.scores[-1] for n, p in walked.search.past.items() if p.state == "complete")
    assert study.best_value == best


def test_importances_can_be_computed(whole):
    shares = optuna.importance.get_param_importances(loaded(whole))
    assert "prune.criterion" in shares
    assert all(math.isfinite(share) for share in shares.values())


def test_recording_a_search_again_changes_no_byte(walked, whole):  # noqa: F811
    before = whole.read_bytes()
    write(whole, about_of(walked), walked.trials)
    assert whole.read_bytes() == before


def growing(records):
    """The trials of a search as they come about, two at a time: with no, one, two ... rounds."""
    for first in range(0, len(records), 2):
        pair = records[first : first + 2]
        for count in range(5):
            for trial in pair:
                yield replace(trial, end=None, rounds=trial.rounds[:count])
        yield from reversed(pair)


def test_a_search_that_is_followed_ends_as_one_that_is_written_at_once(walked, whole, tmp_path):  # noqa: F811
    path, about, states = tmp_path / "optuna.log", about_of(walked), set()
    journal = Journal(path)
    for trial in growing(walked.trials):
        journal.record(trial, about)
        states |= {each.state for each in loaded(path).trials}
    assert facts_of(path) == facts_of(whole)
    assert TrialState.RUNNING in states
    assert path.read_bytes().count(b'"op_code":1,') == 0  # no study was deleted


def test_a_file_that_was_cut_anywhere_ends_the_same(walked, whole, tmp_path):  # noqa: F811
    path, about, content = tmp_path / "optuna.log", about_of(walked), whole.read_bytes()
    cuts = range(0, len(content), len(content) // 23)
    assert len(cuts) > 20
    for cut in cuts:
        path.write_bytes(content[:cut])
        write(path, about, walked.trials)
        assert facts_of(path) == facts_of(whole)


def test_a_trial_that_was_tried_again_is_written_anew_and_others_stay(walked, whole, tmp_path):  # noqa: F811
    path, about = tmp_path / "optuna.log", about_of(walked)
    write(path, about, walked.trials)
    failed, done = walked.trials[LOST], walked.trials[LOST + 1]
    again = replace(failed, end=Outcome("done", at=5.0), rounds=done.rounds)
    journal = Journal(path)
    journal.record(again, about)
    before, after = facts_of(whole), facts_of(path)
    assert after[LOST][1] == TrialState.COMPLETE
    assert after[:LOST] == before[:LOST]
    assert after[LOST + 1 :] == before[LOST + 1 :]


@pytest.mark.parametrize("content", [b"nonsense\n{}\n", b'{"op_code": 77}\n', b"\x00" * 99 + b"\n"])
def test_a_file_that_cannot_be_read_is_made_again(walked, whole, tmp_path, content):  # noqa: F811
    path = tmp_path / "optuna.log"
    path.write_bytes(content)
    write(path, about_of(walked), walked.trials)
    assert facts_of(path) == facts_of(whole)


def test_lists_that_are_drawn_are_kept_as_text(walked, tmp_path):  # noqa: F811
    drawn = {"model.channels": Choice(((8,), (8, 16)))}
    plan_space = {word: repr(dial) for word, dial in drawn.items()}
    about = about_of(walked, space=plan_space, order=["model.channels"])
    point = replace(walked.trials[0].point, words={"model.channels": [8, 16]})
    path = tmp_path / "optuna.log"
    write(path, about, [replace(walked.trials[0], point=point)])
    (trial,) = loaded(path).trials
    assert trial.params == {"model.channels": "[8,16]"}
    assert trial.distributions["model.channels"].choices == ("[8]", "[8,16]")


@pytest.mark.parametrize("rounds", [0, 2])
def test_a_score_that_is_no_number_is_no_value(walked, tmp_path, rounds):  # noqa: F811
    whole_trial = next(trial for trial in walked.trials if trial.status == "done")
    last = whole_trial.rounds[-1]
    lost = replace(last, metrics={**last.metrics, "loss/excess": math.nan})
    trial = replace(whole_trial, rounds=(*whole_trial.rounds[:rounds], lost) if rounds else ())
    path = tmp_path / "optuna.log"
    write(path, about_of(walked), [trial])
    write(path, about_of(walked), [trial])
    (there,) = loaded(path).trials
    assert (there.state, there.value) == (TrialState.PRUNED, None)


# beside MLflow, from the command line


def test_an_mlflow_that_is_down_and_a_folder_that_cannot_be_written_hold_up_nothing(made, tmp_path):
    store, ledger = made
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "tensorboard").write_text("in the way")
    logs = [Log("tensorboard", str(tmp_path / "bad")), Log("tensorboard", str(tmp_path / "good"))]
    uri = f"http://127.0.0.1:{free_port()}"
    projector = Projector(store, ledger, uri, tmp_path / "artifacts", every=0.1, beside=logs)
    projector.start()
    until = time.monotonic() + 60
    while projector.behind == "it has not answered yet" and time.monotonic() < until:
        time.sleep(0.1)
    assert projector.close(patience=0.1)
    assert len(list((tmp_path / "good").rglob(NAME))) == 4
    assert logs[0].behind.startswith(("FileExistsError", "NotADirectoryError"))
    (line,) = logs[0].lines()
    assert "tensorboard is behind" in line
    assert line.endswith(f"record --log tensorboard --out {tmp_path / 'bad'}")
    (tmp_path / "bad" / "tensorboard").unlink()
    logs[0].follow(store, ledger)
    assert logs[0].behind is None
    assert len(list((tmp_path / "bad").rglob(NAME))) == 4


def test_a_file_that_is_taken_away_meanwhile_is_written_again(walked, whole, tmp_path, monkeypatch):  # noqa: F811
    records = {trial.number: trial for trial in walked.trials}
    monkeypatch.setattr("lthray.study.results.record", lambda *about: records[about[-1].number])
    monkeypatch.setattr(type(walked.desk.ledger), "about", property(lambda _: about_of(walked)))
    log, ledger = Log("optuna", str(tmp_path)), walked.desk.ledger
    unfinished = replace(records[13], end=None, rounds=records[13].rounds[:2])
    records[13] = unfinished
    ended = type(ledger).end
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(ledger, "end", lambda n: None if n == 13 else ended(ledger, n))
        log.follow(ledger.store, ledger)
    assert log.news.ended == set(range(13))
    log.place.unlink()
    records[13] = walked.trials[13]
    log.follow(ledger.store, ledger)
    assert "is gone" in log.behind
    log.follow(ledger.store, ledger)
    assert log.behind is None
    assert facts_of(log.place) == facts_of(whole)


BAD = [
    (["--log", "tensorbord"], "--log = 'tensorbord': must be one of tensorboard, optuna"),
    (["--log"], "--log: needs one value, got none"),
    (["--log", "optuna"], "--log optuna: list is no search, and it holds nothing else"),
]


@pytest.mark.parametrize(("argv", "said"), BAD)
def test_what_cannot_be_written_is_told_before_anything_is(argv, said, tmp_path, capsys):
    assert run_page(LIST, [*argv, "--out", str(tmp_path / "runs")]) == options.BAD_INPUT
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_option_is_no_part_of_what_a_call_is(tmp_path):
    store = Store(tmp_path / "store")
    keys = {opened(SEARCH, store, *argv)[1].key for argv in ([], ["--log", "tensorboard,optuna"])}
    assert len(keys) == 1


def test_a_search_writes_both_and_a_store_gives_them_back(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lthray.study.queue.assemble", assemble)  # `walked` may have replaced it
    argv = ["--local", "--log", "tensorboard", "optuna", "--trials"]
    assert run_page(SEARCH, [*argv, "2"]) == options.DONE
    assert run_page(SEARCH, [*argv, "3"]) == options.DONE  # the same call, extended
    said = capsys.readouterr().out
    (look,) = {line.split(":  ")[1] for line in said.splitlines() if "optuna-dashboard" in line}
    assert shlex.split(look) == ["optuna-dashboard", "runs/optuna.log"]
    files = {path: path.read_bytes() for path in Path("runs/tensorboard").rglob(NAME)}
    assert len(files) == 3
    for content in files.values():
        steps = [step for step, _ in numbers(read(content))["loss/excess"]]
        assert steps == sorted(set(steps))
        assert len(steps) > 1
    facts = facts_of(Path("runs/optuna.log"))
    assert [state.is_finished() for _, state, *_ in facts] == [True] * 3

    for path in [*files, Path("runs/optuna.log")]:
        path.unlink()
    assert main(["record", "--log", "optuna,tensorboard"]) == options.DONE
    said = capsys.readouterr().out
    assert "3 trials recorded in runs/tensorboard" in said
    assert "3 trials recorded in runs/optuna.log" in said
    assert {path: path.read_bytes() for path in Path("runs/tensorboard").rglob(NAME)} == files
    assert facts_of(Path("runs/optuna.log")) == facts
    operations = [json.loads(line) for line in Path("runs/optuna.log").read_text().splitlines()]
    assert sum(each["op_code"] == 4 for each in operations) == 3


def test_a_trial_alone_is_written_and_no_search_holds_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["trial", *argv_of(TINY), "--log"]
    assert main([*words, "optuna"]) == options.BAD_INPUT
    assert "--log optuna: a trial is no search" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert main([*words, "tensorboard"]) == options.DONE
    assert "tensorboard --logdir runs/tensorboard" in capsys.readouterr().out
    (path,) = Path("runs/tensorboard").rglob(NAME)
    assert numbers(read(path.read_bytes()))["loss/excess"]


def test_a_root_that_is_only_read_is_written_where_a_log_is_asked_for(
    tmp_path, capsys, monkeypatch
):
    store = Store(tmp_path / "runs" / "store")
    opened(LIST, store)
    root = str(tmp_path / "runs")
    fault = lambda place: "may not be written" if str(place) == root else ""  # noqa: E731
    monkeypatch.setattr("lthray.config.addresses.unwritable", fault)
    elsewhere = ["record", "--out", root, "--tracking-uri", uri_of(tmp_path)]
    assert main(elsewhere) == options.DONE
    assert main([*elsewhere, "--log", "tensorboard"]) == options.BAD_INPUT
    assert "may not be written" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "tensorboard").exists()
