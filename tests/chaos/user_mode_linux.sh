#!/bin/bash
# user_mode_linux.sh PYTHON PYTEST_ARGUMENTS...: runs tests as root in a kernel of Debian's package user-mode-linux,
# which has file systems that a host's kernel may lack (NFS, SMB, FAT, JFS). The host's files are its root: apt-get
# install user-mode-linux kmod nfs-kernel-server samba cifs-utils dosfstools jfsutils, and on the host, since each page
# of its processes is a mapping: sysctl vm.max_map_count=1048576. In 3 s it is up; calls of the system are slow there. Its folders /run and /var/lib/nfs are its own, all else is the host's.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
if [ "${1:-}" != --within ]; then
  [ -x /usr/bin/linux.uml ] || { echo "no linux.uml: apt-get install user-mode-linux" >&2; exit 2; }
  work=$(mktemp -d)
  mkdir -p "$work/modules/lib"
  ln -s /usr/lib/uml/modules "$work/modules/lib/modules"
  printf '%q ' bash "$here/tests/chaos/user_mode_linux.sh" --within "$work" "$@" > "$work/command"
  printf '#!/bin/bash\nexport PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=%q LANG=C.UTF-8\n. %q\n' "$HOME" "$work/command" \
    > "$work/init"
  chmod +x "$work/init"
  linux.uml mem="${UML_MEMORY:-6G}" root=/dev/root rootfstype=hostfs rootflags=/ rw init="$work/init" \
    con=null con0=null,fd:2 con1=null ssl=null quiet < /dev/null > /dev/null 2> "$work/console" || true
  cat "$work/said"
  code=$(cat "$work/code")
  rm -r "$work"
  exit "$code"
fi
work=$2
shift 2
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t tmpfs nfs /var/lib/nfs || true
mkdir -p /dev/shm /dev/pts /run/lock /run/rpcbind /run/sshd
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
ip link set lo up
for module in loop fuse nfsd nfsv3 nfsv4 vfat nls_utf8 nls_cp437 nls_iso8859-1 cifs; do
  modprobe -d "$work/modules" "$module" || true
done
cd "$here"
set +e
"$@" > "$work/said" 2>&1
echo $? > "$work/code"
sync
echo o > /proc/sysrq-trigger
sleep 60
