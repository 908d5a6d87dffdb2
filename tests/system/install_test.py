#!/usr/bin/env python3
"""`cmake --install`: what is installed works from where it is, with the build tree out of reach."""

import argparse
import pathlib
import shutil
import subprocess
import sys

from harness import Workspace, check, is_alive, is_left_out, is_sanitized, read_text, run_cases, users_to_test, wait_until

EXPECTED = ["bin/crs", "share/doc/crs/README.md", "share/doc/crs/docs/limits.md", "share/doc/crs/examples/primes.py"]
LIMIT = 300_000_000  # primes.py: 75 segments, which take a second or two


def install(workspace, build):
    """Installs below the workspace, as whoever runs the tests; returns the prefix."""
    prefix = workspace.directory / "prefix"
    result = subprocess.run(["cmake", "--install", build, "--prefix", prefix], capture_output=True, text=True, timeout=60)
    check(result.returncode == 0, f"cmake --install failed:\n{result.stdout}{result.stderr}")
    for name in EXPECTED:
        check((prefix / name).is_file(), f"{name} is not installed")
    # A link to a page that was not installed helps nobody.
    for page in ("docs/architecture.md", "docs/snapshot-format.md", "CHANGELOG.md"):
        check(page in (prefix / "share/doc/crs/README.md").read_text() and (prefix / "share/doc/crs" / page).is_file(), f"{page} is missing")
    return prefix


def needs_no_build_tree(workspace, prefix, build):
    text = subprocess.run(["readelf", "--dynamic", prefix / "bin/crs"], capture_output=True, text=True, check=True).stdout
    check("RPATH" not in text and "RUNPATH" not in text, f"the installed crs looks for libraries at a fixed place:\n{text}")
    libraries = workspace.run(["ldd", prefix / "bin/crs"])
    check("not found" not in libraries.stdout and str(build) not in libraries.stdout, f"libraries: {libraries}")


def work_for(program):
    """Enough for several checkpoints of a sanitized crs, too."""
    return LIMIT * 8 if is_sanitized(program) else LIMIT


def works(workspace, prefix):
    """One round with the installed program and the installed example."""
    workspace.crs_path = prefix / "bin/crs"
    version = workspace.crs("--version").stdout
    check(version.startswith("crs ") and version.count(".") == 2, f"crs --version says {version!r}")
    workspace.crs("check")
    example = prefix / "share/doc/crs/examples/primes.py"
    log, result = workspace.work / "log", workspace.work / "result"
    plain = workspace.run([example, work_for(workspace.crs_path), workspace.work / "plain-log", workspace.work / "plain-result"])
    check(plain.status == 0, f"the example alone: {plain}")
    runner, pid = workspace.start_by_crs("installed", [example, work_for(workspace.crs_path), log, result], program="python3")
    wait_until(lambda: log.exists() and len(read_text(log).splitlines()) >= 2, "the example is at work")
    reference = workspace.checkpoint("installed", "--kill")
    check(not is_alive(pid) and not result.exists(), "the example was done before it could be ended")
    workspace.wait_exit(runner)
    workspace.crs("verify", reference)
    workspace.crs("restart", reference, limit=60)
    for name in ("log", "result"):
        check((workspace.work / name).read_bytes() == (workspace.work / f"plain-{name}").read_bytes(), f"the {name} differs")


def can_be_moved(workspace, prefix, options):
    """What belongs together finds itself: the program, the library, components, the subject of the conformance suite."""
    moved = workspace.directory / "elsewhere" / "deeper"
    moved.parent.mkdir()
    prefix.rename(moved)
    check("CRS_COMPONENT_PATH" not in workspace.environment, "the test would show nothing")
    workspace.crs_path = moved / "bin/crs"
    listed = {component["name"]: component for component in workspace.crs("components", "--json").json()["components"]}
    check("self" in listed, f"{listed}")
    report = workspace.crs("components", "--conformance", "self", "--json", limit=120).json()
    check(report["conforms"], f"{report}")
    # Such a library needs the sanitizer in whatever uses it.
    if not is_left_out(workspace.crs_path, "a program from outside the build tree with libcrs"):
        finds_what_belongs_to_the_library(workspace, moved)
    return moved


def finds_what_belongs_to_the_library(workspace, moved):
    """A program with libcrs finds crs and the components beside the library: by its real path, whatever was its name."""
    program = workspace.directory / "operations"
    source = pathlib.Path(__file__).resolve().parents[1] / "library" / "operations.cc"
    library = next(moved.rglob("libcrs.so")).parent
    words = ["g++", "-std=c++17", "-I", moved / "include", source, "-o", program, f"-L{library}", "-lcrs", f"-Wl,-rpath,{library}"]
    built = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120)
    check(built.returncode == 0, built.stderr)
    for component in ("self", "native"):
        result = workspace.run(["sh", "-c", '"$0" "$@" 2>&1 | cat', program, component, workspace.work / f"copy-{component}", "0"])
        check(f"module {component}\n" in result.stdout and "child of direct@" in result.stdout, f"{result}")


def test(options, user):
    with Workspace(options.crs, user, options.verbose) as workspace:
        prefix = install(workspace, options.build)
        needs_no_build_tree(workspace, prefix, options.build)
        works(workspace, prefix)
        prefix = can_be_moved(workspace, prefix, options)
        shutil.rmtree(prefix)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--verbose", action="store_true")
    options, _ = parser.parse_known_args()
    run_cases([(f"install as {user}", lambda user=user: test(options, user)) for user in users_to_test()])


if __name__ == "__main__":
    sys.exit(main())
