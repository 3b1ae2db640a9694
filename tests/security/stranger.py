"""What another user of a node tries against a run: every port, socket, process and file.

It runs by itself, as a text that Python is given, with Python's own library alone.

Standard input has JSON: ``ports`` ([host, port]), ``sockets`` (paths of UNIX sockets), ``pids``, ``folders``,
``silent`` (connections to each port that say nothing), and ``rpc``, what a Dask client would send, in base64.
Standard output gets JSON: what came back for each try, and all that could be read.
"""

import base64
import concurrent.futures
import functools
import json
import os
import socket
import ssl
import sys

WAIT, LONG_WAIT = 0.5, 10.0  # seconds of silence after which nothing is taken to come any more
GET = "GET {} HTTP/1.1\r\nHost: {}\r\n{}\r\n"
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
PAGES = (
    "/status",
    "/info/main/workers.html",
    "/json/identity.json",
    "/metrics",
    "/sitemap.json",
    "/proxy/22/localhost/",
)
INSIDE_TLS = ("rpc", "control", "GET /status")
PARTS = ("environ", "cmdline", "mem", "maps", "comm", "auxv", "io", "stack", "syscall")
HELLO = b'{"rank": 2, "pid": 1, "proof": "' + b"0" * 64 + b'", "challenge": "' + b"0" * 32 + b'"}\n'


def heard(connection: socket.socket, said: bytes) -> bytes:
    """Say something, and listen until the other side hangs up or falls silent."""
    connection.settimeout(LONG_WAIT if said.strip(b"\x00\xff") else WAIT)
    answer = b""
    try:
        connection.sendall(said)
        while len(answer) < 1 << 20 and (part := connection.recv(65536)):
            answer += part
    except OSError:
        pass
    return answer


def encrypted(connection: socket.socket, said: bytes) -> bytes:
    """The same in TLS, without a key of this run and whoever the other side is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection.settimeout(LONG_WAIT)
    try:
        with context.wrap_socket(connection) as inside:
            return heard(inside, said)
    except OSError:
        return b""


def words(name: str, rpc: bytes) -> dict[str, bytes]:
    """Everything that is said to a port or a socket."""
    pages = {f"GET {page}": GET.format(page, name, "Connection: close\r\n").encode() for page in PAGES}
    return {
        "nothing": b"",
        "garbage": b"\x00\xff" * 512,
        "rpc": rpc,
        "control": HELLO,
        "events": GET.format("/eventstream", name, UPGRADE).encode(),
        "dashboard socket": GET.format("/status/ws", name, UPGRADE).encode(),
        **pages,
    }


def answer(connect, talk, said: bytes) -> bytes:
    try:
        with connect() as connection:
            return talk(connection, said)
    except OSError as error:
        return f"! {error}".encode()


def tcp(host: str, port: int) -> socket.socket:
    return socket.create_connection((host, port), LONG_WAIT)


def unix(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect("\0" + path[1:] if path.startswith("@") else path)
    except OSError:
        connection.close()
        raise
    return connection


def read(path: str) -> bytes | None:
    """The beginning of a file, None if it may not be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return os.read(descriptor, 1 << 20)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def processes(pids: list[int]) -> dict[str, bytes]:
    """What can be read of processes."""
    found = {}
    for pid in pids:
        paths = [f"/proc/{pid}/{name}" for name in PARTS]
        try:
            paths += [f"/proc/{pid}/fd/{number}" for number in os.listdir(f"/proc/{pid}/fd")]
        except OSError:  # the list of its files; their numbers can still be guessed
            paths += [f"/proc/{pid}/fd/{number}" for number in range(64)]
        found |= {path: content for path in paths if (content := read(path))}
    return found


def files(folders: list[str]) -> dict[str, bytes]:
    """What can be read below folders, and whether something can be written there."""
    found = {}
    for folder in folders:
        for place, names, entries in os.walk(folder):
            for path in (os.path.join(place, name) for name in (*names, *entries)):
                content = read(path)
                if content is not None and not os.path.isdir(path):
                    found[path] = content
                if os.access(path, os.W_OK):
                    found[f"{path} (to write to)"] = b""
    return found


def main() -> None:
    told = json.load(sys.stdin)
    rpc = base64.b64decode(told["rpc"])
    targets = [(f"{host}:{port}", functools.partial(tcp, host, port)) for host, port in told["ports"]]
    targets += [(path, functools.partial(unix, path)) for path in told["sockets"]]
    silent = []
    for _, connect in targets:  # these say nothing, to the end of this process
        for _ in range(told["silent"]):
            try:
                silent.append(connect())
            except OSError:
                break
    asked = {}
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        for name, connect in targets:
            for what, said in words(name, rpc).items():
                asked[f"{name} {what}"] = pool.submit(answer, connect, heard, said)
                if what in INSIDE_TLS:
                    asked[f"{name} tls {what}"] = pool.submit(answer, connect, encrypted, said)
    answers = {name: future.result() for name, future in asked.items()}
    found = {"answers": answers, "processes": processes(told["pids"]), "files": files(told["folders"])}
    coded = {kind: {name: base64.b64encode(part).decode() for name, part in own.items()} for kind, own in found.items()}
    json.dump(coded, sys.stdout)


main()
