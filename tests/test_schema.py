"""The words of a config for other programs: JSON schema and completion."""

import json
import subprocess

import jsonschema
import pytest

from lthray.__main__ import COMMANDS, main
from lthray.config import options, shell
from lthray.config.fields import words
from lthray.config.presets import PRESETS
from lthray.config.schema import completion, schema
from lthray.config.trial import TrialConfig

BAD = [("prune.ladder", [2.0]), ("prune.criterion", "magnitud"), ("train.steps", -1), ("no", 1)]


def test_it_is_a_schema_of_every_word_and_the_presets_are_valid():
    made = json.loads(json.dumps(schema()))
    jsonschema.Draft202012Validator.check_schema(made)
    assert list(made["properties"]) == list(words(TrialConfig))
    for preset in ({}, TrialConfig().flat(), *PRESETS.values()):
        jsonschema.validate(json.loads(json.dumps(preset)), made)


@pytest.mark.parametrize(("word", "value"), BAD, ids=[word for word, _ in BAD])
def test_what_a_config_refuses_by_itself_the_schema_refuses_too(word, value):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({word: value}, schema())


def test_the_command_prints_it(capsys):
    assert main(["schema"]) == options.DONE
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(schema()))
    assert main(["schema", "--frob"]) == options.BAD_INPUT


def completed(line: str) -> list[str]:
    """Return what bash offers behind a command line."""
    typed = line.split(" ")
    script = completion(COMMANDS) + (
        f"COMP_WORDS=({' '.join(repr(word) for word in typed)}); COMP_CWORD={len(typed) - 1}\n"
        "_lthray; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_commands_pages_options_and_values_are_completed():
    assert completed("lthray ex") == ["explain", "export"]
    assert completed("lthray study ") == shell.pages("study")
    assert completed("lthray analysis rew") == ["rewinding"]
    assert completed("lthray study width --prune.crit") == ["--prune.criterion"]
    assert completed("lthray study width --max") == ["--max-concurrent"]
    assert "taylor" in completed("lthray trial --prune.criterion t")
    assert completed("lthray report --exp") == ["--experiment"]
