"""A profile: the facts of a site and the defaults of its jobs, by name, from ``daskhpc.yaml``."""

from __future__ import annotations

import difflib
import os
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..errors import SettingsError
from ..settings import PREFIX
from .config_files import ConfigFile, read
from .job_spec import JobSpec
from .site import Site

VARIABLE = f"{PREFIX}PROFILE"
JOB = "job"


@dataclass(frozen=True, slots=True)
class Profile:
    """A site, and what its jobs ask for if no option of `submit` changes it.

    Attributes
    ----------
    name : str
        Empty if there is no profile.
    site : Site
    job : Mapping[str, Any]
        Options of `JobSpec` by name, as they were written; they are valid.
    sources : Mapping[str, str]
        Where each value is from, by ``memory`` and ``job.account``; what is not in it is a default.
    chosen_by : str
        What chose this profile: an option, a variable, a file, or that it is the only one.

    Examples
    --------
    >>> file = ConfigFile("daskhpc.yaml", {"profiles": {"delft": {"memory": "per-cpu", "job": {"account": "ae-2"}}}})
    >>> profile = choose([file])
    >>> profile.site.memory, profile.job, profile.sources["job.account"]
    ('per-cpu', {'account': 'ae-2'}, 'daskhpc.yaml')
    """

    name: str
    site: Site
    job: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    chosen_by: str = "there is none"


def load(name: str | None = None, env: Mapping[str, str] | None = None) -> Profile:
    """The profile of a name, or the one that ``profile:`` or ``DASK_DASKHPC__PROFILE`` names, or the only one.

    Parameters
    ----------
    name : str, optional
    env : Mapping[str, str], optional
        This process's environment by default.

    Raises
    ------
    SettingsError
        If there is no profile of that name, a key that does not exist, or a value that its key does not take. If there
        are several profiles and none of them is chosen.
    """
    given = os.environ if env is None else env
    return choose(read(given), name, given.get(VARIABLE))


def choose(files: Sequence[ConfigFile], name: str | None = None, variable: str | None = None) -> Profile:
    """The profile that holds, by the files' content: see `load`."""
    profiles = _profiles(files)
    named = [(str(file.values["profile"]), file.path) for file in files if file.values.get("profile")]
    if name:
        chosen, by = name, "--profile"
    elif variable:
        chosen, by = variable, VARIABLE
    elif named:
        chosen, by = named[-1]
    elif len(profiles) <= 1:
        chosen, by = next(iter(profiles), ""), "it is the only one" if profiles else "there is none"
    else:
        first = next(iter(profiles))
        raise SettingsError(
            "There are several profiles, and none of them is chosen.",
            ", ".join(profiles),
            f"--profile {first}, or in daskhpc.yaml, under 'daskhpc:', the line 'profile: {first}'",
        )
    if not chosen:
        return Profile("", Site())
    if chosen not in profiles:
        close = difflib.get_close_matches(chosen, profiles, n=1)
        names = ", ".join(profiles) or "none"
        todo = f"--profile {close[0]}" if close else "daskhpc profile --detect, which writes one"
        raise SettingsError(f"There is no profile {chosen!r}.", f"{by}; the profiles are {names}", todo)
    return _checked(chosen, profiles[chosen], by)


def _profiles(files: Sequence[ConfigFile]) -> dict[str, dict[str, tuple[Any, str]]]:
    """Each profile's values with the file of each; a later file changes single values of an earlier one's profile."""
    profiles: dict[str, dict[str, tuple[Any, str]]] = {}
    for file in files:
        listed = _mapping(file.values.get("profiles") or {}, "profiles", file.path)
        for name, content in listed.items():
            values = profiles.setdefault(str(name), {})
            for key, value in _mapping(content or {}, f"profiles: {name}", file.path).items():
                key = str(key).replace("-", "_")
                if key != JOB:
                    values[key] = (value, file.path)
                    continue
                options = _mapping(value or {}, f"profiles: {name}: {JOB}", file.path)
                values |= {f"{JOB}.{str(option).replace('-', '_')}": (v, file.path) for option, v in options.items()}
    return profiles


def _mapping(value: Any, key: str, path: str) -> Mapping[Any, Any]:
    if isinstance(value, Mapping):
        return value
    raise SettingsError(f"The entry '{key}:' in {path} is not names with values.", repr(value), "daskhpc config")


def _checked(name: str, values: Mapping[str, tuple[Any, str]], by: str) -> Profile:
    """The profile with every key and value checked, also those that no command needs now."""
    parsers = site_keys()
    site: dict[str, Any] = {}
    job: dict[str, Any] = {}
    for key, (value, path) in values.items():
        option = key.removeprefix(f"{JOB}.")
        known = JobSpec.declared() if key.startswith(f"{JOB}.") else {**parsers, JOB: None}
        if option not in known:
            raise _unknown(name, key, path, list(known))
        if value is None:
            continue
        try:
            if option == key:
                site[key] = parsers[key](value)
            else:
                JobSpec.declared()[option].parse(value)
                job[option] = value
        except ValueError as error:
            raise SettingsError(
                f"{key} of the profile {name!r} does not take {value!r}.", f"{path}: {value!r}", str(error)
            ) from None
    sources = {key: path for key, (value, path) in values.items() if value is not None}
    return Profile(name, Site(**site), job, sources, by)


def _unknown(name: str, key: str, path: str, known: list[str]) -> SettingsError:
    option = key.removeprefix(f"{JOB}.")
    close = difflib.get_close_matches(option, known, n=1)
    if option == key and option in JobSpec.declared():
        close = [f"{JOB}: {{{option}: ...}}, since it is an option of a job"]
    found = f"{path}; the keys there are " + ", ".join(known)
    return SettingsError(f"The profile {name!r} has no key {key!r}.", found, close[0] if close else "")


def site_keys() -> dict[str, Callable[[Any], Any]]:
    """For each key of a profile beside ``job`` what makes its value; its ValueError describes what the key takes."""
    hints = get_type_hints(Site)
    return {f.name: _parser(hints[f.name]) for f in fields(Site)}


def _parser(kind: Any) -> Callable[[Any], Any]:
    literal = next((part for part in (kind, *get_args(kind)) if get_origin(part) is Literal), None)
    choices = get_args(literal)

    def parse(value: Any) -> Any:
        if choices:
            if value not in choices:
                raise ValueError("one of " + ", ".join(map(str, choices)))
            return value
        if get_origin(kind) is tuple:
            texts = [value] if isinstance(value, str) else value
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise ValueError("a list of texts")
            return tuple(texts)
        if kind is bool:
            if not isinstance(value, bool):
                raise ValueError("true or false")
            return value
        if kind is int or (isinstance(kind, types.UnionType) and int in get_args(kind)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError("a whole number, 1 or more")
            return value
        if not isinstance(value, str) or not all(c.isprintable() for c in value):
            raise ValueError("a text of one line")
        return value

    return parse
