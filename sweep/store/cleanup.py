"""What do killed processes leave in a storage, and how is it removed?"""

from datasets_io.storage.files import Files
from datasets_io.storage.replace_together import RECORD, finish_replacing
from sweep.store.lease import LEASES, Lease
from sweep.store.store import CELLS, ENCODERS, REPORTS


def clean_up(files: Files) -> None:
    """Remove the leases of drivers that ended without removing them, and the temporary files of writers that did.

    Drivers that run, on whatever machine, keep theirs.
    """
    if files.list(LEASES):
        with Lease(files) as lease:
            lease.living()  # reading the leases removes those that have expired
    for path in files.list(REPORTS, f"/{RECORD}"):  # first: what is to take its place is no leftover
        finish_replacing(files, path.removesuffix(f"/{RECORD}"))
    for folder in (ENCODERS, CELLS, REPORTS, LEASES):
        files.remove_orphans(folder)
