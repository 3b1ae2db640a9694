"""Ranks that meet without MPI: rank 0 listens and leaves a note where, every other rank reads it and comes.

The note lies in a folder that all nodes see, under a name that only this run of this step has; a note that was left
behind by another run misleads nobody, since both sides have to show that they know the secret in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from pathlib import Path
from typing import Any, NoReturn

from ..errors import StartError

FOLDER = ".daskhpc"
_RUN = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT", "SLURM_SRUN_COMM_HOST", "SLURM_SRUN_COMM_PORT")
_HANDSHAKE_SECONDS = 10
_POLL_SECONDS, _POLL_MOST = 0.02, 0.5
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Meeting:
    """Who meets, and where they look for each other.

    Attributes
    ----------
    rank, size : int
    name : str
        Of the note; the same for all ranks of one run of one step, and for no other run.
    folders : tuple[Path, ...]
        Where the note is left, and looked for: one of them has to be seen by all nodes.
    """

    rank: int
    size: int
    name: str
    folders: tuple[Path, ...]


def meeting_of(rank: int, size: int, env: Mapping[str, str]) -> Meeting:
    """The meeting of a Slurm step.

    Parameters
    ----------
    rank, size : int
        As Slurm says.
    env : Mapping[str, str]
        Of this process. The port at which srun listens tells apart steps of jobs with the same id.
    """
    name = "-".join(env.get(variable, "0") for variable in _RUN)
    places = (env.get("SLURM_SUBMIT_DIR"), os.getcwd(), env.get("HOME"))
    return Meeting(rank, size, f"{name}.json", tuple(dict.fromkeys(Path(p, FOLDER) for p in places if p)))


class SocketCommunicator:
    """What of mpi4py's communicators a cluster needs to start, over sockets between rank 0 and every other rank.

    Parameters
    ----------
    rank, size : int
    links : Mapping[int, Connection]
        To every other rank on rank 0, to rank 0 on every other.
    """

    def __init__(self, rank: int, size: int, links: Mapping[int, Connection]) -> None:
        self.rank = rank
        self.size = size
        self._links = links

    def Get_rank(self) -> int:
        """As mpi4py's."""
        return self.rank

    def Get_size(self) -> int:
        """As mpi4py's."""
        return self.size

    def allgather(self, value: Any) -> list[Any]:
        """Every rank's value, by rank, on every rank.

        Raises
        ------
        StartError
            When a rank has ended meanwhile.
        """
        if self.rank > 0:
            self._send(0, value)
            return list(self._receive(0))
        values = [value, *(self._receive(rank) for rank in range(1, self.size))]
        for rank in self._links:
            self._send(rank, values)
        return values

    def bcast(self, value: Any, root: int = 0) -> Any:
        """Rank 0's value on every rank."""
        if root != 0:
            raise ValueError(f"root is {root}; without MPI it can only be 0")
        if self.rank > 0:
            return self._receive(0)
        for rank in self._links:
            self._send(rank, value)
        return value

    def Barrier(self) -> None:
        """Wait for every rank."""
        self.allgather(None)

    def Abort(self, code: int = 1) -> NoReturn:
        """End this process at once; the others see that it has ended."""
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def _send(self, rank: int, value: Any) -> None:
        with _as_start_error(rank):
            self._links[rank].send(value)

    def _receive(self, rank: int) -> Any:
        with _as_start_error(rank):
            return self._links[rank].recv()


@contextlib.contextmanager
def _as_start_error(rank: int) -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        found = f"rank {rank}: {error or type(error).__name__}; its own message may stand above"
        raise StartError("A rank ended while the cluster started.", found, "mend that rank") from None


def meet(meeting: Meeting, deadline: float, addresses: Sequence[str]) -> SocketCommunicator:
    """Meet all ranks.

    Parameters
    ----------
    meeting : Meeting
    deadline : float
        Seconds within which all have to be there.
    addresses : Sequence[str]
        At which other nodes reach this one, the best first.

    Raises
    ------
    StartError
        When a rank has not come in time, naming those; or when no folder can be written to.
    """
    end = time.monotonic() + deadline
    links = _receive_all(meeting, end, addresses) if meeting.rank == 0 else {0: _visit(meeting, end)}
    return SocketCommunicator(meeting.rank, meeting.size, links)


def _receive_all(meeting: Meeting, end: float, addresses: Sequence[str]) -> dict[int, Connection]:
    secret = secrets.token_bytes(32)
    came: queue.Queue[tuple[int, Connection]] = queue.Queue()
    links: dict[int, Connection] = {}
    with socket.create_server(("", 0), backlog=4096) as server:
        threading.Thread(target=_accept, args=(server, secret, came), daemon=True).start()
        where = {"addresses": [*addresses], "port": server.getsockname()[1], "secret": secret.hex()}
        try:
            with _note(meeting, json.dumps(where)):
                while len(links) < meeting.size - 1:
                    rank, link = came.get(timeout=max(0.0, end - time.monotonic()))
                    links[rank] = link
        except queue.Empty:
            raise _missing(meeting, links) from None
        finally:
            server.shutdown(socket.SHUT_RDWR)  # so that the thread that accepts ends
    return links


