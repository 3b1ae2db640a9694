"""Where every setting comes from, and what it takes."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from daskhpc import start
from daskhpc.cluster import bootstrap, initialize
from daskhpc.errors import SettingsError
from daskhpc.settings import PREFIX, Settings

HOSTILE = 'it\'s "a" folder; echo no\n$(false)'

SHOW = """
import json, sys
from daskhpc import Settings
settings = Settings.resolve(json.loads(sys.argv[1]))
print(json.dumps([{n: getattr(settings, n) for n in Settings.names()}, dict(settings.sources)]))
"""


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("DASK_")]:
        monkeypatch.delenv(name)


def resolve(arguments: Mapping[str, Any] | None = None, **config: Any) -> Settings:
    """Resolve in this process, whatever stands in this machine's own files."""
    return Settings.resolve(arguments, config)


def freshly(home: Path, arguments: Mapping[str, Any], **env: str) -> subprocess.CompletedProcess[str]:
    """Resolve in a fresh interpreter whose home is `home`."""
    return subprocess.run(
        [sys.executable, "-c", SHOW, json.dumps(arguments)],
        env={**os.environ, "HOME": str(home), **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


def places(
    tmp_path: Path, arguments: Mapping[str, Any], yaml: str, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Resolve freshly with a daskhpc.yaml in the folder that DASK_CONFIG names."""
    folder = tmp_path / HOSTILE
    folder.mkdir()
    (folder / "daskhpc.yaml").write_text(yaml)
    return freshly(tmp_path, arguments, DASK_CONFIG=str(folder), **env)


YAML = """
daskhpc:
  nthreads: 7
  memory-limit: 2 GB
  local_directory: "/a b; echo c"
  interface: null
  dashboard: off
"""
BY_FILE, BY_ARGUMENT = "dask.config", "argument"


def by(name: str) -> str:
    return f"DASK_DASKHPC__{name}"


@pytest.mark.parametrize(
    ("arguments", "env", "expected"),
    [
        pytest.param(
            {},
            {},
            {
                "nthreads": (7, BY_FILE),
                "memory_limit": (2 * 10**9, BY_FILE),
                "local_directory": ("/a b; echo c", BY_FILE),
                "interface": (None, "default"),
                "dashboard": (False, BY_FILE),
                "processes": (1, "default"),
                "headroom": (0.1, "default"),
            },
            id="file-over-default",
        ),
        pytest.param(
            {},
            {
                by("NTHREADS"): "3",
                by("MEMORY_LIMIT"): "0.5",
                by("INTERFACE"): "ib0",
                by("DASHBOARD"): "True",
                by("START_DEADLINE"): "1.5",
                by("LOG_LEVEL"): "DEBUG",
            },
            {
                "nthreads": (3, by("NTHREADS")),
                "memory_limit": (0.5, by("MEMORY_LIMIT")),
                "interface": ("ib0", by("INTERFACE")),
                "dashboard": (True, by("DASHBOARD")),
                "start_deadline": (1.5, by("START_DEADLINE")),
                "log_level": ("debug", by("LOG_LEVEL")),
                "local_directory": ("/a b; echo c", BY_FILE),
            },
            id="variable-over-file",
        ),
        pytest.param(
            {"nthreads": 2, "memory_limit": "1 GB", "interface": None, "dashboard": True, "processes": None},
            {by("NTHREADS"): "3", by("INTERFACE"): "ib0", by("PROCESSES"): "4"},
            {
                "nthreads": (2, BY_ARGUMENT),
                "memory_limit": (10**9, BY_ARGUMENT),
                "interface": ("ib0", by("INTERFACE")),
                "dashboard": (True, BY_ARGUMENT),
                "processes": (4, by("PROCESSES")),
            },
            id="argument-over-all-and-None-is-not-given",
        ),
    ],
)
def test_precedence(
    tmp_path: Path, arguments: dict[str, Any], env: dict[str, str], expected: dict[str, tuple[Any, str]]
) -> None:
    done = places(tmp_path, arguments, YAML, env)
    assert done.returncode == 0, done.stderr
    values, sources = json.loads(done.stdout)
    assert {name: (values[name], sources[name]) for name in expected} == expected
    assert set(sources) == set(values) == set(Settings.names())


def test_the_users_own_file_is_read(tmp_path: Path) -> None:
    (tmp_path / ".config" / "dask").mkdir(parents=True)
    (tmp_path / ".config" / "dask" / "daskhpc.yaml").write_text("daskhpc: {workers: 5}")
    values, sources = json.loads(freshly(tmp_path, {}).stdout)
    assert (values["workers"], sources["workers"]) == (5, BY_FILE)


@pytest.mark.parametrize(
    ("yaml", "env", "words"),
    [
        ("daskhpc: {nthread: 2}", {}, ["no setting 'nthread'", "dask.config", "try:   nthreads"]),
        ("daskhpc: {memory-limits: 2}", {}, ["no setting 'memory_limits'", "dask.config", "try:   memory_limit"]),
        ("", {by("PROCESS"): "2"}, ["no setting 'process'", by("PROCESS"), "try:   processes"]),
        ("daskhpc: {nthreads: many}", {}, ["nthreads does not take 'many'", "dask.config"]),
        ("", {by("NTHREADS"): "0"}, ["nthreads does not take 0", by("NTHREADS")]),
        ("daskhpc: [nthreads]", {}, ["daskhpc:", "['nthreads']"]),
        ("daskhpc: 3", {}, ["daskhpc:", "3"]),
    ],
)
def test_refused_with_its_place(tmp_path: Path, yaml: str, env: dict[str, str], words: list[str]) -> None:
    done = places(tmp_path, {}, yaml, env)
    assert done.returncode == 1
    message = done.stderr[done.stderr.index("SettingsError") :]
    for word in words:
        assert word in message


@pytest.mark.parametrize("config", [{}, {"nthreads": None}])
def test_the_defaults(config: dict[str, Any]) -> None:
    settings = Settings.resolve({}, config)
    assert settings == Settings()
    assert set(settings.sources.values()) == {"default"}
    assert (settings.memory_limit, settings.processes, settings.headroom, settings.dashboard) == ("auto", 1, 0.1, True)


def test_every_default_is_a_value_that_the_setting_takes() -> None:
    defaults = {name: value for name in Settings.names() if (value := getattr(Settings(), name)) is not None}
    assert resolve(defaults) == Settings()


OF_JOBS = {"nodes", "time", "profile", "job"}
"""The arguments of `start` that ask for jobs: options of `daskhpc submit`."""


def parameter_texts(function: Callable[..., Any]) -> dict[str, str]:
    """What a docstring says of each parameter, in one line."""
    section = re.search(r"Parameters\n-+\n(.*?)\n\n\w+\n-+\n", inspect.getdoc(function) or "", re.DOTALL)
    assert section is not None
    parts = re.split(r"^(\w+) : .*\n", section[1], flags=re.MULTILINE)[1:]
    return {name: " ".join(text.split()) for name, text in zip(parts[::2], parts[1::2], strict=True)}


@pytest.mark.parametrize("function", [initialize, start])
def test_what_starts_a_cluster_takes_settings_as_they_are_declared(function: Callable[..., Any]) -> None:
    declared, types = Settings.declared(), {f.name: str(f.type) for f in dataclasses.fields(Settings)}
    texts = parameter_texts(function)
    parameters = inspect.signature(function).parameters
    not_settings = {"nanny", "worker_class", "worker_options", "comm", "exit"} if function is initialize else OF_JOBS
    assert set(parameters) - set(declared) == not_settings
    for name in set(parameters) & set(declared):
        assert texts[name] == declared[name].text
        assert parameters[name].default is None, "None means that the setting comes from elsewhere"
        assert parameters[name].annotation == f"{types[name].removesuffix(' | None')} | None"


def test_every_setting_of_a_running_cluster_is_an_argument_of_start() -> None:
    of_the_command = {"mpi", "mpiexec", "checkpoint", "retry_failed"}
    assert set(inspect.signature(start).parameters) - OF_JOBS == set(Settings.names()) - of_the_command
    only_later = {"worker_deadline", "workers", *OF_JOBS}
    assert set(inspect.signature(start).parameters) - set(inspect.signature(initialize).parameters) == only_later


@pytest.mark.parametrize("name", sorted(set(inspect.signature(start).parameters) - OF_JOBS))
def test_every_argument_of_start_becomes_its_setting(name: str) -> None:
    with pytest.raises(SettingsError, match=f"The setting {name} does not take ''"):
        start(**{name: ""})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(set(inspect.signature(initialize).parameters) & set(Settings.names())))
def test_every_argument_of_initialize_becomes_its_setting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr(bootstrap, "start_ranks", lambda arguments, *rest: given.update(arguments))
    value = object()
    initialize(**{name: value})  # type: ignore[arg-type]
    assert {n: v for n, v in given.items() if v is not None} == {name: value}


@pytest.mark.parametrize("function", [initialize, start])
@pytest.mark.parametrize(("name", "todo"), [("threads", "nthreads"), ("process", "processes"), ("checkpoint", "run")])
def test_an_argument_that_is_no_setting_is_refused(function: Callable[..., Any], name: str, todo: str) -> None:
    with pytest.raises(SettingsError, match=rf"\(\) has no setting '{name}'") as refused:
        function(**{name: 1})
    assert "its settings are " in refused.value.found
    assert "nthreads, " in refused.value.found
    assert todo in refused.value.todo


def test_help_lists_every_setting() -> None:
    text = " ".join((Settings.__doc__ or "").split())
    for name, setting in Settings.declared().items():
        assert f" {name} : " in text
        assert setting.text in text


def test_frozen() -> None:
    settings = resolve({"nthreads": 2})
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.nthreads = 3  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        settings.nthread = 3  # type: ignore[attr-defined]
    assert {settings: 1}[resolve({"nthreads": 2})] == 1
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_an_unknown_name_lists_the_valid_ones_and_suggests_a_close_one() -> None:
    with pytest.raises(SettingsError) as caught:
        resolve({"nthread": 2})
    assert caught.value.happened == "There is no setting 'nthread'."
    assert caught.value.found.startswith("argument; ")
    for name in Settings.names():
        assert name in caught.value.found
    assert caught.value.todo == "nthreads"


def test_nothing_is_suggested_where_nothing_is_close() -> None:
    with pytest.raises(SettingsError) as caught:
        resolve(xyzzy=1)
    assert caught.value.todo == ""


@pytest.mark.parametrize("name", ["sources", "resolve", "names", "memory-limit", ""])
def test_what_is_no_setting_is_no_argument(name: str) -> None:
    with pytest.raises(SettingsError):
        resolve({name: "1"})


def test_hyphens_in_files() -> None:
    settings = resolve(**{"memory-limit": "1 MB", "log-level": "info", "local-directory": "a-b"})
    assert (settings.memory_limit, settings.log_level, settings.local_directory) == (10**6, "info", "a-b")


COUNTS = ["nthreads", "processes", "blas_threads", "workers"]
SECONDS = ["start_deadline", "worker_deadline", "time_margin"]
TEXTS = ["interface", "local_directory", "protocol", "dashboard_address", "mpi", "mpiexec"]

TAKEN: list[tuple[list[str], list[tuple[Any, Any]]]] = [
    (COUNTS, [(1, 1), ("2", 2), (3.0, 3), (10**6, 10**6)]),
    (SECONDS, [(1, 1.0), ("2.5", 2.5), ("2 minutes", 120.0), ("500 ms", 0.5)]),
    (TEXTS, [("a", "a"), ("/it's a; echo b\n", "/it's a; echo b\n")]),
    (["memory_limit"], [("auto", "auto"), (0.25, 0.25), (1.0, 1.0), (0, 0), ("0", 0), ("4GB", 4 * 10**9)]),
    (["memory_limit"], [("2 GiB", 2 * 2**30), (10**9, 10**9), (1e9, 10**9)]),
    (["headroom"], [(0, 0.0), (0.5, 0.5), ("0.2", 0.2)]),
    (["dashboard"], [(True, True), (False, False), ("no", False), ("On", True), ("0", False)]),
    (["log_level"], [("info", "info"), ("WARNING", "warning")]),
]


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [(name, *pair) for names, pairs in TAKEN for name in names for pair in pairs]
    + [
        # DASK_DASKHPC__DASHBOARD=0 arrives as a number, since dask.config reads it as Python
        pytest.param("dashboard", 0, False),
        pytest.param("dashboard", 1, True),
        # what daskhpc run --memory-limit=0.5 gives; read as 0 bytes it means no limit at all
        pytest.param("memory_limit", "0.5", 0.5),
    ],
)
def test_values(name: str, given: Any, value: Any) -> None:
    for settings in (resolve({name: given}), resolve(**{name: given})):
        assert getattr(settings, name) == value
        assert type(getattr(settings, name)) is type(value)


NAN, INFINITY = float("nan"), float("inf")
REFUSED: list[tuple[list[str], list[Any]]] = [
    (COUNTS, [0, -1, 1.5, True, "many", "1.5", "", [1], {}, NAN, INFINITY]),
    (SECONDS, [0, -1, "soon", True, [1], NAN, INFINITY, "5 parsecs"]),
    (TEXTS, [""]),
    (["memory_limit"], ["much", "4 XB", NAN, INFINITY, "50%"]),
    (["headroom"], [1, -0.1, "half", True, "", [1], NAN]),
    (["dashboard"], ["maybe", 2, "", [True], 0.5]),
    (["log_level"], ["loud", 3, ""]),
]


@pytest.mark.parametrize(
    ("name", "given"),
    [(name, value) for names, values in REFUSED for name in names for value in values]
    + [pytest.param("memory_limit", value) for value in ("-4GB", -1, True, "", [1])]
    + [pytest.param(name, "") for name in SECONDS],
)
def test_bad_values(name: str, given: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve({name: given})
    assert caught.value.happened == f"The setting {name} does not take {given!r}."
    assert caught.value.found.startswith("argument: ")
    with pytest.raises(SettingsError) as caught:
        resolve(**{name: given})
    assert caught.value.found.startswith("dask.config: ")


def test_a_bad_count_says_what_is_taken_in_words_of_ours() -> None:
    with pytest.raises(SettingsError, match="a whole number, 1 or more"):
        resolve({"nthreads": "many"})


def test_the_text_that_a_message_proposes_is_taken() -> None:
    with pytest.raises(SettingsError) as caught:
        resolve({"start_deadline": True})
    example = re.search(r"'(.+)'", caught.value.todo)
    assert example is not None
    assert resolve({"start_deadline": example[1]}).start_deadline == 120


def test_the_source_of_a_variable_is_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + "NTHREADS", "2")
    settings = resolve(nthreads=2, processes=2)
    assert (settings.sources["nthreads"], settings.sources["processes"]) == (PREFIX + "NTHREADS", BY_FILE)
