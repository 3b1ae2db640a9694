"""Which folders are taken for journals, and what a refusal says."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from daskhpc.errors import JournalError
from daskhpc.journal.folder import Folder, Manifest, load, make, prepare, same_work, secure
from daskhpc.journal.journal import Journal
from daskhpc.journal.reader import JournalReader

from .kept import SECONDS, mounted, remount

SOMEBODY = 12345
PARTS: dict[str, Any] = {
    "data": {"token": "aa", "text": "float64 array (10, 2)"},
    "estimator": {"token": "bb", "text": "SVC()"},
}


def test_a_folder_and_its_parents_are_made_for_the_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "a ' b" / "$(c)\n"
    manifest = make(Folder(path), "search", PARTS)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o700, 0o700]
    assert load(Folder(path)) == manifest
    assert manifest.parts == PARTS
    assert 0 <= manifest.seed < 2**32
    assert os.listdir(path) == ["journal.json"]


def test_of_many_who_make_a_journal_the_first_decides(tmp_path: Path) -> None:
    found, gate = [], threading.Barrier(8)

    def one() -> None:
        gate.wait(SECONDS)
        found.append(make(Folder(tmp_path / "j"), "search", PARTS))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert len(found) == 8
    assert all(manifest == found[0] for manifest in found)


def test_an_empty_folder_becomes_one_and_so_does_what_a_killed_process_left(tmp_path: Path) -> None:
    (tmp_path / ".journal.json.77.ab").write_text("{")
    assert make(Folder(tmp_path), "calls", {}).kind == "calls"


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(JournalError, match=r"is not a journal\n  found: .*'thesis.tex'.*\n  try: "):
        make(Folder(tmp_path), "search", {})
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="not a folder"):
        make(Folder(tmp_path / "file"), "search", {})


def test_a_folder_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(JournalError, match=r"cannot be used[\s\S]*found: [\s\S]*try: "):
        make(Folder(Path("/proc/journal")), "search", {})


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"a"', "\0\0"])
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "journal.json").write_text(text)
    with pytest.raises(JournalError, match="is damaged"):
        load(Folder(tmp_path))


def test_no_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"no journal\.json"):
        load(Folder(tmp_path))
    with pytest.raises(JournalError, match="no such folder"):
        load(Folder(tmp_path / "none"))


def test_another_format_is_refused_by_both_numbers(tmp_path: Path) -> None:
    make(Folder(tmp_path), "search", {})
    path = tmp_path / "journal.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(JournalError, match=r"format 2; .* format 1"):
        make(Folder(tmp_path), "search", {})


def test_a_folder_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    secure(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_folder_that_stays_open_to_others_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "not here")

    tmp_path.chmod(0o750)
    monkeypatch.setattr(os, "chmod", refuse)
    with pytest.raises(JournalError, match=r"open to other users[\s\S]*050[\s\S]*chmod go-rwx"):
        secure(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j"
    make(Folder(path), "search", {})
    os.chown(path, 12345, -1)
    with pytest.raises(JournalError, match=r"another user[\s\S]*12345"):
        make(Folder(path), "search", {})


def test_a_folder_on_a_read_only_file_system_is_refused(tmp_path: Path) -> None:
    with mounted(tmp_path, "1m"):
        make(Folder(tmp_path), "search", {})
        remount(tmp_path, "ro")
        with pytest.raises(JournalError, match=r"cannot be used for a journal\n  found: Read-only"):
            prepare(Folder(tmp_path))


def test_a_folder_without_permission_to_write_is_refused() -> None:
    user = os.geteuid()
    path = Path(tempfile.mkdtemp())  # below folders that everybody may enter
    make(Folder(path), "search", {})
    path.chmod(0o500)
    try:
        if user == 0:  # who may write anywhere
            for each in (path, path / "journal.json"):
                os.chown(each, SOMEBODY, -1)
            os.seteuid(SOMEBODY)
        with pytest.raises(JournalError, match="Permission denied"):
            prepare(Folder(path))
    finally:
        os.seteuid(user)
        path.chmod(0o700)
        shutil.rmtree(path)


def test_a_writer_finds_what_it_needs(tmp_path: Path) -> None:
    make(Folder(tmp_path), "search", {})
    prepare(Folder(tmp_path))
    prepare(Folder(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["journal.json", "payloads", "segments"]


def differences(new: dict[str, Any]) -> str:
    path = Path("/j")
    manifest = _manifest()
    with pytest.raises(JournalError) as caught:
        same_work(path, manifest, "search", new)
    assert "another folder" in caught.value.todo
    return caught.value.found


def _manifest() -> Manifest:
    return Manifest(1, "search", "2024-01-01", 7, PARTS)


def test_each_part_that_differs_is_named_from_what_to_what() -> None:
    data = {"token": "cc", "text": "float64 array (20, 2)"}
    estimator = {"token": "dd", "text": "SVC()"}
    assert differences({"data": data, "estimator": PARTS["estimator"]}) == (
        "data: from float64 array (10, 2) to float64 array (20, 2)"
    )
    assert differences({"data": data, "estimator": estimator}).count(";") == 1
    assert differences({**PARTS, "estimator": estimator}) == "estimator: SVC(), with other contents"


def test_a_part_that_only_one_has_is_named() -> None:
    assert differences({"data": PARTS["data"]}) == "estimator: SVC() is only in the journal"
    extra = {"token": "ee", "text": "accuracy"}
    assert differences({**PARTS, "scoring": extra}) == "scoring: accuracy is not in the journal"


def test_another_kind_is_named() -> None:
    with pytest.raises(JournalError, match="'search', not 'sweep'"):
        same_work(Path("/j"), _manifest(), "sweep", None)


def test_texts_alone_make_no_difference() -> None:
    same_work(Path("/j"), _manifest(), "search", {**PARTS, "data": {"token": "aa", "text": "the same, said otherwise"}})
    same_work(Path("/j"), _manifest(), "search", None)


@pytest.mark.parametrize("file", ["journal.json", "segments", "payloads"])
def test_nothing_is_read_that_others_may_write_to(tmp_path: Path, file: str) -> None:
    """A folder that is closed now may have been open before."""
    with Journal.open(tmp_path, "calls") as journal:
        journal.append("0" * 32, True, {1, 2}, seconds=0.1, host="node1", about={})
    path = tmp_path / file
    (path,) = (each for each in (path.rglob("*") if path.is_dir() else [path]) if each.is_file())
    path.chmod(0o620)
    if file == "journal.json":
        with pytest.raises(JournalError, match=r"not trusted[\s\S]*others may write to it[\s\S]*chmod -R go-w"):
            JournalReader(tmp_path)
        return
    reader = JournalReader(tmp_path)
    if file == "segments":
        assert len(reader) == 0
        assert "others may write to it" in reader.damages[0].reason
    else:
        (record,) = reader.records()
        with pytest.raises(JournalError, match="others may write to it"):
            record.result()
    path.chmod(0o600)
    (record,) = JournalReader(tmp_path).records()
    assert record.result().value == {1, 2}
