"""Profiles in the YAML files of dask.config's places: merged, checked, and each value with its source."""

from __future__ import annotations

from pathlib import Path

import dask.config
import pytest

from daskhpc.errors import LaunchError, SettingsError
from daskhpc.launch import config_files
from daskhpc.launch.config_files import ConfigFile, merged, places, read
from daskhpc.launch.job_draft import asked_for
from daskhpc.launch.profile import Profile, choose, load
from daskhpc.launch.site import Site
from daskhpc.settings import Settings

SITE_FILE = """
daskhpc:
  profiles:
    delft:
      memory: per-cpu
      modules: [2024r1, openmpi]
      job: {partition: compute, time: 1h}
"""
OWN_FILE = """
daskhpc:
  processes: 2
  profiles:
    delft:
      cpus-per-node: 48
      job:
        account: research-ae
        cpus-per-task: 48
"""


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A site's folder and a user's one, and no other place of dask.config."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, text in (("etc/site.yaml", SITE_FILE), ("own/daskhpc.yaml", OWN_FILE)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return {"DASK_ROOT_CONFIG": str(tmp_path / "etc"), "DASK_CONFIG": str(tmp_path / "own")}


def test_the_places_are_those_of_dask_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert list(places()) == [str(path) for path in dask.config.paths]
    assert places({"DASK_CONFIG": str(tmp_path), "DASK_ROOT_CONFIG": "/r"})[0] == "/r"
    assert places({"DASK_CONFIG": str(tmp_path)})[-1] == str(tmp_path)


def test_a_user_changes_single_values_of_a_sites_profile(env: dict[str, str], tmp_path: Path) -> None:
    profile = load(env=env)
    assert profile.name == "delft"
    assert profile.site == Site(memory="per-cpu", modules=("2024r1", "openmpi"), cpus_per_node=48)
    assert profile.job == {"partition": "compute", "time": "1h", "account": "research-ae", "cpus_per_task": 48}
    assert profile.sources["memory"] == str(tmp_path / "etc/site.yaml")
    assert profile.sources["job.account"] == str(tmp_path / "own/daskhpc.yaml")
    assert "gpus" not in profile.sources


def test_settings_of_a_run_stand_beside_profiles(env: dict[str, str], tmp_path: Path) -> None:
    found = merged(read(env), {**env, "DASK_DASKHPC__HEADROOM": "0.2", "DASK_DASKHPC__PROFILE": "delft"})
    assert found == {
        "processes": (2, str(tmp_path / "own/daskhpc.yaml")),
        "headroom": ("0.2", "DASK_DASKHPC__HEADROOM"),
    }
    whole = {"processes": 2, "profile": "delft", "profiles": {"delft": {}}}
    assert Settings.resolve(config=whole).processes == 2


def profiles(**content: object) -> list[ConfigFile]:
    return [ConfigFile("file.yaml", {"profiles": content})]


