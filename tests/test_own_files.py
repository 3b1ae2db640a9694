"""What is believed of what lies on a disk: what this user made, and nobody else could have written to."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from daskhpc.own_files import ForeignFileError, check_link, make_own_folder, open_own, own_folder, own_scratch, read_own

SOMEBODY = 12345


@pytest.fixture
def _somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process believes that it runs as another user, so that all files are those of another."""
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_of_ones_own_is_read_and_made_for_oneself(tmp_path: Path) -> None:
    with open(open_own(tmp_path / "new", os.O_WRONLY | os.O_CREAT), "w") as file:
        file.write("x")
    assert read_own(tmp_path / "new") == b"x"
    assert mode(tmp_path / "new") == 0o600


@pytest.mark.usefixtures("_somebody")
@pytest.mark.parametrize("closed", [False, True])
def test_a_file_of_another_user_is_not_read(tmp_path: Path, closed: bool) -> None:
    (tmp_path / "theirs").write_text("x")
    with pytest.raises(ForeignFileError, match="belongs to user"):
        read_own(tmp_path / "theirs", closed=closed)


@pytest.mark.parametrize("bits", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_to_is_read_in_a_closed_folder_alone(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "open"
    path.write_text("x")
    path.chmod(bits)
    with pytest.raises(ForeignFileError, match=f"others may write to it .mode {bits:o}"):
        read_own(path)
    assert read_own(path, closed=True) == b"x"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/etc/passwd", path)])
def test_what_is_no_plain_file_is_not_opened(tmp_path: Path, make: Any) -> None:
    """A pipe would wait for ever, and a link would lead elsewhere."""
    make(tmp_path / "strange")
    with pytest.raises(OSError, match=r"no regular file|symbolic links"):
        read_own(tmp_path / "strange")


def test_a_folder_is_made_for_oneself_and_closed(tmp_path: Path) -> None:
    made = tmp_path / "a" / "b"
    make_own_folder(made)
    assert (mode(made), mode(made.parent)) == (0o700, 0o700)
    made.chmod(0o755)
    make_own_folder(made)
    assert mode(made) == 0o700


@pytest.mark.parametrize("bits", [0o770, 0o1777, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, bits: int) -> None:
    """It is not closed and then believed: what lies there may be theirs already."""
    tmp_path.chmod(bits)
    with pytest.raises(ForeignFileError, match="others may write"):
        own_folder(tmp_path)
    assert mode(tmp_path) == bits


@pytest.mark.usefixtures("_somebody")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ForeignFileError, match=f"this process runs as user {SOMEBODY}"):
        own_folder(tmp_path)


def test_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One's own is followed, and so is root's; another user's is not, even to a folder of one's own."""
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "folder")
    own_folder(link)
    real = os.lstat

    def of(owner: int) -> Any:
        def lstat(path: Any) -> os.stat_result:
            fields = list(real(path))
            fields[stat.ST_UID] = owner
            return os.stat_result(fields)

        return lstat

    monkeypatch.setattr(os, "lstat", of(0))
    check_link(link)
    monkeypatch.setattr(os, "lstat", of(SOMEBODY))
    with pytest.raises(ForeignFileError, match=f"symbolic link of user {SOMEBODY}"):
        own_folder(link)


def test_scratch_that_somebody_made_first_is_not_used(tmp_path: Path) -> None:
    """Workers import modules from below it, and unpickle what they spilled there."""
    tmp_path.chmod(0o1777)
    usual = Path(own_scratch(str(tmp_path)))
    assert (usual.parent, mode(usual)) == (tmp_path, 0o700)
    assert own_scratch(str(tmp_path)) == str(usual)
    usual.chmod(0o777)
    other = Path(own_scratch(str(tmp_path)))
    assert other != usual
    assert (other.parent, mode(other)) == (tmp_path, 0o700)
    assert "dask-scratch-space" in other.name, "else Dask would go on to the shared name below it"
