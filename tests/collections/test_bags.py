"""Bags: records from files and to files, to dataframes, and people who do not exist."""

from __future__ import annotations

import datetime
import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.bag
import numpy as np
import pandas
import pytest
from distributed import Client

from daskhpc import bags
from daskhpc.errors import DaskhpcError, InputFileError, SettingsError


@pytest.fixture(autouse=True)
def here() -> Iterator[None]:
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "it's a $(folder); echo"
    path.mkdir()
    return path


def written(path: Path, *rows: Any) -> str:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_text(text)
    return str(path)


def test_records_come_in_the_order_of_the_files_with_numbers_in_their_order(folder: Path) -> None:
    for i in (10, 2, 1):
        written(folder / f"{i}.jsonl", {"i": i}, "", {"i": -i})
    assert bags.read_json_lines(f"{folder}/*.jsonl").compute() == [{"i": n} for n in (1, -1, 2, -2, 10, -10)]


def test_a_file_in_blocks_gives_each_line_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"text": "x" * (i * 7 % 50)} for i in range(60)]
    path = written(folder / "a.jsonl", *rows, "oops")
    for size in (1, 7, 64, 500, 10_000):
        monkeypatch.setattr(bags, "text_block_bytes", lambda *_, size=size: size)
        bag = bags.read_json_lines(path, errors="skip")
        assert bag.npartitions <= min(61, -(-os.path.getsize(path) // size))
        assert bag.npartitions > 5 or size > 300
        assert bag.compute() == rows
        assert [bad["line"] for bad in bags.bad_lines(path)] == [61]
        assert [line["line"] for line in bags.read_text(path)] == list(range(1, 62))


def test_a_bad_line_is_named(folder: Path) -> None:
    good = written(folder / "a.jsonl", {"a": 1})
    bad = written(folder / "b.jsonl", {"a": 1}, "", '{"a":')
    with pytest.raises(InputFileError) as raised:
        bags.read_json_lines([good, bad]).compute()
    assert f"{bad}:3 is no JSON" in str(raised.value)
    assert "errors='skip'" in raised.value.todo


def test_bad_lines_are_left_out_and_counted_on_request(folder: Path) -> None:
    path = written(folder / "a.jsonl", {"a": 1}, "nope", {"a": 2}, "{")
    assert bags.read_json_lines(path, errors="skip").pluck("a").compute() == [1, 2]
    assert [(bad["line"], bad["text"]) for bad in bags.bad_lines(path)] == [(2, "nope"), (4, "{")]


def test_compressed_files(folder: Path) -> None:
    path = folder / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n{"a": 2}\n'))
    assert bags.read_json_lines(path).pluck("a").compute() == [1, 2]


def test_text_says_where_it_is(folder: Path) -> None:
    path = folder / "log.txt"
    path.write_bytes("first\r\n\nthird é".encode())
    assert [(row["line"], row["text"]) for row in bags.read_text(path)] == [(1, "first"), (2, ""), (3, "third é")]
    path.write_bytes(b"fine\n\xe9\n")
    with pytest.raises(InputFileError, match=r"log\.txt:2 is not UTF-8"):
        bags.read_text(path).compute()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda folder: bags.read_json_lines(folder / "none*.jsonl"), "No file is called"),
        (lambda folder: bags.read_json_lines([]), "no file to read"),
        (lambda folder: bags.read_json_lines(folder, errors="ignore"), "what becomes of a bad line"),
    ],
)
def test_what_cannot_be_read_is_said_at_once(folder: Path, call: Any, words: str) -> None:
    with pytest.raises(DaskhpcError, match=words):
        call(folder)


def test_what_is_written_is_what_is_read(folder: Path) -> None:
    people = bags.people(25, partitions=3)
    paths = bags.write_json_lines(people, folder / "out")
    assert [os.path.basename(path) for path in paths] == ["0000.jsonl", "0001.jsonl", "0002.jsonl"]
    assert sorted(os.listdir(folder / "out")) == ["0000.jsonl", "0001.jsonl", "0002.jsonl"]
    assert bags.read_json_lines(f"{folder}/out/*.jsonl").compute() == people.compute()
    bags.write_json_lines(people, folder / "out")
    with pytest.raises(SettingsError, match="has other JSON lines"):
        bags.write_json_lines(bags.people(4, partitions=1), folder / "out")


def test_files_can_be_replaced_by_what_is_made_of_them(folder: Path) -> None:
    records = dask.bag.from_sequence([{"n": number, "text": "x" * 500} for number in range(6000)], npartitions=2)
    bags.write_json_lines(records, folder / "out")
    again = bags.read_json_lines(f"{folder}/out/*.jsonl")
    assert again.npartitions > 2  # a file is read in several parts, and written in as many files
    bags.write_json_lines(again.pluck("n"), folder / "out")
    assert bags.read_json_lines(f"{folder}/out/*.jsonl").compute() == list(range(6000))


