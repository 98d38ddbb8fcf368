"""The note of an experiment: the question, links to its views, the verdict and how it was made."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

NOTE = "mlflow.note.content"  # tag of an experiment, or of a run, that MLflow shows as Markdown
VERDICT = "## Latest verdict"
MADE = "Made by"
WHOLE = "## The study"
LINKS = re.compile(r" · \[[^\]]*\]\(#/experiments/[^)]*\)")
LONGEST = 18_000  # characters; MLflow takes 20,000 in a tag


@dataclass(frozen=True)
class Note:
    """What the note of an experiment says."""

    question: str
    """The study's own page, in Markdown; its first paragraph is the question."""
    told: Sequence[str] = ()
    """The verdict, sentence by sentence; empty while there is none."""
    command: str = ""
    """Command that made what the verdict is on."""

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the note that `text`, of this lthray or an older one, holds."""
        head, _, rest = text.partition(f"\n{VERDICT}\n")
        verdict, _, whole = (rest or head).partition(f"\n{WHOLE}\n")
        told, _, command = verdict.partition(f"\n{MADE}\n") if rest else ("", "", "")
        lines = [line[2:] for line in told.splitlines() if line.startswith("* ")]
        question = whole if whole else LINKS.sub("", head)
        return cls(question.strip(), tuple(lines), command.strip())

    def text(self, links: Sequence[tuple[str, str]] = ()) -> str:
        """Return the note as Markdown; `links` are words and where they lead.

        MLflow shows the first line until the note is opened, so links stand in it.
        """
        first, _, more = self.question.partition("\n\n")
        linked = [f"[{words}]({target})" for words, target in links]
        parts = [" · ".join([first, *linked])]
        if self.told:
            parts += [VERDICT, "\n".join(self._lines())]
        if self.told and self.command:
            parts += [MADE, f"    {self.command}"]
        if more:
            parts += [WHOLE, self.question]
        return "\n\n".join(parts)

    def _lines(self) -> list[str]:
        """Return the sentences of the verdict as a list, the last ones left out where all would be
        too long for a tag."""
        room = LONGEST - len(self.question)
        lines: list[str] = []
        for line in self.told:
            room -= len(line) + 3
            if room < 0:
                left = len(self.told) - len(lines)
                return [*lines, f"* {left} more sentences: `python analysis/report.py`"]
            lines.append(f"* {line}")
        return lines
