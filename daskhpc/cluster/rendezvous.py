"""How ranks meet without MPI: rank 0 leaves a note with its address, every other rank reads it and connects.

The note lies in a folder that all nodes see, under a name that only this run of this step has. A note that another
run left behind does no harm, since both sides of a connection have to show that they know the secret in it
(`control_socket`).

The note has that secret and, if a run is encrypted, the key with which ranks introduce themselves. So no other user may
read it. It is a file of mode 0600 in a folder of mode 0700, and is removed once the ranks have come. A rank reads no
note that belongs to another user or that others may write to. A network file system sends the note as it sends its
other files.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..atomic import replacing
from ..errors import StartError
from ..own_files import own_folder, read_own
from .control_channel import ControlConnection, ControlServer
from .control_socket import Address
from .output import flush_output

FOLDER = ".daskhpc"
_RUN = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT", "SLURM_SRUN_COMM_HOST", "SLURM_SRUN_COMM_PORT")
_POLL_SECONDS, _POLL_MOST = 0.02, 0.5
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Meeting:
    """One rank's part in a meeting, and the folders that may have the note.

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
        As Slurm gives them.
    env : Mapping[str, str]
        Of this process. The port at which srun listens tells apart steps of jobs with the same id.
    """
    name = "-".join(env.get(variable, "0") for variable in _RUN)
    places = (env.get("SLURM_SUBMIT_DIR"), os.getcwd(), env.get("HOME"))
    return Meeting(rank, size, f"{name}.json", tuple(dict.fromkeys(Path(p, FOLDER) for p in places if p)))


class SocketCommunicator:
    """What of mpi4py's communicators a cluster needs to start, over the control channel.

    Parameters
    ----------
    rank, size : int
    channel : ControlServer or ControlConnection
        The former on rank 0.
    """

    def __init__(self, rank: int, size: int, channel: ControlServer | ControlConnection) -> None:
        self.rank = rank
        self.size = size
        self.channel = channel

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
            If a rank has ended meanwhile.
        """
        if isinstance(self.channel, ControlServer):
            return list(self.bcast([value, *(self._receive(rank) for rank in range(1, self.size))]))
        with _as_start_error(0):
            self.channel.send_value(value)
        return list(self._receive(0))

    def bcast(self, value: Any, root: int = 0) -> Any:
        """Rank 0's value on every rank."""
        if root != 0:
            raise ValueError(f"root is {root}; without MPI it can only be 0")
        if not isinstance(self.channel, ControlServer):
            return self._receive(0)
        for rank in range(1, self.size):
            with _as_start_error(rank):
                self.channel.send_value(rank, value)
        return value

    def scatter(self, values: Sequence[Any] | None, root: int = 0) -> Any:
        """Of rank 0's values the one for this rank; no other rank gets to see it."""
        if root != 0:
            raise ValueError(f"root is {root}; without MPI it can only be 0")
        if not isinstance(self.channel, ControlServer):
            return self._receive(0)
        assert values is not None
        for rank in range(1, self.size):
            with _as_start_error(rank):
                self.channel.send_value(rank, values[rank])
        return values[0]

    def Barrier(self) -> None:
        """Wait for every rank."""
        self.allgather(None)

    def Abort(self, code: int = 1) -> NoReturn:
        """End this process at once; the others see that it has ended."""
        flush_output()
        os._exit(code)

    def _receive(self, rank: int) -> Any:
        with _as_start_error(rank):
            return self.channel.receive_value(rank)


@contextlib.contextmanager
def _as_start_error(rank: int) -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        found = f"rank {rank}: {error or type(error).__name__}; its own message may stand above"
        raise StartError("A rank ended while the cluster started.", found, "mend that rank") from None


def meet(meeting: Meeting, deadline: float, addresses: Sequence[str], encrypted: bool = False) -> SocketCommunicator:
    """Meet all ranks.

    Parameters
    ----------
    meeting : Meeting
    deadline : float
        Seconds within which all have to be there.
    addresses : Sequence[str]
        At which other nodes reach this one, the best first.
    encrypted : bool
        Whether the ranks talk in TLS, if rank 0 can make certificates; rank 0's value counts.

    Raises
    ------
    StartError
        If a rank has not come in time, with the missing ranks; or if no folder can be written to.
    """
    if meeting.rank > 0:
        return SocketCommunicator(meeting.rank, meeting.size, _find(meeting, time.monotonic() + deadline))
    try:
        server = ControlServer(encrypted=encrypted)
    except StartError:  # it cannot make certificates: the ranks meet without TLS, to learn that
        server = ControlServer()
    with _note(meeting, json.dumps(asdict(server.address(*addresses)))):
        missing = server.wait_for_ranks(meeting.size, deadline)
    if missing:
        raise _missing(meeting, missing)
    return SocketCommunicator(meeting.rank, meeting.size, server)


def _missing(meeting: Meeting, missing: Sequence[int]) -> StartError:
    more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
    return StartError(
        "Not all ranks arrived in time.",
        f"rank 0 waited for rank{'s' * (len(missing) > 1)} {', '.join(map(str, missing[:8]))}{more} of {meeting.size};"
        f" they look for it in {' or '.join(map(str, meeting.folders))}",
        "start the job in a folder that all nodes see; DASK_DASKHPC__START_DEADLINE=300 to wait longer",
    )


def _find(meeting: Meeting, end: float) -> ControlConnection:
    pause, seen = _POLL_SECONDS, "no note of it"
    while time.monotonic() < end:
        for folder in meeting.folders:
            address = _read(folder, meeting.name)
            if address is None:
                continue
            try:
                return ControlConnection(address, meeting.rank)
            except OSError as error:
                hosts = ", ".join(address.hosts)
                seen = f"{hosts}, port {address.port}, from {folder / meeting.name}: {error}"
        time.sleep(pause)
        pause = min(2 * pause, _POLL_MOST)
    raise StartError(
        "Rank 0 was not to be found.",
        f"rank {meeting.rank} looked in {' and '.join(map(str, meeting.folders))}: {seen}",
        "start the job in a folder that all nodes see; rank 0's own message may stand above",
    )


def _read(folder: Path, name: str) -> Address | None:
    """The address in the note, None if there is none yet, or if another user may have written it."""
    try:
        os.listdir(folder)  # over NFS a file that was missing stays missing until its folder is looked at again
        return Address.from_note(json.loads(read_own(folder / name)))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write(folder: Path, name: str, text: str) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            own_folder(folder)
            with replacing(folder / name) as draft:
                draft.touch(mode=0o600, exist_ok=False)
                draft.write_text(text)
            return
        except FileNotFoundError:  # another job has just removed the empty folder
            if attempt == _ATTEMPTS - 1:
                raise


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
