#!/usr/bin/env bash
# Checks that the C++ is as clang-format and clang-tidy want it. The second takes some minutes.
#   check-style.sh            both
#   check-style.sh --format   clang-format alone: seconds
#   check-style.sh --fix      formats the files
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mapfile -t files < <(find src include tests examples -name '*.cc' -o -name '*.h' -o -name '*.hpp' -o -name '*.c' | sort)

case "${1-}" in
  "" | --format) clang-format-19 --dry-run --Werror "${files[@]}" ;;
  --fix) clang-format-19 -i "${files[@]}" ;;
  *) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
if [[ -n ${1-} ]]; then
  exit 0
fi

# The tree in which the files of a folder are compiled together: what they include is read and looked at once for all of them.
build=build/release
cmake --preset release >/dev/null
cmake --build "$build" --target crs_engine_schema_generated crs_store_schema_generated crs_extents_schema_generated >/dev/null
run-clang-tidy-19 -quiet -checks=-bugprone-suspicious-include -p "$build" -j "$(nproc)" "^$PWD/$build/src/" 2>/dev/null | { grep -E '(warning|error):' || true; } | sort -u >"$build/clang-tidy.txt"
if [[ -s $build/clang-tidy.txt ]]; then
  cat "$build/clang-tidy.txt"
  exit 1
fi
