"""A second user on the node of a run: what a run's processes listen on, and what that user is answered."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

STRANGER = 65534
PYTHON = "/usr/bin/python3"
"""The system's, which every user may run."""
_LISTENS, _ACCEPTS = "0A", 0x10000


@dataclass(frozen=True)
class Found:
    """What a stranger got.

    Attributes
    ----------
    answers : mapping
        By port and what was tried, the bytes that came back.
    processes, files : mapping
        By path, what could be read.
    """

    answers: Mapping[str, bytes]
    processes: Mapping[str, bytes]
    files: Mapping[str, bytes]

    def everything(self) -> bytes:
        return b"\n".join(part for each in (self.answers, self.processes, self.files) for part in each.values())

    def holes(self) -> dict[str, bytes]:
        """The answers that say anything of a run."""
        return {name: answer for name, answer in self.answers.items() if not harmless(answer)}


def harmless(answer: bytes) -> bool:
    """Whether an answer is none, a refusal, an alert of TLS, or the challenge of a control channel."""
    return (
        not answer
        or answer.startswith((b"! ", b"\x15\x03"))
        or re.fullmatch(rb"HTTP/1.1 403 [^<]*\r\n\r\nThis is a Dask cluster of daskhpc[^<]*", answer) is not None
        or re.fullmatch(rb"HTTP/1.1 400 Bad Request\r\n\r\n", answer) is not None
        or re.fullmatch(rb"[0-9a-f]{32}\n", answer) is not None
    )


def sockets_of(pids: Sequence[int], addresses: Mapping[int, str]) -> tuple[list[tuple[str, int]], list[str]]:
    """TCP addresses and UNIX sockets that processes listen on.

    Parameters
    ----------
    pids : Sequence[int]
    addresses : mapping
        By process, the address of its node; 127.0.0.1 for those that are not there.
    """
    ports, listening = set(), set()
    for pid in pids:
        own = set()
        try:
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    own.add(os.readlink(entry))
            tcp = [Path(f"/proc/{pid}/net/{table}").read_text() for table in ("tcp", "tcp6")]
            unix = Path(f"/proc/{pid}/net/unix").read_text()
        except (FileNotFoundError, ProcessLookupError):  # it has ended since
            continue
        for line in (line for table in tcp for line in table.splitlines()[1:]):
            _, local, _, state, *rest = line.split()
            if state == _LISTENS and f"socket:[{rest[5]}]" in own:
                host, _, port = local.partition(":")
                ports.add((_readable(host, addresses.get(pid, "127.0.0.1")), int(port, 16)))
        for line in unix.splitlines()[1:]:
            parts = line.split()
            if int(parts[3], 16) & _ACCEPTS and f"socket:[{parts[6]}]" in own:
                listening.add(parts[7])
    return sorted(ports), sorted(listening)


def _readable(address: str, own: str) -> str:
    if not address.strip("0"):
        return own
    if len(address) == 32:
        return "::1"
    return ".".join(str(part) for part in reversed(bytes.fromhex(address)))


def rpc() -> bytes:
    """What a Dask client sends that asks a scheduler or a worker who it is."""
    from distributed.comm.utils import to_frames
    from distributed.protocol.utils import pack_frames_prelude

    async def framed(message: Any) -> bytes:
        frames = [bytes(frame) for frame in await to_frames(message)]
        prelude = pack_frames_prelude(frames)
        length = len(prelude) + sum(map(len, frames))
        return struct.pack("<Q", length) + prelude + b"".join(frames)

    async def both() -> bytes:
        hello = {"compression": None, "python": [3, 11], "pickle-protocol": 5}
        return await framed(hello) + await framed({"op": "identity", "reply": True})

    return asyncio.run(both())


def look(
    pids: Sequence[int],
    folders: Sequence[Path],
    enter: Sequence[str] = (),
    addresses: Mapping[int, str] = MappingProxyType({}),
    silent: int = 3,
) -> Found:
    """Let a second user try everything.

    Parameters
    ----------
    pids : Sequence[int]
        The processes of the run.
    folders : Sequence[Path]
        Where the run may have left files.
    enter : Sequence[str]
        The command that runs the stranger elsewhere, on another node.
    addresses : mapping
        By process, the address of its node, if there are several.
    silent : int
        Connections to each port that say nothing meanwhile.
    """
    ports, listening = sockets_of(pids, addresses)
    told = {
        "ports": ports,
        "sockets": listening,
        "pids": list(pids),
        "folders": list(map(str, folders)),
        "rpc": base64.b64encode(rpc()).decode(),
        "silent": silent,
    }
    other = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]
    source = Path(__file__).with_name("stranger.py").read_text()
    command = [*enter, *other, PYTHON, "-I", "-c", source]
    ended = subprocess.run(command, input=json.dumps(told), capture_output=True, text=True, timeout=250, cwd="/")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    return Found(*({name: base64.b64decode(part) for name, part in own.items()} for own in found.values()))