def test_which_profile_holds() -> None:
    assert choose([]).name == ""
    assert choose(profiles(a=None)).chosen_by == "it is the only one"
    both = [*profiles(a={}, b={}), ConfigFile("own.yaml", {"profile": "b"})]
    assert (choose(both).name, choose(both).chosen_by) == ("b", "own.yaml")
    assert (choose(both, None, "a").name, choose(both, "b", "a").name) == ("a", "b")
    with pytest.raises(SettingsError, match=r"several profiles.*\n.*a, b\n.*--profile a"):
        choose(profiles(a={}, b={}))
    with pytest.raises(SettingsError, match=r"no profile 'delf'.*\n.*--profile; the profiles are delft, b\n.*delft"):
        choose(profiles(delft={}, b={}), "delf")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"memroy": "none"}, "no key 'memroy'(.|\n)*scheduler, memory, gpus(.|\n)*try:   memory"),
        ({"account": "x"}, "no key 'account'(.|\n)*job: {account: ...}"),
        ({"job": {"acount": "x"}}, "no key 'job.acount'(.|\n)*try:   account"),
        ({"memory": "per-core"}, "memory(.|\n)*file.yaml: 'per-core'(.|\n)*one of per-node, per-cpu, none"),
        ({"cpus_per_node": 0}, "whole number, 1 or more"),
        ({"cpus_per_node": True}, "whole number, 1 or more"),
        ({"modules": [1]}, "a list of texts"),
        ({"launcher": "two\nlines"}, "a text of one line"),
        ({"job": {"time": "60:30"}}, "job.time(.|\n)*60h30m"),
        ({"job": ["x"]}, "not names with values"),
        ([], "not names with values"),
    ],
)
def test_what_is_wrong_is_refused_with_what_is_valid(content: object, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        choose([ConfigFile("file.yaml", {"profiles": {"a": content or [1]}})])


@pytest.mark.parametrize("text", ["daskhpc: [", "daskhpc:\n\t- a"])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "broken.yaml").write_text(text)
    with pytest.raises(SettingsError, match=r"no YAML(.|\n)*broken.yaml(.|\n)*line"):
        read({"DASK_CONFIG": str(tmp_path)})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"daskhpc:\n\tprofile: a\n", "spaces in place of tabs"),
        (
            b"daskhpc:\n  profiles:\n    a:\n      memory: none\n      memory: per-cpu\n",
            "'memory:' twice(.|\n)*lines 4 and 5",
        ),
        (b"daskhpc: {}\nother: {}\ndaskhpc: {processes: 2}\n", "'daskhpc:' twice"),
        ("daskhpc:\n  logs: é\n".encode("latin-1"), "no YAML"),
    ],
)
def test_a_file_that_means_two_things_or_none_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "daskhpc.yaml").write_bytes(content)
    with pytest.raises(SettingsError, match=words) as caught:
        read({"DASK_CONFIG": str(tmp_path)})
    assert len(str(caught.value).splitlines()) == 3


def test_a_byte_order_mark_and_line_ends_of_dos(tmp_path: Path) -> None:
    (tmp_path / "daskhpc.yaml").write_bytes(b"\xef\xbb\xbfdaskhpc:\r\n  processes: 2\r\n")
    (file,) = read({"DASK_CONFIG": str(tmp_path)})
    assert file.values == {"processes": 2}


def test_files_of_others_are_not_parsed(tmp_path: Path) -> None:
    (tmp_path / "distributed.yaml").write_text("distributed: [")
    (tmp_path / "twice.yaml").write_text("# daskhpc\nother: {a: 1, a: 2}\n")
    (tmp_path / "daskhpc.yaml").write_text("# daskhpc:\nother: 1\n")
    assert read({"DASK_CONFIG": str(tmp_path)}) == ()
    assert config_files.personal_file({"DASK_CONFIG": str(tmp_path)}) == tmp_path / "daskhpc.yaml"
    assert config_files.personal_file({"DASK_CONFIG": str(tmp_path / "one.yaml")}) == tmp_path / "one.yaml"


def test_what_is_empty_was_not_given_and_zero_was() -> None:
    profile = Profile("here", Site(), {"gpus": 2, "memory": "180G", "env": ["A=1"], "modules": "gcc"})
    empty = {"gpus": None, "memory": "", "env": {}, "modules": [], "hold": False}
    spec, _ = asked_for("title", profile, Site(), empty)
    assert (spec.gpus, spec.memory, spec.env, spec.modules) == (2, 180 * 1024, ("A=1",), ("gcc",))
    assert asked_for("title", profile, Site(), {"memory": 0})[0].memory == 0, "all of the node's"
    assert asked_for("title", profile, Site(), {"priority": 0})[0].priority == "0"
    for name in ("gpus", "nodes", "chain"):
        with pytest.raises(LaunchError, match="does not take 0"):
            asked_for("title", profile, Site(), {name: 0})


def test_a_type_of_gpus_without_their_number() -> None:
    """In a profile it is the type of those jobs that ask for GPUs."""
    profile = Profile("here", Site(), {"gpu_type": "a100"})
    assert asked_for("title", profile, Site(), {})[0].gpus is None
    assert asked_for("title", profile, Site(), {"gpus": 2, "gpu_type": "v100"})[0].gpu_type == "v100"
    with pytest.raises(LaunchError, match="--gpus-per-node 1 --gpu-type v100"):
        asked_for("title", profile, Site(), {"gpu_type": "v100"})
