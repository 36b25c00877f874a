#!/bin/sh
# Prepares an emulated aarch64 Python with JAX, for `cbvc crosscheck`'s variant jax-aarch64, and says how to use it.
# For Debian 12 and its kin with `qemu-user-static` (or QEMU=folder of qemu-aarch64-static) and a sources list.
# Usage: tests/export/aarch64_python.sh FOLDER [PYTHON]     (about 1 GB; PYTHON, 3.11 or later, only runs pip)
set -eu
folder=$1 python=${2:-python3}
here=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
state=$folder/apt root=$folder/root site=$folder/site
packages="python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libc6 zlib1g libssl3 libexpat1 libffi8 liblzma5 libbz2-1.0
  libuuid1 libstdc++6 libgcc-s1"
wheels="jax jaxlib flatbuffers jaxtyping platformdirs"

mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/debs" "$root"
touch "$state/status"
apt="apt-get -qq -o Dir::State=$state -o Dir::State::lists=$state/lists -o Dir::Cache=$state/cache
  -o Dir::State::status=$state/status -o APT::Architecture=arm64 -o APT::Architectures=arm64
  -o Dir::Etc::sourcelist=/etc/apt/sources.list.d/debian.sources -o Dir::Etc::sourceparts=/dev/null"
$apt update
(cd "$state/debs" && $apt download $packages)
for package in "$state"/debs/*.deb; do dpkg -x "$package" "$root"; done

"$python" -m pip install --quiet --disable-pip-version-check --target "$site" --upgrade --only-binary=:all: \
  --implementation cp --python-version 3.11 --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
  --platform manylinux2014_aarch64 --platform manylinux_2_17_aarch64 --constraint "$here/constraints.txt" $wheels

lib=$root/usr/lib/aarch64-linux-gnu
cat >"$folder/python" <<END
#!/bin/sh
exec "${QEMU:-/usr/bin}/qemu-aarch64-static" -L "$root" -E PYTHONHOME="$root/usr" -E PYTHONDONTWRITEBYTECODE=1 \\
  -E LD_LIBRARY_PATH="$lib:$root/lib/aarch64-linux-gnu" -E PYTHONPATH="\$PYTHONPATH:$site" "$root/usr/bin/python3.11" "\$@"
END
chmod +x "$folder/python"
"$folder/python" -c 'import jax, platform; print(f"JAX {jax.__version__} on an emulated {platform.machine()}")'
echo "export CBVC_AARCH64_PYTHON=$folder/python"
