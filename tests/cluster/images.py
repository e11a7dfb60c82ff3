"""An engine of containers of our own, and a base image that is made of this machine's own Debian and Python."""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASE = "localhost/debian-python"
# Beside the packages that Debian calls essential: what the slim images of Python have, too.
PACKAGES = ("libc6", "libgcc-s1", "libstdc++6", "ca-certificates", "netbase", "tzdata")
NOT_PACKED = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/info/", "/usr/share/lintian/")
NOT_OF_PYTHON = {"site-packages", "test", "tests", "__pycache__", "idlelib", "tkinter", "lib2to3"}
DEPENDENCIES = Path(sys.prefix, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")
LIMITS = ("nofile=4096:4096", "nproc=4096:4096")  # podman's own are above what a container that builds this may have


def why_not() -> str | None:
    """Why no image can be built and run here; None where it can."""
    for tool, package in (("podman", "podman"), ("runc", "runc"), ("dpkg-query", "dpkg"), ("ldd", "libc-bin")):
        if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            return f"needs {tool}: apt-get install --no-install-recommends {package}"
    if os.geteuid() != 0:
        return "needs root, to run containers without a daemon"
    return None


class Engine:
    """podman with all that it keeps in one folder, which is removed at the end."""

    def __init__(self, folder: Path):
        self.folder = folder
        places = ("--root", folder / "storage", "--runroot", folder / "run", "--tmpdir", folder / "engine")
        how = ("--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none")
        self.command = ["podman", *map(str, places), *how]

    def __call__(self, *arguments: object, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        words = [*self.command, *map(str, arguments)]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=timeout)

    def checked(self, *arguments: object, timeout: float = 600) -> str:
        done = self(*arguments, timeout=timeout)
        assert done.returncode == 0, (
            f"podman {' '.join(map(str, arguments))}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
        return done.stdout

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *error: object) -> None:
        self("rm", "--all", "--force", "--time", "0")
        mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for place in sorted((each for each in mounted if each.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", place], check=True)
        shutil.rmtree(self.folder)

    def make_base(self) -> None:
        packed = self.folder / "base.tar"
        pack(packed)
        self.checked("import", "--quiet", packed, BASE)
        packed.unlink()


def pack(target: Path) -> None:
    """A tar file of a root: Debian's essential packages and this Python in /usr/local, with what they are linked to."""
    wanted = _files_of((*_essential(), *PACKAGES))
    prefix = Path(sys.base_prefix)
    python = [Path(sys.executable).resolve(), *prefix.glob("lib/python3.*/lib-dynload/*.so")]
    wanted |= {each for each in _linked([*wanted, *map(str, python)]) if not each.startswith(str(prefix))}
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    seen: set[str] = set()

    def roots(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, "root", "root"
        if entry.name in seen:
            return None
        seen.add(entry.name)
        return entry

    def needed(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if NOT_OF_PYTHON & set(entry.name.split("/")) or "/config-" in entry.name else roots(entry)

    with tarfile.open(target, "w") as tar:
        for path in sorted(wanted):
            tar.add(path, recursive=False, filter=roots)
        for link in ("/bin", "/sbin", "/lib", "/lib64"):
            if os.path.islink(link):
                tar.add(link, filter=roots)
        for name in ("passwd", "group"):
            tar.add(f"/usr/share/base-passwd/{name}.master", f"etc/{name}", filter=roots)
        tar.add("/etc/ssl/certs/ca-certificates.crt", filter=roots)
        for folder, mode in (("tmp", 0o1777), ("proc", 0o755), ("sys", 0o755), ("dev", 0o755), ("run", 0o755)):
            _add(tar, roots, folder, tarfile.DIRTYPE, mode)
        tar.add(python[0], f"usr/local/bin/{version}", filter=roots)
        for name in ("python3", "python"):
            _add(tar, roots, f"usr/local/bin/{name}", tarfile.SYMTYPE, 0o777, version)
        tar.add(prefix / "lib" / version, f"usr/local/lib/{version}", filter=needed)
        for library in prefix.glob(f"lib/lib{version}.so*"):  # where the linker looks without a cache
            tar.add(library, f"usr/lib/{library.name}", filter=roots)


def _add(tar: tarfile.TarFile, roots, name: str, kind: bytes, mode: int, leads_to: str = "") -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname = kind, mode, leads_to
    if roots(entry) is not None:
        tar.addfile(entry)


def _essential() -> list[str]:
    listed = subprocess.run(["dpkg-query", "-W", "-f=${Essential} ${Package}\n"], capture_output=True, text=True)
    return [line.split()[1] for line in listed.stdout.splitlines() if line.startswith("yes ")]


def _files_of(packages: Iterable[str]) -> set[str]:
    listed = subprocess.run(["dpkg-query", "-L", *packages], capture_output=True, text=True).stdout.splitlines()
    paths = {path for path in listed if path.startswith("/") and path != "/." and not path.startswith(NOT_PACKED)}
    return {_place(path) for path in paths if os.path.lexists(path)}


def _place(path: str) -> str:
    """Where it really lies: /bin is a link to /usr/bin. A link itself stays one."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def _linked(paths: Iterable[str]) -> set[str]:
    """The shared libraries that programs and libraries among these need, with the links that lead to them."""
    programs = [path for path in paths if os.path.isfile(path) and not os.path.islink(path) and _is_elf(path)]
    found = set()
    for line in subprocess.run(["ldd", *programs], capture_output=True, text=True).stdout.splitlines():
        for path in [word for word in line.split() if word.startswith("/") and not word.endswith(":")]:
            found.add(path := _place(path))
            while os.path.islink(path):
                found.add(path := _place(os.path.join(os.path.dirname(path), os.readlink(path))))
    return found


def _is_elf(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"
