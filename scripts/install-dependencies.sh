#!/usr/bin/env bash
# Installs the Debian 12 packages that building CRS needs and, unless --build-only is given, those its tests need. The servers among them
# that it installs anew (redis-server, nginx, postgresql) are not started, and `systemctl disable` keeps them from being started at boot.
# Nothing else is changed: the file that keeps servers from being started (/usr/sbin/policy-rc.d) is there meanwhile only.
# Works as root or through sudo; does nothing at all when everything is there.
set -euo pipefail

build_packages=(
  cmake ninja-build g++ pkg-config
  protobuf-compiler libprotobuf-dev libzstd-dev libxxhash-dev
  libcli11-dev libfmt-dev libspdlog-dev libtomlplusplus-dev nlohmann-json3-dev
  python3 procps
)
test_packages=(
  libgtest-dev libgmock-dev libbenchmark-dev clang-19 libclang-rt-19-dev clang-format-19 clang-tidy-19 golang-go
  perl gawk gzip xz-utils sqlite3 lua5.4 redis-server nginx-light postgresql-15 nodejs openjdk-17-jre-headless
  openmpi-bin libopenmpi-dev stress-ng
  strace gdb util-linux iproute2 libcap2-bin groff-base make tmux
)

usage() {
  echo "Usage: $0 [--build-only]"
  echo "Installs the Debian packages that CRS needs: to build it and run its demonstration (--build-only), and to test it."
}

packages=("${build_packages[@]}" "${test_packages[@]}")
case "${1-}" in
  "") ;;
  --build-only) packages=("${build_packages[@]}") ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null; then
  echo "$0: this is not a Debian system; install by hand: ${packages[*]}" >&2
  exit 1
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == *installed* && $status != *not-installed* ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "$0: ${missing[*]} must be installed, which takes root or sudo" >&2
    exit 1
  fi
  as_root=(sudo)
fi

# The servers are programs for the tests, not services that this machine is to offer (invoke-rc.d(8): 101, not allowed).
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 755 /dev/stdin "$policy"
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi
echo "Installing: ${missing[*]}" >&2
"${as_root[@]}" apt-get update --quiet --quiet >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends "${missing[@]}" >&2

if [[ -d /run/systemd/system ]]; then
  for service in redis-server nginx postgresql; do
    if [[ " ${missing[*]} " == *" $service"* ]]; then "${as_root[@]}" systemctl --quiet disable "$service" >&2; fi
  done
fi
