"""What `lthray explain` says of an object, of a trial, and of where two trials part."""

import pytest

from lthray.__main__ import main
from lthray.config.fields import ConfigError
from lthray.core.store import Store
from lthray.explain import explain
from lthray.study.ledger import Ledger

from .conftest import TINY


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two trials of one root, which differ in the criterion alone."""
    out = tmp_path_factory.mktemp("root")
    words = _words()
    for criterion in ("magnitude", "random"):
        line = ["trial", *words, "--prune.criterion", criterion, "--out", str(out)]
        assert main(line) == 0
    return out


def _words() -> list[str]:
    words = []
    for word, value in TINY.items():
        texts = value if isinstance(value, tuple) else (value,)
        words += [f"--{word}", *map(str, texts)]
    return words


def ids(root) -> list[str]:
    ledgers = Ledger.all(Store(root / "store"))
    by_criterion = {}
    for ledger in ledgers:
        (entry,) = ledger
        criterion = entry.point.config.get("prune.criterion", "magnitude")
        by_criterion[criterion] = f"{ledger.key[:12]}-{entry.number}"
    return [by_criterion["magnitude"], by_criterion["random"]]


def test_where_two_trials_part_and_why(root, capsys):
    assert main(["explain", *ids(root), "--out", str(root)]) == 0
    said = capsys.readouterr().out
    assert "part in round 1" in said
    assert "prune.criterion: the default  and  random" in said


def test_trials_that_differ_in_a_measure_part_there(tmp_path, capsys):
    words = [text for word, value in TINY.items() for text in _texts(word, value)]
    for timesteps in ("4", "8"):
        measured = [*words, "--measure.timesteps", timesteps, "--out", str(tmp_path)]
        assert main(["trial", *measured]) == 0
    names = [f"{ledger.key[:12]}-0" for ledger in Ledger.all(Store(tmp_path / "store"))]
    capsys.readouterr()
    assert main(["explain", *names, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "part in round 0" in said
    assert "measure.timesteps" in said


def _texts(word: str, value: object) -> list[str]:
    values = value if isinstance(value, tuple) else (value,)
    return [] if word == "measure.timesteps" else [f"--{word}", *map(str, values)]


def test_a_trial_is_told_by_its_words_and_the_keys_of_its_rounds(root):
    lines = explain(Store(root / "store"), ids(root)[1:])
    assert '  prune.criterion = "random"' in lines
    assert sum(line.startswith("round ") for line in lines) == 3


def test_an_object_is_told_from_its_key(root):
    store = Store(root / "store")
    told = 0
    for key, part in store:
        facts = store.facts(key, part)
        if facts is None or "what" not in facts:
            continue
        lines = explain(store, [key[:20]])
        kind = facts["what"]["kind"]
        assert f"  {kind} {key[:16]}" in lines
        assert any(line.startswith("  made 20") for line in lines)
        assert any(line.startswith("  by code ") for line in lines)
        assert any("used by trial" in line for line in lines)
        told += 1
    assert told > 20


def test_a_shared_object_is_used_by_both(root):
    store = Store(root / "store")
    trials = [next(iter(ledger)) for ledger in Ledger.all(store)]
    dense = trials[0].point.rounds[0]["weights"]
    assert dense == trials[1].point.rounds[0]["weights"]
    assert sum("used by" in line for line in explain(store, [dense])) == 2


def test_an_object_that_no_trial_names_is_used_by_those_that_come_of_it(tmp_path):
    """The encoded images of a trial in latents are named by no round of it."""
    words = [*_words(), "--objective.name", "latent_denoise", "--latent.steps", "2"]
    assert main(["trial", *words, "--out", str(tmp_path)]) == 0
    store = Store(tmp_path / "store")
    (ledger,) = Ledger.all(store)
    kinds: dict[str, str] = {}
    for key, part in store:
        facts = store.facts(key, part) or {}
        if "what" in facts:
            kinds[key] = facts["what"]["kind"]
    assert "latents" in kinds.values()
    for key in kinds:
        uses = [line for line in explain(store, [key]) if "used by" in line]
        assert [f"trial {ledger.key[:16]}-0000" in line for line in uses] == [True]


@pytest.mark.parametrize("names", [["ffffffffffff"], ["000000000000-0"], [""]])
def test_a_name_that_nothing_has_is_refused(root, names):
    with pytest.raises(ConfigError, match=r"no (object|trial) of the store"):
        explain(Store(root / "store"), names)


def test_a_beginning_that_several_have_is_refused_with_them(root, capsys):
    """Of keys and of trials: what is offered is enough to name one."""
    store = Store(root / "store")
    starts = [key[:1] for key, _ in store]
    start = max(starts, key=starts.count)
    both = sorted(f"{ledger.key[:16]}-0000" for ledger in Ledger.all(store))
    for name in (start, "-0"):
        with pytest.raises(ConfigError, match=rf"^'{name}': \d+ begin so, such as ") as caught:
            explain(store, [name])
        (line,) = caught.value.faults
        offered = line.partition("such as ")[2].partition(";")[0].split(", ")
        assert 2 <= len(offered) <= 5
        assert all(explain(store, [one]) for one in offered)
        assert name == start or offered == both
    assert main(["explain", start, "--out", str(root)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    whole = next(iter(Ledger.all(store))).key
    assert explain(store, [f"{whole}-0"]) == explain(store, [f"{whole[:16]}-0000"])


def test_the_command_wants_one_or_two_names(root, capsys):
    assert main(["explain", "--out", str(root)]) == 2
    assert "needs a key, or one or two trials" in capsys.readouterr().err
