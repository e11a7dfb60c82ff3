"""File systems that users have, made and mounted for a test: which programs each needs, and how it is mounted."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

IMAGE_BYTES = 1 << 30
# Run in the folder that has `disk` (an empty image), `mount` and the folders a, b and c.
SSHD = """
ssh-keygen -q -t ed25519 -N '' -f key
ssh-keygen -q -t ed25519 -N '' -f host
printf 'Port {port}\\nListenAddress 127.0.0.1\\nHostKey {folder}/host\\nAuthorizedKeysFile {folder}/key.pub
StrictModes no\\nUsePAM no\\nPidFile {folder}/sshd.pid\\nSubsystem sftp internal-sftp\\n' > sshd_config
mkdir -p /run/sshd
/usr/sbin/sshd -f sshd_config
sshfs -o IdentityFile={folder}/key,StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null,Port={port} \
root@127.0.0.1:{folder}/a mount
"""
NFS = """
mkfs.ext4 -q -F disk
mount -o loop disk a
mkdir -p /var/lib/nfs/sm /var/lib/nfs/v4recovery
touch /var/lib/nfs/etab /var/lib/nfs/rmtab
mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
pidof rpcbind || rpcbind -w
pidof rpc.statd || rpc.statd --no-notify
exportfs -o rw,no_root_squash,no_subtree_check,insecure,fsid=0 '*:{folder}/a'
rpc.nfsd 8
pidof rpc.mountd || rpc.mountd
mount -t nfs -o vers={version},nosharecache 127.0.0.1:{path} mount
"""

SMB = """
printf '[global]\\nmap to guest = Bad User\\nbind interfaces only = yes\\ninterfaces = lo\\nsmb ports = {port}
private dir = {folder}/b\\nlock directory = {folder}/b\\nstate directory = {folder}/b\\ncache directory = {folder}/b
pid directory = {folder}/b\\nlog file = {folder}/c/log\\n[share]\\npath = {folder}/a\\nguest ok = yes\\nread only = no
force user = root\\n' > smb.conf
smbd -D -s smb.conf
sleep 2
mount -t cifs -o guest,port={port},vers=3.0 //127.0.0.1/share mount
"""


@dataclass(frozen=True)
class Kind:
    """mount: lines of a shell. second: a second mount of the same files, as another host has one; none where empty.

    folds_case: whether `A` and `a` are one name; keeps_case: whether a listing has names as they were
    written. pid_files: with the ids of servers that are ended after the test.
    after: lines of a shell that undo what `mount` has set up besides.
    """

    name: str
    mount: str
    second: str = ""
    folds_case: bool = False
    keeps_case: bool = True
    pid_files: tuple[str, ...] = ()
    after: str = ""


def _nfs(version: str, path: str) -> Kind:
    """By two mounts with caches of their own, as of two hosts. path: as its clients name what is exported."""
    first, second = (
        text.replace("{version}", version).replace("{path}", path)
        for text in (NFS, "mount -t nfs -o vers={version},nosharecache 127.0.0.1:{path} b")
    )
    return Kind(f"nfs {version}", first, second, after="exportfs -u '*:{folder}/a'")


KINDS = (
    Kind("tmpfs", "mount -t tmpfs -o size=1g none mount"),
    Kind("overlay", "mount -t overlay overlay -o lowerdir=a,upperdir=b,workdir=c mount"),
    Kind("xfs", "mkfs.xfs -q disk\nmount -o loop disk mount"),
    Kind("btrfs", "mkfs.btrfs -q disk\nmount -o loop disk mount"),
    Kind(
        "ext4 casefold", "mkfs.ext4 -q -F -O casefold -E encoding=utf8 disk\nmount -o loop disk mount\nchattr +F mount",
        folds_case=True,
    ),
    Kind("jfs os2", "jfs_mkfs -q -O disk\nmount -t jfs -o loop disk mount", folds_case=True),
    Kind("vfat", "mkfs.vfat -F 32 disk\nmount -t vfat -o loop disk mount", folds_case=True),
    Kind("exfat", "mkfs.exfat disk\nmount -t exfat -o loop disk mount", folds_case=True),
    Kind(
        "exfat by FUSE", "mkfs.exfat disk\nlosetup -f disk\nmount.exfat-fuse $(losetup -nO NAME -j disk) mount",
        folds_case=True,
    ),
    Kind("ntfs by FUSE", "mkfs.ntfs -F -q disk\nntfs-3g disk mount"),
    Kind(
        "ntfs by FUSE without case", "mkfs.ntfs -F -q disk\nlowntfs-3g -o ignore_case disk mount",
        folds_case=True, keeps_case=False,
    ),
    Kind("sshfs", SSHD, pid_files=("sshd.pid",)),
    Kind("gocryptfs", "echo p > word\ngocryptfs -q -init -passfile word a\ngocryptfs -q -passfile word a mount"),
    Kind("mergerfs", "mergerfs {folder}/a:{folder}/b mount"),
    Kind("overlay by FUSE", "fuse-overlayfs -o lowerdir=a,upperdir=b,workdir=c mount"),
    Kind("rclone", "rclone mount :local:{folder}/a mount --vfs-cache-mode writes --cache-dir {folder}/c --daemon"),
    _nfs("4.2", "/"),
    _nfs("3", "{folder}/a"),
    Kind("smb", SMB, folds_case=True, pid_files=("b/smbd.pid",)),
)  # fmt: skip


class NotMountable(Exception):
    """This machine has no such file system: which line failed, and how."""


@contextmanager
def mounted(kind: Kind, folder: Path) -> Iterator[tuple[Path, Path]]:
    """The mount, and a second mount of the same files, which is the first where the kind has none.

    Raises NotMountable.
    """
    mount = folder / "mount"
    for name in ("mount", "a", "b", "c"):
        (folder / name).mkdir(parents=True)
    with open(folder / "disk", "wb") as disk:
        disk.truncate(IMAGE_BYTES)
    second = folder / "b" if kind.second else mount
    try:
        for line in _lines(kind.mount, folder):
            _do(line, folder)
        _wait_for(mount)
        for line in _lines(kind.second, folder):
            _do(line, folder)
        yield mount, second
    finally:
        for name in ("b", "mount", "a"):
            if os.path.ismount(folder / name):
                subprocess.run(["umount", "--lazy", str(folder / name)], check=False)
        subprocess.run(f"losetup -nO NAME -j {folder}/disk | xargs -r losetup -d", shell=True, check=False)
        for line in _lines(kind.after, folder):
            with suppress(NotMountable):
                _do(line, folder)
        for name in kind.pid_files:
            # Of this test's own server.
            if (folder / name).is_file():
                subprocess.run(["kill", (folder / name).read_text().strip()], check=False)


def _lines(script: str, folder: Path) -> list[str]:
    filled = script.replace("{folder}", str(folder)).replace("{port}", str(20000 + os.getpid() % 10000))
    # A line goes on where a text in quotes does.
    lines: list[str] = []
    for line in filled.strip().split("\n"):
        if lines and lines[-1].count("'") % 2:
            lines[-1] += "\n" + line
        elif line:
            lines.append(line)
    return lines


def _do(line: str, folder: Path) -> None:
    program = line.split()[0]
    if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
        raise NotMountable(f"this machine has no {program}")
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    with open(folder / "said", "wb") as said:  # no pipe: what becomes a daemon would hold it open
        done = subprocess.run(line, shell=True, cwd=folder, stdout=said, stderr=said, env=environment, timeout=120)
    if done.returncode:
        text = " ".join((folder / "said").read_text(errors="replace").split())
        raise NotMountable(f"{line.split(' -', 1)[0]} ended with {done.returncode} here: {text[-300:]}")


def _wait_for(mount: Path) -> None:
    deadline = time.monotonic() + 15
    while not os.path.ismount(mount):
        if time.monotonic() > deadline:
            raise NotMountable("nothing was mounted within 15 s")
        time.sleep(0.1)