def test_a_write_that_fails_leaves_the_folder_as_it_was(folder: Path) -> None:
    bags.write_json_lines(dask.bag.from_sequence(range(4), npartitions=4), folder / "out")
    with pytest.raises(TypeError):
        bags.write_json_lines(dask.bag.from_sequence([10, 11, {12}, 13], npartitions=4), folder / "out")
    assert sorted(os.listdir(folder / "out")) == [f"{number:04}.jsonl" for number in range(4)]
    assert bags.read_json_lines(f"{folder}/out/*.jsonl").compute() == list(range(4))


def test_half_a_character_is_written_and_read_again(folder: Path) -> None:
    path = written(folder / "a.jsonl", {"text": "é\ud83d"})
    records = bags.read_json_lines(path)
    (saved,) = bags.write_json_lines(records, folder / "out")
    assert "é\\ud83d" in Path(saved).read_text(encoding="utf-8")
    assert bags.read_json_lines(saved).compute() == records.compute() == [{"text": "é\ud83d"}]


def test_people_are_the_same_for_the_same_seed_in_any_partitions() -> None:
    people = bags.people(50, partitions=1).compute()
    assert bags.people(50, partitions=7).compute() == people
    assert bags.people(50, partitions=7, seed=1).compute() != people
    assert len({json.dumps(person) for person in people}) == 50
    assert set(people[0]) == {"name", "age", "occupation", "telephone", "address", "credit-card"}
    assert all(16 <= person["age"] <= 90 for person in people)


def test_a_dataframe_has_types_that_hold_all_records(folder: Path) -> None:
    first = [{"n": 1, "x": 1, "b": True, "c": "t", "m": 1, "l": [1]}] * 3
    second = [{"n": 2, "x": 0.5, "b": None, "d": 7, "m": "t", "l": None}]
    bag = bags.read_json_lines([written(folder / "a.jsonl", *first), written(folder / "b.jsonl", *second)])
    frame = bags.to_frame(bag, dtype={"m": "object"})
    computed = frame.compute()
    assert computed.dtypes.astype(str).to_dict() == {
        "n": "int64", "x": "float64", "b": "boolean", "c": "string", "m": "object", "l": "object", "d": "float64",
    }  # fmt: skip
    assert (computed.dtypes == frame.dtypes).all()
    assert computed["m"].tolist() == [1, 1, 1, "t"]
    assert computed["c"].isna().tolist() == [False, False, False, True]
    assert bags.to_frame(bag, columns=["d", "n"]).compute().columns.tolist() == ["d", "n"]
    assert bags.to_frame(bag, columns=["m"], dtype={"m": "str"})["m"].compute().tolist() == ["1", "1", "1", "t"]


def test_values_of_several_kinds_are_named_with_their_records() -> None:
    bag = dask.bag.from_sequence([{"m": 1}, {}, {"m": 2}, {"m": "t"}], partition_size=2)
    with pytest.raises(InputFileError) as raised:
        bags.to_frame(bag)
    for word in ["'m'", "record 2 of partition 1 has 't' (text)", "record 1 of partition 0 has 1 (whole numbers)"]:
        assert word in str(raised.value)
    assert "dtype={'m': 'object'}" in raised.value.todo


def test_python_objects_stay_objects() -> None:
    days = [datetime.date(2020, 1, 1), None]
    bag = dask.bag.from_sequence([{"d": day, "n": np.int64(1)} for day in days], npartitions=2)
    frame = bags.to_frame(bag).compute()
    assert frame.dtypes.astype(str).to_dict() == {"d": "object", "n": "int64"}
    assert frame["d"].tolist() == days


def test_a_name_is_no_list_of_columns() -> None:
    with pytest.raises(SettingsError, match=r"columns=\['name'\]"):
        bags.to_frame(dask.bag.from_sequence([{"name": "Ada"}]), columns="name")


def test_only_mappings_become_rows() -> None:
    with pytest.raises(InputFileError, match="Only mappings"):
        bags.to_frame(bags.people(3, partitions=1).pluck("age"))


def test_on_worker_processes(client: Client, folder: Path) -> None:
    with dask.config.set(scheduler=client):
        bags.write_json_lines(bags.people(200), folder)
        bag = bags.read_json_lines(f"{folder}/*.jsonl")
        assert bag.npartitions == 2
        old = bag.filter(lambda person: person["age"] > 30)
        ages = bags.to_frame(old.map(lambda person: {"age": person["age"], "work": person["occupation"]}))
        expected = [person["age"] for person in bags.people(200).compute() if person["age"] > 30]
        assert ages["age"].compute().tolist() == expected
        pandas.testing.assert_index_equal(ages.columns, pandas.Index(["age", "work"]), exact=False)
