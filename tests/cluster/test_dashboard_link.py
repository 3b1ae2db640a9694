"""The link to the dashboard: seen by its user alone, and of use on a laptop."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from daskhpc.cluster.dashboard_link import DashboardLink, keep_link, tunnel

LINK = "http://10.0.0.7:8787/secret/status"


@pytest.fixture
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("LOGNAME", "ada")


@pytest.mark.parametrize(
    ("link", "there"),
    [
        (LINK, "127.0.0.1:8787:10.0.0.7:8787"),
        ("http://127.0.0.1:40123/k/status", "127.0.0.1:40123:n7:40123"),
        ("http://localhost:8787/k/status", "127.0.0.1:8787:n7:8787"),
        ("https://n9.cluster:8443/k/status", "127.0.0.1:8443:n9.cluster:8443"),
    ],
)
def test_the_tunnel(monkeypatch: pytest.MonkeyPatch, link: str, there: str) -> None:
    """It ends if its near end is taken, and that end is one address, not the two of ``localhost``."""
    monkeypatch.setenv("LOGNAME", "ada")
    wanted = f"ssh -o ExitOnForwardFailure=yes -L {there} ada@login1"
    assert tunnel(DashboardLink(link, "n7", "login1")) == wanted


@pytest.mark.parametrize("link", [LINK, "http://n1/status", "no address"])
def test_no_tunnel_where_nobody_logged_in_elsewhere(link: str) -> None:
    assert tunnel(DashboardLink(link, "n7", None)) == ""
    assert (tunnel(DashboardLink(link, "n7", "login1")) == "") is (":8787" not in link)


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)
    assert tunnel(DashboardLink(LINK, "n7", "login1")).endswith(" 4000000@login1")


@pytest.mark.usefixtures("_state")
def test_a_log_names_a_file_and_not_the_secret() -> None:
    """The output of a rank is a pipe, and what it says may be in a log that all users can read."""
    kept = keep_link(LINK, "n7", "login1", "12.0")
    assert kept.file is not None
    assert "secret" not in kept.note()
    assert str(kept.file) in kept.note()
    assert shlex.split(tunnel(kept))[-3:] == ["tail", "-f", str(kept.file)]
    through, inside = kept.file.read_text().splitlines()
    assert through.startswith("http://127.0.0.1:8787/secret/status ")
    assert inside.startswith(f"{LINK} ")
    assert [path.stat().st_mode & 0o777 for path in (kept.file, kept.file.parent)] == [0o600, 0o700]


@pytest.mark.usefixtures("_state")
def test_a_terminal_shows_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    here = keep_link(LINK, "n7", None, "12.0")
    assert (here.note(), here.file) == (f"dashboard {LINK}", None)
    assert keep_link(LINK, "n7", "login1", "12.0").note().startswith(f"dashboard {LINK}  (from your machine: ssh ")


def test_a_home_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    note = keep_link(LINK, "n7", "login1", "12.0").note()
    assert "secret" not in note
    assert "print(client.dashboard_link)" in note


@pytest.mark.usefixtures("_state")
def test_a_folder_that_others_may_write_to_gets_no_link(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "daskhpc" / "dashboards"
    folder.mkdir(parents=True)
    os.chmod(folder, 0o777)
    assert keep_link(LINK, "n7", "login1", "12.0").file is None
    assert os.listdir(folder) == []
