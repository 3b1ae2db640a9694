"""Every MPI rank tells its rank, the number of ranks, its host and its MPI library; rank 0 prints it all."""

import socket

from mpi4py import MPI

world = MPI.COMM_WORLD
library = MPI.Get_library_version().split()[0]
lines = world.gather(f"{world.rank} {world.size} {socket.gethostname()} {library}\n")
if lines:
    print("".join(lines), end="", flush=True)
