"""What do killed processes leave in a storage, and how is it removed?"""

from datasets_io.ray_state import remove_left_state
from datasets_io.storage.files import Files
from datasets_io.storage.replace_together import RECORD, finish_replacing
from sweep.store.lease import LEASES, Holder, Lease
from sweep.store.store import CELLS, ENCODERS, REPORTS, SUPERSEDED, TRAINING_FREE

# By commands that end here; a build looks after its own folder, and what is in quarantine stays as it came.
WRITTEN = (ENCODERS, CELLS, REPORTS, TRAINING_FREE, SUPERSEDED, LEASES)


def clean_up(files: Files) -> None:
    """Remove the leases of drivers that ended without removing them, and what they and their Ray have left.

    Drivers that run, on whatever machine, keep theirs.
    """
    living: list[Holder] = []
    if files.list(LEASES):
        with Lease(files) as lease:
            living = lease.living()  # reading the leases removes those that have expired
    remove_left_state(files.uri, {holder.machine for holder in living})
    # Found first: of a writer that is dead by now the record, if there is one, is read next.
    left = [path for folder in WRITTEN for path in files.orphans(folder)]
    for path in files.list(REPORTS, f"/{RECORD}"):  # what is to take its place is no leftover
        finish_replacing(files, path.removesuffix(f"/{RECORD}"))
    files.discard(left)
