#!/usr/bin/env bash
# Installs what is missing, builds CRS (release) and runs the tests, in the size that fits into twenty minutes on two processors. Arguments go to
# ctest: `./test.sh -C Long` runs all of them in full (1000 kills of a checkpointer, and so on: docs/architecture.md, Tests),
# `./test.sh -R subject.sleep` one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

scripts/install-dependencies.sh
cmake --preset release -DBUILD_TESTING=ON  # the demonstration builds without
cmake --build --preset release
# One more than there are processors: many tests wait for most of their time. What fails runs once more, since some tests end a program in
# the middle of its work, and on a busy machine it may have been done by then; what fails twice has failed.
exec ctest --preset release --parallel "$(($(nproc) + 1))" --repeat until-pass:2 "$@"
