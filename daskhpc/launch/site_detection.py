"""A site's facts from what its own commands print: pure functions; `cli.profile` asks the questions.

A fact is written down only if an answer shows it. If no answer shows a fact, its default stays, and a note names it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

LAUNCHERS = {
    "ibrun": "ibrun",
    "mvp2run": "mvp2run -c {ranks} -m cyclic -a",
}
"""Launchers of single sites that stand in for srun and mpiexec, and each one's option for the number of ranks."""


@dataclass(frozen=True, slots=True)
class SiteAnswer:
    """What one question was answered: the exit code, None if nothing answered, and the text."""

    code: int | None
    text: str


@dataclass(frozen=True, slots=True)
class DetectedSite:
    """What was found.

    Attributes
    ----------
    name : str
        The cluster's own name, fit for a profile.
    facts : Mapping[str, Any]
        Keys of the profile.
    job : Mapping[str, Any]
        Keys below its ``job``.
    reasons : Mapping[str, str]
        For each of both what showed it.
    notes : tuple[str, ...]
        What a person should know or choose.
    """

    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    job: Mapping[str, Any] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class SiteFacts:
    """Collects facts, each with what showed it."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.job: dict[str, Any] = {}
        self.reasons: dict[str, str] = {}
        self.notes: list[str] = []

    def fact(self, key: str, value: Any, reason: str) -> None:
        self.facts[key], self.reasons[key] = value, reason

    def option(self, key: str, value: Any, reason: str) -> None:
        self.job[key], self.reasons[f"job.{key}"] = value, reason

    def site(self, name: str) -> DetectedSite:
        tame = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "site"
        return DetectedSite(tame, self.facts, self.job, self.reasons, tuple(self.notes))


def answer_text(answers: Mapping[str, SiteAnswer], name: str) -> str:
    answer = answers.get(name)
    return answer.text if answer is not None and answer.code == 0 else ""


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "without a word"


def add_session(found: SiteFacts, commands: Collection[str], modules: Sequence[str]) -> None:
    """What this session shows: a launcher of the site's own, and loaded modules."""
    for name, launcher in LAUNCHERS.items():
        if name in commands:
            found.fact("launcher", launcher, f"{name} is on the path")
    if modules:
        found.fact("modules", list(modules), "the modules that are loaded now")


def profile_yaml(site: DetectedSite, name: str) -> str:
    """The text of a file of settings with a profile, each value with what showed it.

    Examples
    --------
    >>> print(profile_yaml(DetectedSite("a", {"memory": "none"}, {}, {"memory": "sinfo"}, ("A note.",)), "a"))
    # What daskhpc found out about this site. What daskhpc.yaml beside this file says comes before it.
    # A note.
    daskhpc:
      profiles:
        a:
          memory: none  # sinfo
    <BLANKLINE>
    """
    head = "# What daskhpc found out about this site. What daskhpc.yaml beside this file says comes before it."
    lines = [head, *(f"# {_one_line(note)}" for note in site.notes), "daskhpc:", "  profiles:", f"    {_yaml(name)}:"]
    lines += [_yaml_line(6, key, value, site.reasons.get(key, "")) for key, value in site.facts.items()]
    if site.job:
        lines.append("      job:")
        lines += [_yaml_line(8, key, value, site.reasons.get(f"job.{key}", "")) for key, value in site.job.items()]
    return "\n".join(lines) + "\n"


def _yaml_line(indent: int, key: str, value: Any, reason: str) -> str:
    return f"{' ' * indent}{key}: {_yaml(value)}" + (f"  # {_one_line(reason)}" if reason else "")


def _yaml(value: Any) -> str:
    """A value in a form that YAML reads back as it is; JSON is one, and a plain word is nicer to read."""
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w.-]*", value)
    if plain and value.lower() not in ("true", "false", "yes", "no", "on", "off", "null", "y", "n"):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
