"""How much more memory has a process of cells with jobs of 100,000 than with one? [ray]"""

import gc
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import ray

from benchmarks.shared.common import row
from benchmarks.shared.trial_choices import work_of
from trainables.evaluation.cell_job import DownstreamJob
from trainables.evaluation.cell_trial import StoredJobs, in_parts
from trainables.protocols.registry import PROTOCOLS

SMAPS = "/proc/self/smaps_rollup"
EVERY = 499  # jobs from one that the process takes to the next: each from another part


@ray.remote(num_cpus=0)
class Process:
    """Takes jobs as a process of cells does, and says how much memory is its own."""

    def after(self, jobs: StoredJobs, numbers: Sequence[int]) -> int:
        """Bytes after it has had the jobs of these numbers."""
        for number in numbers:
            jobs.job(number)
        self.jobs = jobs
        return own_bytes()

    def after_all(self, jobs: tuple[DownstreamJob, ...]) -> int:
        """Bytes while it holds all jobs."""
        self.all = jobs
        return own_bytes()


def own_bytes() -> int:
    """Of this process, shared with no other."""
    gc.collect()
    text = Path(SMAPS).read_text()
    return sum(int(found) for found in re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+) kB", text, re.MULTILINE)) << 10


def figures(num_jobs: int) -> list[dict]:
    """Megabytes above a process that has had one job. Ray must be running. None where the system does not tell them."""
    if not Path(SMAPS).exists():
        print(f"{SMAPS} is not there: the memory of jobs is left out", file=sys.stderr)
        return []
    jobs = work_of(PROTOCOLS["LP"], num_jobs, "").jobs
    one, many, everything = in_parts(jobs[:1]), in_parts(jobs), ray.put(jobs)
    with_parts, with_all = Process.remote(), Process.remote()
    before = [ray.get(process.after.remote(one, [0])) for process in (with_parts, with_all)]
    ours = ray.get(with_parts.after.remote(many, range(0, num_jobs, EVERY))) - before[0]
    peer = ray.get(with_all.after_all.remote(everything)) - before[1]
    for process in (with_parts, with_all):
        ray.kill(process)
    name = f"memory_of_a_process_of_{num_jobs}_jobs_above_one_job"
    return [row("cell", name, "MB", ours / 1e6, peer=peer / 1e6, peer_name="all jobs handed to the process")]