def _missing(meeting: Meeting, links: Mapping[int, Connection]) -> StartError:
    missing = [rank for rank in range(1, meeting.size) if rank not in links]
    more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
    return StartError(
        "Not all ranks arrived in time.",
        f"rank 0 waited for rank{'s' * (len(missing) > 1)} {', '.join(map(str, missing[:8]))}{more} of {meeting.size};"
        f" they look for it in {' or '.join(map(str, meeting.folders))}",
        "start the job in a folder that all nodes see; DASK_DASKHPC__START_DEADLINE=300 to wait longer",
    )


def _accept(server: socket.socket, secret: bytes, came: queue.Queue[tuple[int, Connection]]) -> None:
    while True:
        try:
            visitor, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_greet, args=(visitor, secret, came), daemon=True).start()


def _greet(visitor: socket.socket, secret: bytes, came: queue.Queue[tuple[int, Connection]]) -> None:
    with contextlib.suppress(OSError, EOFError, ValueError, TypeError):
        link = _trusted(visitor, secret, first=True)
        came.put((int(link.recv()), link))


def _trusted(line: socket.socket, secret: bytes, first: bool) -> Connection:
    """A connection whose other side has shown that it knows the secret; nothing is unpickled before."""
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.settimeout(None)
    _patience(line, _HANDSHAKE_SECONDS)
    keep = line.dup()
    link = Connection(line.detach())
    try:
        for step in (deliver_challenge, answer_challenge) if first else (answer_challenge, deliver_challenge):
            step(link, secret)
        _patience(keep, 0)
    except (AuthenticationError, AssertionError, EOFError, ValueError) as error:  # Python 3.11 asserts
        link.close()
        raise ConnectionRefusedError(f"another program, or another run ({error or type(error).__name__})") from None
    except BaseException:
        link.close()
        raise
    finally:
        keep.close()
    return link


def _patience(line: socket.socket, seconds: int) -> None:
    """Let reads fail after so many seconds, 0 for never."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0))


def _visit(meeting: Meeting, end: float) -> Connection:
    pause, seen = _POLL_SECONDS, "no note of it"
    while time.monotonic() < end:
        for folder in meeting.folders:
            note = _read(folder, meeting.name)
            if note is None:
                continue
            for address in note["addresses"]:
                try:
                    line = socket.create_connection((address, note["port"]), timeout=_HANDSHAKE_SECONDS)
                    link = _trusted(line, bytes.fromhex(note["secret"]), first=False)
                    link.send(meeting.rank)
                except OSError as error:
                    seen = f"{address}:{note['port']} from {folder / meeting.name}: {error}"
                else:
                    return link
        time.sleep(pause)
        pause = min(2 * pause, _POLL_MOST)
    raise StartError(
        "Rank 0 was not to be found.",
        f"rank {meeting.rank} looked in {' and '.join(map(str, meeting.folders))}: {seen}",
        "start the job in a folder that all nodes see; rank 0's own message may stand above",
    )


def _read(folder: Path, name: str) -> dict[str, Any] | None:
    """The note, None where there is none yet."""
    try:
        os.listdir(folder)  # over NFS a file that was missing stays missing until its folder is looked at again
        with open(folder / name, "rb") as file:
            if os.fstat(file.fileno()).st_uid != os.geteuid():
                return None
            note: dict[str, Any] = json.load(file)
        return note if {"addresses", "port", "secret"} <= set(note) else None
    except (OSError, ValueError, TypeError):
        return None


def _write(folder: Path, name: str, text: str) -> None:
    temporary = folder / f".{name}.{secrets.token_hex(4)}"
    for attempt in range(_ATTEMPTS):
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            break
        except FileNotFoundError:  # another job has just removed the empty folder
            if attempt == _ATTEMPTS - 1:
                raise
    try:
        os.write(descriptor, text.encode())
        os.replace(temporary, folder / name)
    finally:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _note(meeting: Meeting, text: str) -> Iterator[None]:
    """Leave the note in every folder that can be written to, for as long as ranks come."""
    left, problems = [], []
    for folder in meeting.folders:
        try:
            _write(folder, meeting.name, text)
            left.append(folder)
        except OSError as error:
            problems.append(f"{folder}: {error.strerror or error}")
    if not left:
        raise StartError(
            "The ranks cannot meet: no folder can be written to.",
            "; ".join(problems),
            "start the job in a folder that all nodes see and that you can write to",
        )
    try:
        yield
    finally:
        for folder in left:
            with contextlib.suppress(OSError):
                (folder / meeting.name).unlink()
            with contextlib.suppress(OSError):
                folder.rmdir()
