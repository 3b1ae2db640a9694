"""A qstat over the test Slurm: what ``-f`` and ``-B`` print of jobs and of the server, in the form of the manuals.

``$QSUB`` names the dialect. Torque knows a job for some time after its end; PBS Pro with ``-x`` alone. The jobs' queue
is asked for its limits too (``-Q``), which a bed does not have.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

LETTERS = {"PENDING": "Q", "RUNNING": "R", "COMPLETING": "E", "SUSPENDED": "S"}


def main(argv: list[str]) -> int:
    options = [word for word in argv if word.startswith("-")]
    pro = os.environ["QSUB"] == "pbspro"
    if options == ["-B", "-f"]:
        print("Server: head\n    server_state = Active")
        return 0
    if options not in (["-f"], ["-x", "-f"] if pro else ["-f"]):
        print(f"qstat: illegally formed request: {' '.join(argv)}", file=sys.stderr)
        return 2
    unknown = 0
    for job in argv[len(options) :]:
        text = _report(job, pro, "-x" in options)
        if text is None:
            print(f"qstat: Unknown Job Id {job}", file=sys.stderr)
            unknown = 153
        else:
            print(text)
    return unknown


def _report(job: str, pro: bool, ended_too: bool) -> str | None:
    number = job.partition(".")[0]
    line = ["scontrol", "--oneliner", "show", "job", number]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    fields = dict(field.split("=", 1) for field in re.split(r" (?=[\w:/]+=)", done.stdout.strip()) if field)
    state = fields["JobState"]
    letter = LETTERS.get(state, "F" if pro else "C")
    if letter == "F" and not ended_too:
        return None
    lines = [f"Job Id: {job}", f"    Job_Name = {fields['JobName']}", f"    job_state = {letter}"]
    if letter in "CF":
        code, _, signal = fields["ExitCode"].partition(":")
        status = 256 + 15 if state == "CANCELLED" else 256 + int(signal) if int(signal) else int(code)
        lines.append(f"    {'Exit_status' if pro else 'exit_status'} = {status}")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
