"""Stored rounds -> event files of TensorBoard, one a trial, as `tensorboard --logdir` reads them.

What a file holds is a function of what is stored, in the order in which it was made. So a file that
was begun only grows, and a round is never in it twice, however often a study was cut.
"""

import io
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthray.core.keys import canonical
from lthray.core.record import Round, TrialRecord
from lthray.study.ledger import FAILED
from lthray.study.results import config_of
from lthray.tracking.contents import experiment_name, last_moment, pictures_of

if TYPE_CHECKING:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

NAME = "events.out.tfevents.lthray"  # TensorBoard looks for the third of these words
VERSION = "brain.Event:2"  # what an event file begins with
CURVES = ("train", "heldout", "accuracy")  # columns of a learning curve, behind its step
COLOURS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
"""Mode of a picture -> number of its channels, the only thing that TensorBoard knows of it."""
HPARAMS, HPARAMS_VERSION = "hparams", 0  # name of the plugin, version of its messages
STRANGE = re.compile(r"[^\w .,%+=-]", re.ASCII)  # what a name of a folder may not have
LONGEST = 120  # characters of a trial's name in that of its folder


class EventFiles:
    """Writes trials below one folder: experiment / trial / event file."""

    def __init__(self, folder: Path):
        self.folder = folder

    def record(self, trial: TrialRecord, about: Mapping[str, Any]) -> None:
        """Bring the event file of a trial up to what is stored.

        `about` is what the trial's call holds beside its plan.
        """
        study = STRANGE.sub("_", experiment_name(about))
        place = self.folder / study / folder_of(trial)
        place.mkdir(parents=True, exist_ok=True)
        grow(place / NAME, packed(events(trial, about)))


def folder_of(trial: TrialRecord) -> str:
    """Return the name of a trial's folder, by which TensorBoard lists it: readable, then unique."""
    call, _, number = trial.id.rpartition("-")
    name = STRANGE.sub("_", trial.name)[:LONGEST].strip()
    return f"{name} {call[:8]}-{number}"


def grow(path: Path, content: bytes) -> None:
    """Let the file at `path` hold `content`.

    What it lacks is added behind what it holds, as readers of event files expect. A file that holds
    anything else is replaced.
    """
    there = path.read_bytes() if path.exists() else b""
    if there and content.startswith(there):
        with path.open("ab") as file:
            file.write(content[len(there) :])
        return
    part = path.with_name("part")
    part.write_bytes(content)
    os.replace(part, path)


def packed(written: "Iterator[Event]") -> bytes:
    """Return events as the bytes of an event file."""
    from tensorboardX.record_writer import RecordWriter

    with tempfile.TemporaryDirectory(prefix="lthray-") as folder:
        path = Path(folder) / NAME
        writer = RecordWriter(str(path))
        for event in written:
            writer.write(event.SerializeToString(deterministic=True))
        writer.close()
        return path.read_bytes()


def events(trial: TrialRecord, about: Mapping[str, Any]) -> "Iterator[Event]":
    """Yield the events of a trial in the order in which they came about; a round is a step."""
    from tensorboardX.proto.event_pb2 import Event

    begun = trial.point.at
    yield Event(wall_time=begun, file_version=VERSION)
    yield Event(wall_time=begun, summary=_start(trial, about))
    for r in trial.rounds:
        for step, summary in _of_round(r):
            yield Event(wall_time=r.created, step=step, summary=summary)
    if trial.end:
        yield Event(wall_time=last_moment(trial), summary=_end(trial))


def _of_round(r: Round) -> "Iterator[tuple[int, Summary]]":
    """Yield step and summary of what a round holds: metrics, learning curves, pictures."""
    from tensorboardX.proto.summary_pb2 import Summary

    measured = [Summary.Value(tag=name, simple_value=x) for name, x in r.metrics.items()]
    yield r.index, Summary(value=measured)
    for step, *losses in r.curve:
        named = zip(CURVES, losses, strict=False)  # only a classifier has an accuracy
        tags = {f"curve/{name}/round_{r.index:02d}": loss for name, loss in named}
        yield int(step), Summary(value=[_scalar(tag, loss) for tag, loss in tags.items()])
    for name in sorted(pictures_of(r)):
        yield r.index, Summary(value=[_picture(name.replace("_", "/", 1), r.files[name])])


def _scalar(tag: str, number: float) -> "Summary.Value":
    from tensorboardX.proto.summary_pb2 import Summary

    return Summary.Value(tag=tag, simple_value=number)


def _picture(tag: str, png: bytes) -> "Summary.Value":
    from PIL import Image
    from tensorboardX.proto.summary_pb2 import Summary

    opened = Image.open(io.BytesIO(png))
    image = Summary.Image(
        height=opened.height,
        width=opened.width,
        colorspace=COLOURS.get(opened.mode, COLOURS["RGB"]),
        encoded_image_string=png,
    )
    return Summary.Value(tag=tag, image=image)


# the plugin for hyperparameters


def hyperparameters(trial: TrialRecord, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the words in which a trial may differ from others of its study, and its seed.

    A word that a search did not draw for it is left out: its condition did not hold.
    """
    flat, drawn = config_of(trial.point).flat(), trial.point.words
    shown = {"seed": trial.point.seed, "control": trial.point.control}
    for word in about["varied"]:
        if word in flat and word not in about["plan"].get("space", {}):
            shown[word] = flat[word]
    return {**shown, **drawn}


def _start(trial: TrialRecord, about: Mapping[str, Any]) -> "Summary":
    """Return the summary that says with which words a trial began."""
    from tensorboardX.proto.plugin_hparams_pb2 import SessionStartInfo

    start = SessionStartInfo(start_time_secs=trial.point.at)
    for word, value in sorted(hyperparameters(trial, about).items()):
        if isinstance(value, bool):
            start.hparams[word].bool_value = value
        elif isinstance(value, int | float):
            start.hparams[word].number_value = value
        else:
            start.hparams[word].string_value = value if isinstance(value, str) else canonical(value)
    return _of_plugin("_hparams_/session_start_info", session_start_info=start)


def _end(trial: TrialRecord) -> "Summary":
    """Return the summary that says how a trial ended."""
    from tensorboardX.proto.api_pb2 import Status
    from tensorboardX.proto.plugin_hparams_pb2 import SessionEndInfo

    status = Status.Value("STATUS_FAILURE" if trial.status == FAILED else "STATUS_SUCCESS")
    ended = SessionEndInfo(status=status, end_time_secs=last_moment(trial))
    return _of_plugin("_hparams_/session_end_info", session_end_info=ended)


def _of_plugin(tag: str, **message: Any) -> "Summary":
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

    data = HParamsPluginData(version=HPARAMS_VERSION, **message)
    content = data.SerializeToString(deterministic=True)
    plugin = SummaryMetadata.PluginData(plugin_name=HPARAMS, content=content)
    return Summary(value=[Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin))])
