"""Writes down when each job of a search ran and when each result was saved, for the picture search-timeline.

The stored file is of a run on two nodes of four CPUs, on the Slurm of three nodes that the tests start:

    daskhpc submit --nodes 2 --time 3m --checkpoint results slow_search.py
    python record_search.py daskhpc-jobs/* results > search-timeline.json

Slurm runs the job again until the search is done. The times are seconds since the first job began.
"""

from __future__ import annotations

import json
import sys

from daskhpc.errors import EXIT_UNFINISHED
from daskhpc.journal.reader import JournalReader
from daskhpc.launch.job_folder import JobFolder


def recorded(job_folder: str, checkpoint: str) -> dict[str, list[object]]:
    """The runs, each with its begin, its end and its exit code, and the times of the results.

    Slurm may take a job away for its next run before the script has written down the end. The end is then the last
    result, and the code that of a job that goes on.
    """
    marks = JobFolder(job_folder).marks()
    first = marks[0].time
    times = sorted(round(record.decoded("time") - first, 1) for record in JournalReader(checkpoint).records())
    began = [mark.time - first for mark in marks if mark.event == "began"]
    ended = {mark.restart: (mark.time - first, int(mark.value)) for mark in marks if mark.event == "ended"}
    runs = []
    for restart, begin in enumerate(began):
        later = [time for time in began if time > begin]
        last = max(time for time in times if not later or time < later[0])
        end, code = ended.get(restart, (last, EXIT_UNFINISHED))
        runs.append({"began": begin, "ended": end, "code": code})
    return {"runs": list(runs), "results": list(times)}


if __name__ == "__main__":
    print(json.dumps(recorded(*sys.argv[1:3])))
