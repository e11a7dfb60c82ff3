"""How storage_369a465.tar.xz was made, with the code of commit 369a465: `python tests/golden/make_stored.py ARCHIVE`.

Kept is what a later command must be able to go on with: shards, encoders and cells. The synthetic archives are written
again from their specification; reports, logs and leases hold nothing that is read again. Names, order, owner and time
of the files in the archive do not depend on the machine.
"""

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STUDY = "tests/golden/stored_study.py"
KEPT = ("cells", "data", "encoders")


def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


def main(archive: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "sweep.run", "--study", STUDY, "--storage", folder]
        subprocess.run(command, cwd=ROOT, check=True)
        with tarfile.open(archive, "w:xz") as tar:
            for kind in KEPT:
                for path in sorted((Path(folder) / kind).rglob("*")):
                    if path.is_file():
                        tar.add(path, str(path.relative_to(folder)), filter=plain)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
