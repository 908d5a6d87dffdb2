#!/usr/bin/env bash
# Shows CRS at work: installs what is missing, builds, and takes a running Python program through checkpoint, SIGKILL and restart.
# `./demo.sh LIMIT` counts the primes below another limit than 12000000000 (which takes about half a minute).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

limit=${1:-12000000000}

# What the starting program left open (some editors' terminals do) would be the demonstration's program's, too, and a pipe that leads out
# of it cannot be kept.
for descriptor in /proc/self/fd/*; do
  number=${descriptor##*/}
  if ((number > 2)); then eval "exec $number>&-"; fi
done

heading() { printf '\n\033[1m%s\033[0m\n' "$*"; }
tell() { printf '  %s\n' "$*"; }
# Shows a command as a user would type it, then runs it.
show() {
  printf '\n  $ %s\n' "$*"
  "$@" 2>&1 | sed 's/^/    /'
}
give_up() {
  echo "demo.sh: $*" >&2
  exit 1
}

build() {
  heading "Building (the first time this takes a few minutes)"
  scripts/install-dependencies.sh --build-only
  mkdir -p build
  if ! { cmake --preset release -DBUILD_TESTING=OFF && cmake --build --preset release --target crs; } >build/demo-build.log 2>&1; then
    tail -n 40 build/demo-build.log >&2
    give_up "the build failed; all of its output is in build/demo-build.log"
  fi
  tell "build/release/bin/crs is ready."
}

clean_up() {
  local process
  for process in ${runner:-} ${plain:-} ${program:-} ${restarted:-}; do
    kill -KILL "$process" 2>/dev/null || true
  done
  wait 2>/dev/null || true
  rm -rf "$place"
}

lines_of() { if [[ -e $1 ]]; then wc -l <"$1"; else echo 0; fi; }

wait_for_lines() { # FILE COUNT
  while (($(lines_of "$1") < $2)); do
    kill -0 "$runner" 2>/dev/null || give_up "the program ended too early: its log has $(lines_of "$1") lines, wanted $2"
    sleep 0.1
  done
}

build
export PATH="$PWD/build/release/bin:$PATH"
program_file=$PWD/examples/primes.py
place=$(mktemp -d "${TMPDIR:-/tmp}/crs-demo.XXXXXXXX")
trap clean_up EXIT
export CRS_STORE=$place/store
cd "$place"
mkdir plain checkpointed
segments=$(((limit + 3999999) / 4000000))

heading "The job"
tell "examples/primes.py counts the primes below $limit with four worker threads: plain Python, knows nothing of CRS."
tell "It appends a line to a log for each of its $segments segments. It runs twice at the same time:"
tell "once undisturbed, for comparison, and once under CRS, where it will not be spared."
python3 "$program_file" "$limit" plain/log plain/result </dev/null >plain/output 2>&1 &
plain=$!
printf '\n  $ crs run --name primes -- python3 primes.py %s checkpointed/log checkpointed/result >output 2>&1 &\n' "$limit"
# With streams of its own: were they this script's, the restart would cut this script's output back, too, where it is a file.
crs run --name primes -- python3 "$program_file" "$limit" checkpointed/log checkpointed/result </dev/null >checkpointed/output 2>&1 &
runner=$!

heading "A checkpoint, while it runs"
wait_for_lines checkpointed/log $((segments / 3))
tell "The log has $(lines_of checkpointed/log) of $segments lines:"
tail -n 1 checkpointed/log | sed 's/^/    /'
show crs checkpoint primes
tell ""
tell "The program goes on as if nothing had happened. How long it was paused, and what was saved:"
show crs show primes@1

heading "Disaster"
wait_for_lines checkpointed/log $((segments / 2))
program=$(pgrep --parent "$runner" || true)
[[ -n $program ]] || give_up "cannot find the program below crs run (process $runner)"
printf '\n  $ kill -KILL %s\n' "$program"
kill -KILL $program
status=0
wait "$runner" || status=$?
runner='' program=''
tell "Gone, with the log at $(lines_of checkpointed/log) lines and no result. crs run returned $status (128 + 9 for SIGKILL)."
[[ ! -e checkpointed/result ]] || give_up "there is a result already"

heading "What is left"
show crs list
show crs verify primes@1

heading "The restart"
printf '\n  $ crs restart primes@1\n'
status=0
crs restart primes@1 2>restart-messages &
restarted=$!
wait "$restarted" || status=$?
restarted=''
sed 's/^/    /' restart-messages
((status == 0)) || give_up "crs restart returned $status"
tell "It ran to its end; crs restart returned the program's exit status, $status."

heading "The comparison"
wait "$plain" || give_up "the undisturbed run failed"
plain=''
sed 's/^/    /' checkpointed/result
for file in result log; do
  cmp "plain/$file" "checkpointed/$file" || give_up "the $file differs from the undisturbed run's"
  tell "The $file is byte for byte that of the undisturbed run ($(wc -c <"checkpointed/$file") bytes)."
done
