#!/bin/sh
# Reads and writes streams on an emulated aarch64 and on a big-endian s390x, and compares with this machine.
# For Debian and its kin with `qemu-user-static` (or QEMU=folder of qemu-ARCH-static) and a sources list.
# Usage: tests/bitstream/other_machines.sh [PYTHON [FOLDER]]
set -eu
python=${1:-python3}
work=${2:-$(mktemp -d)}
here=$(cd "$(dirname "$0")/../.." && pwd)
packages="python3.11-minimal libpython3.11-minimal libpython3.11-stdlib python3-numpy libc6 zlib1g libssl3 libexpat1 libffi8
  liblzma5 libbz2-1.0 libblas3 liblapack3 libgfortran5 libstdc++6 libgcc-s1"
export PYTHONDONTWRITEBYTECODE=1

PYTHONPATH=$here "$python" "$here/tests/bitstream/digest.py" --make "$work/streams"
expected=$(PYTHONPATH=$here "$python" "$here/tests/bitstream/digest.py" "$work"/streams/*.cbv)
echo "$expected"

for pair in arm64:aarch64 s390x:s390x; do
  debian=${pair%:*} machine=${pair#*:}
  state=$work/$debian root=$work/$debian/root
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/debs" "$root"
  touch "$state/status"
  apt="apt-get -qq -o Dir::State=$state -o Dir::State::lists=$state/lists -o Dir::Cache=$state/cache
    -o Dir::State::status=$state/status -o APT::Architecture=$debian -o APT::Architectures=$debian"
  $apt -o Dir::Etc::sourcelist=/etc/apt/sources.list.d/debian.sources -o Dir::Etc::sourceparts=/dev/null update
  (cd "$state/debs" && $apt -o Dir::Etc::sourcelist=/etc/apt/sources.list.d/debian.sources \
    -o Dir::Etc::sourceparts=/dev/null download $packages)
  for package in "$state"/debs/*.deb; do dpkg -x "$package" "$root"; done
  lib=$root/usr/lib/$machine-linux-gnu
  found=$("${QEMU:-/usr/bin}/qemu-$machine-static" -L "$root" -E PYTHONHOME="$root/usr" \
    -E LD_LIBRARY_PATH="$lib:$lib/blas:$lib/lapack:$root/lib/$machine-linux-gnu" \
    -E PYTHONPATH="$root/usr/lib/python3/dist-packages:$here" \
    "$root/usr/bin/python3.11" "$here/tests/bitstream/digest.py" "$work"/streams/*.cbv)
  echo "$found"
  [ "${found%% *}" = "${expected%% *}" ] || { echo "not the same on $machine" >&2; exit 1; }
done
