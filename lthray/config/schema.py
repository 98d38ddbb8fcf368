"""The words of a config for other programs: as a JSON schema, and as completion in a shell."""

from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter

from lthray.config import shell
from lthray.config.fields import words
from lthray.config.options import Asked, Options, literals, option_of
from lthray.config.trial import TrialConfig

DIALECT = "https://json-schema.org/draft/2020-12/schema"
COMPLETION = """\
# eval "$(lthray completion)" in ~/.bashrc; in zsh after autoload -U bashcompinit && bashcompinit
_lthray() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
    local command="${{COMP_WORDS[1]}}" known
    if [ "$COMP_CWORD" -eq 1 ]; then
        known="{commands}"
    elif [ "$COMP_CWORD-$command" = 2-study ]; then
        known="{studies}"
    elif [ "$COMP_CWORD-$command" = 2-analysis ]; then
        known="{analyses}"
    else
        case "$before" in
{values}
        *)  case "$command" in
            study) known="{study_options}" ;;
            trial) known="{trial_options}" ;;
            *) known="{other_options}" ;;
            esac ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$known" -- "$word"))
}}
complete -o default -F _lthray lthray
"""


def schema() -> dict[str, Any]:
    """Return the JSON schema of a preset: dotted words of a config, each with its text and default.

    Which words go together is checked when a config is made, and is not in the schema.
    """
    properties = {}
    for word, (kind, default, about) in words(TrialConfig).items():
        text = {"description": " ".join(about.split()), "default": default}
        properties[word] = TypeAdapter(kind).json_schema() | text
    return {
        "$schema": DIALECT,
        "title": "Words of a trial of lthray",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def completion(commands: Iterable[str]) -> str:
    """Return a script for bash and zsh that completes commands, pages, options and their values."""
    of_trials, of_studies = words(TrialConfig), words(Options)
    cases = []
    for word, (kind, *_) in {**of_studies, **of_trials}.items():
        values = list(map(str, literals(kind)))
        if values:
            cases.append(f'        {option_of(word)}) known="{" ".join(values)}" ;;')
    return COMPLETION.format(
        commands=" ".join(commands),
        studies=" ".join(shell.pages("study")),
        analyses=" ".join(shell.pages("analysis")),
        values="\n".join(cases),
        study_options=_options([*of_studies, *of_trials]),
        trial_options=_options(["out", *of_trials]),
        other_options=_options(words(Asked)),
    )


def _options(known: Iterable[str]) -> str:
    return " ".join(map(option_of, [*known, "help"]))
