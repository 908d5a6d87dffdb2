#!/usr/bin/env bash
# Installs what is missing, builds CRS (release) and runs every test. Arguments go to ctest, e.g. `./test.sh -R subject.sleep`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

scripts/install-dependencies.sh
cmake --preset release -DBUILD_TESTING=ON  # the demonstration builds without
cmake --build --preset release
# One more than there are processors: many tests wait for most of their time. What fails runs once more, since some tests end a program in
# the middle of its work, and on a busy machine it may have been done by then; what fails twice has failed.
exec ctest --preset release --parallel "$(($(nproc) + 1))" --repeat until-pass:2 "$@"
