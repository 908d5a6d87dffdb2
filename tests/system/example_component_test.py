#!/usr/bin/env python3
"""examples/component: a third party's checkpointer, built outside of the tree against what was installed, is found, selected and used."""

import argparse
import os
import pathlib
import shutil
import signal
import subprocess
import sys

from harness import Workspace, check, is_alive, read_text, run_cases, users_to_test, wait_until

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "component"
SCRIPT = "count.sh"


def tool(*arguments, **options):
    result = subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True, timeout=60, **options)
    check(result.returncode == 0, f"{arguments}:\n{result.stdout}{result.stderr}")
    check("warning" not in result.stdout + result.stderr, f"{arguments}:\n{result.stdout}{result.stderr}")
    return result.stdout


def build_outside(workspace, build):
    """Installs, copies the example away, and builds it as its two descriptions say; returns the two objects."""
    prefix = workspace.directory / "prefix"
    tool("cmake", "--install", build, "--prefix", prefix)
    copy = workspace.directory / "example"
    shutil.copytree(SOURCE, copy)
    tool("make", "-C", copy, f"CRS_PREFIX={prefix}")
    tool("cmake", "-S", copy, "-B", copy / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    tool("cmake", "--build", copy / "build")
    symbols = tool("nm", "-D", "--defined-only", "--format=posix", copy / "memo.so").split("\n")
    check([line.split()[0] for line in symbols if line] == ["crs_component_table"], f"it exports {symbols}")
    workspace.crs_path = workspace.reachable(prefix / "bin" / "crs")
    script = workspace.work / SCRIPT
    shutil.copy(copy / SCRIPT, script)
    script.chmod(0o755)
    return [copy / "memo.so", copy / "build" / "memo.so"]


def number_in(path):
    text = read_text(path).strip()
    return int(text) if text else 0


def use(workspace):
    """Found, selected, its parameter shown, and every operation used once."""
    entry = {entry["name"]: entry for entry in workspace.crs("components", "--json").json()["components"]}["memo"]
    check(entry["usable"] and entry["priority"] == 0 and not entry["selected"] and entry["interface_version"].startswith("2."), f"{entry}")
    check([name for name, value in entry["brings_back"].items() if value] == ["other_processes"], f"{entry}")
    limit = workspace.crs("params", "--json", "crs_memo_limit").json()["parameters"][0]
    check((limit["value"], limit["type"]) == (65536, "integer") and limit["description"], f"{limit}")
    result = workspace.crs("params", "--param", "crs_memo_limit=much", expect=2)
    check("crs_memo_limit" in result.stderr and "integer" in result.stderr, f"{result}")

    memo = workspace.work / f"{SCRIPT}.memo"
    runner, pid = workspace.start_by_crs("count", [f"./{SCRIPT}", "100000000"], program="sh", env={**workspace.environment, "CRS_PARAM_crs": "memo"})
    wait_until(lambda: number_in(memo) > 10, "it counts")
    result = workspace.crs("checkpoint", "--component", "memo", "--param", "crs_memo_verbose=1", "count")
    reference = result.stdout.strip()
    check("memo: the memo is kept" in result.stderr and "only the memo was kept" in result.stderr, f"{result}")
    check(is_alive(pid), "the program did not go on")
    kept = number_in(pathlib.Path(workspace.crs("show", "--json", reference).json()["location"]) / "memo")
    check(kept > 10, f"{kept} was kept")
    # Its errors are those of any component: a kind, and advice.
    sleeper = workspace.start(["sleep", "6161"])
    wait_until(lambda: os.readlink(f"/proc/{sleeper.pid}/exe").endswith("sleep"), "sleep runs")
    error = workspace.crs("checkpoint", "--component", "memo", "--json", str(sleeper.pid), expect=1).json()["error"]
    sleeper.kill()
    workspace.wait_exit(sleeper)
    check((error["kind"], "MEMO" in error["advice"]) == ("refused", True), f"{error}")
    error = workspace.crs("checkpoint", "--component", "memo", "--param", "crs_memo_limit=1", "--json", "count", expect=1).json()["error"]
    check("crs_memo_limit" in error["advice"] and len(workspace.snapshots()) == 1 and is_alive(pid), f"{error}")
    workspace.crs("verify", reference)
    workspace.crs("checkpoint", "--component", "memo", "--kill", "count")
    check(workspace.wait_exit(runner) == 128 + signal.SIGKILL, "--kill")
    workspace.wait_gone()  # what the script had just started may write the memo once more

    # It has no operation that says beforehand whether a restart can begin: then nothing is asked, started or touched.
    memo.write_text("4711000\n")
    result = workspace.crs("restart", "--replace", "--check-only", reference)
    check(result.stdout == "" and memo.read_text() == "4711000\n", f"{result}")
    # It goes on from what was kept, and what the memo held meanwhile is not lost.
    result = workspace.crs("restart", "--detach", reference)
    pid = int(result.stdout)
    aside = pathlib.Path(result.stderr.split("is kept as ")[1].split("\n")[0])
    check(aside.read_text() == "4711000\n", f"{result}")
    wait_until(lambda: kept < number_in(memo) < 4711000, f"it counts on from {kept}")
    check(os.readlink(f"/proc/{pid}/cwd") == str(workspace.work), "another working directory")
    workspace.kill(pid)
    # A program that has not written anything yet has an empty memo.
    sleeper = workspace.start(["sleep", "6161"], env={**workspace.environment, "MEMO": "none-yet"})
    wait_until(lambda: os.readlink(f"/proc/{sleeper.pid}/exe").endswith("sleep"), "sleep runs")
    workspace.crs("checkpoint", "--component", "memo", "--name", "early", "--kill", str(sleeper.pid))
    workspace.kill(workspace.restart("early"))
    check((workspace.work / "none-yet").read_bytes() == b"", "an empty memo")
    # What cannot be executed, and what is damaged, is said.
    pathlib.Path(workspace.work / SCRIPT).rename(workspace.work / "away")
    result = workspace.crs("restart", reference, expect=None)
    check(result.status not in (0, 4), f"{result}")
    location = pathlib.Path(workspace.crs("show", "--json", reference).json()["location"])
    (location / "command").chmod(0o600)
    (location / "command").write_bytes(b"")
    result = workspace.crs("restart", reference, expect=4)
    check("command" in result.stderr and "holds no command" not in result.stderr, f"damage is left to the component: {result}")


def test(options, user):
    with Workspace(options.crs, user, options.verbose) as workspace:
        for number, built in enumerate(build_outside(workspace, options.build)):
            directory = workspace.make_directory(f"objects{number}")
            shutil.copy(built, directory / "memo.so")
            (directory / "memo.so").chmod(0o755)
            workspace.environment["CRS_COMPONENT_PATH"] = str(directory)
            if number == 0:
                use(workspace)
                check("memo does what it declares" in workspace.crs("components", "--conformance", "memo", limit=120).stdout, "conformance")
            else:
                check('"memo"' in workspace.crs("components", "--json").stdout, "built by CMake it is not found")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--verbose", action="store_true")
    options, _ = parser.parse_known_args()
    run_cases([(f"example component as {user}", lambda user=user: test(options, user)) for user in users_to_test()])


if __name__ == "__main__":
    sys.exit(main())
