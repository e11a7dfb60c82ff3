"""What do killed processes leave in a storage, and how does it go?"""

from datasets_io.storage.files import Files
from sweep.store.lease import LEASES, Lease
from sweep.store.store import CELLS, ENCODERS, REPORTS


def clean_up(files: Files) -> None:
    """Remove the leases of drivers that are gone and the temporary files of dead writers; the living keep theirs."""
    if files.list(LEASES):
        with Lease(files) as lease:
            lease.living()  # whoever looks removes the dead
    for folder in (ENCODERS, CELLS, REPORTS, LEASES):
        files.remove_orphans(folder)
