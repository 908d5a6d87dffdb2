#!/usr/bin/env python3
"""Parameters and components from outside: where values come from, what is found, what is selected, and that a checkpointer is reached by
its module's operations alone."""

import argparse
import os
import pathlib
import shutil
import struct
import subprocess
import sys

from harness import Workspace, check, is_alive, run_cases, state_of, users_to_test, wait_until


def parameter(workspace, name, *arguments, **options):
    return workspace.crs("params", "--json", *arguments, name, **options).json()["parameters"][0]


def four_sources(workspace):
    """default < configuration file < environment < command line, for each type, and always said which."""
    base = {**workspace.environment, "XDG_CONFIG_HOME": str(workspace.home / "config")}
    file = workspace.home / "config" / "crs" / "crs.toml"
    file.parent.mkdir(parents=True)
    cases = [("crs_none_verbose", 0, 1, 2, 3), ("crs", "", "none", "native", "none")]
    for name, default, in_file, in_environment, in_command in cases:
        environment = dict(base)
        file.write_text("")
        steps = [("default", default), ("file", in_file), ("environment", in_environment), ("command line", in_command)]
        arguments = []
        for source, value in steps:
            if source == "file":
                file.write_text(f"# a comment\n{name} = {value!r}\n")
            elif source == "environment":
                environment[f"CRS_PARAM_{name}"] = str(value)
            elif source == "command line":
                arguments = ["--param", f"{name}={value}"]
            seen = parameter(workspace, name, *arguments, env=environment)
            check((seen["value"], seen["source"], seen["default"]) == (value, source, default), f"{source}: {seen}")
            check(seen["description"] and (source != "file" or seen["origin"] == f"{file}:2"), f"{source}: {seen}")
            text = workspace.crs("params", *arguments, name, env=environment).stdout
            check(f"from: {source}" in text and (f'"{value}"' if isinstance(value, str) else f"= {value}") in text, text)
    check("crs_native_priority" in workspace.crs("params", "crs_nativ_priority", expect=2).stderr, "the nearest parameter is not named")
    check("'crs'" in workspace.crs("params", "xyzzy", expect=2).stderr, "however far it is")
    # $CRS_CONFIG takes the file's place, and a file that is named must be there.
    other = workspace.home / "other.toml"
    other.write_text("crs_base_verbose = 5\n")
    environment = {**base, "CRS_CONFIG": str(other)}
    check(parameter(workspace, "crs_base_verbose", env=environment)["origin"] == f"{other}:1", "")
    check(parameter(workspace, "crs_none_verbose", env=environment)["source"] == "default", "both files were read")
    check(parameter(workspace, "crs", "--param", "crs=none", "--param", "crs=native")["value"] == "native", "the last option wins")
    workspace.crs("params", env={**base, "CRS_CONFIG": str(other) + "x"}, expect=1)
    pipe = workspace.home / "pipe.toml"
    os.mkfifo(pipe)
    check("is a pipe, no file" in workspace.crs("list", env={**base, "CRS_CONFIG": str(pipe)}, expect=1).stderr, "a pipe that nobody writes to")
    # A mistake in any of them is named with its place, by every verb, before anything is done.
    for text, words in (("crs_none_verbos = 1\n", ["crs_none_verbos", "crs_none_verbose", ":1"]), ('crs_none_verbose = "1"\n', ["integer", ":1"]),
                        ("crs_none_verbose = true\n", ["integer", ":1"]), ("\ncrs = 1\n", ["string", ":2"]), ("a b\n", [":1"]),
                        ("crs = [1]\n", ["neither", ":1"]), ("[crs]\nx=1\n", ["neither"])):
        other.write_text(text)
        for arguments in (["params"], ["run", "--", "touch", "made"], ["list"]):
            result = workspace.crs(*arguments, env=environment, expect=2)
            check(all(word in result.stderr for word in [str(other), *words]) and result.stderr.count("\n") == 1, f"{text!r}: {result}")
    other.unlink()
    for name, value in (("CRS_PARAM_crs_none_verbose", "x"), ("CRS_PARAM_crs_none_verbose", ""), ("CRS_PARAM_nothing", "1"),
                        ("CRS_PARAM_crs_none_verbose", "99999999999999999999")):
        result = workspace.crs("run", "--", "touch", "made", env={**base, name: value}, expect=2)
        check(name in result.stderr, f"{result}")
    for option in ("crs_none_verbose=1x", "crs_none_verbose", "=1", "nothing=1", "crs_none_verbose=1.5"):
        workspace.crs("--param", option, "run", "--", "touch", "made", expect=2)
    check(not (workspace.work / "made").exists(), "a program was run all the same")
    check("Did you mean" in workspace.crs("run", "--component", "natve", "true", expect=2).stderr, "")


def components_as_json(workspace, *arguments, **options):
    return {entry["name"]: entry for entry in workspace.crs("components", "--json", *arguments, **options).json()["components"]}


def selection(workspace):
    """The highest priority wins, ties by name; a name wins over that."""
    def selected(*arguments):
        return [name for name, entry in components_as_json(workspace, *arguments).items() if entry["selected"]]
    check(selected() == ["native"], f"{selected()}")
    check(selected("--param", "crs=none") == ["none"], "")
    check(selected("--param", "crs_none_priority=99") == ["none"], "")
    check(selected("--param", "crs_none_priority=50") == ["native"], "a tie is not decided by name")
    check(selected("--param", "crs_native_priority=0") == ["none"], "")
    sleeper = workspace.start(["sleep", "6161"])
    wait_until(lambda: os.readlink(f"/proc/{sleeper.pid}/exe").endswith("sleep"), "sleep runs")
    for arguments in (["--component", "none"], ["--param", "crs=none"], ["--param", "crs_native_priority=0"]):
        result = workspace.crs("checkpoint", *arguments, str(sleeper.pid), expect=1)
        check("component none cannot checkpoint another process" in result.stderr, f"{result}")
        check(result.stderr.count("stores nothing") == 1, f"component none does not say once what it is: {result}")
    check(workspace.snapshots() == [] and state_of(sleeper.pid) == "S", "")
    # What a snapshot was written by is what restarts it, whatever is selected. The engine tells of its passes if it is asked to.
    result = workspace.crs("checkpoint", str(sleeper.pid), "--name", "sleeper", "--kill", "--param", "crs_native_verbose=1")
    for name in ("look", "freeze", "capture, processes", "pages"):
        check(f"crs: native: checkpoint: {name}: " in result.stderr, f"{result}")
    result = workspace.crs("restart", "--detach", "--param", "crs=none", "--param", "crs_base_verbose=1", "sleeper")
    pid = int(result.stdout)
    check("crs: native: restart: pages: " in result.stderr, f"{result}")
    check(state_of(pid) == "S", "")
    workspace.kill(pid)
    # Of a snapshot that is named by its place it finds out the rest itself.
    result = workspace.crs("--verbose", "restart", "--detach", workspace.crs("show", "--json", "sleeper").json()["location"])
    check("cold start" not in result.stderr, f"{result}")
    workspace.kill(int(result.stdout))


def with_components(workspace, options, *names):
    """An environment in which the named components of tests/components are found."""
    directory = workspace.make_directory("components")
    for name in names:
        copy = directory / f"{name}.so"
        shutil.copy(pathlib.Path(options.build) / "components" / name / f"{name}.so", copy)
        copy.chmod(0o755)
    return directory, {**workspace.environment, "CRS_COMPONENT_PATH": f":/nonexistent::{directory}:", "DIARY": str(workspace.work / "diary.txt")}


def end_of_segments(elf):
    """Of the last byte that the loader maps of a shared object (elf(5))."""
    table, entry, count = struct.unpack_from("<Q", elf, 32)[0], *struct.unpack_from("<HH", elf, 54)
    segments = [struct.unpack_from("<IIQQQQ", elf, table + index * entry) for index in range(count)]
    return max(offset + size for kind, _, offset, _, _, size in segments if kind == 1)


def broken_components(workspace, options):
    """Objects that are no good are listed with the reason and harm nothing."""
    directory, environment = with_components(workspace, options, "diary", "old_interface", "unresolved", "throwing", "nameless", "unmakeable")
    (directory / "Garbage-1.so").write_bytes(b"\x7fELF" + bytes(100))
    (directory / "empty.so").write_bytes(b"")
    (directory / "dangling.so").symlink_to("nowhere")
    (directory / "folder.so").mkdir()
    (directory / "readme.txt").write_text("no component")
    os.mkfifo(directory / "pipe.so")
    if workspace.drops:
        os.chown(directory / "pipe.so", workspace.uid, workspace.uid)
    # A library of which only a part has been copied. What is mapped of the rest ends whoever touches it.
    whole = (pathlib.Path(options.build) / "components" / "diary" / "diary.so").read_bytes()
    mapped = end_of_segments(whole)
    for number, length in enumerate((63, 64, 100, 4096, mapped // 2, mapped - 1)):
        (directory / f"part_{number}.so").write_bytes(whole[:length])
    shutil.copy("/lib/x86_64-linux-gnu/libz.so.1", directory / "libz.so")
    (directory / "libz.so").chmod(0o755)
    found = components_as_json(workspace, env=environment)
    reasons = {name: entry["reason"] for name, entry in found.items() if not entry["usable"]}
    for name, words in (("old_interface", ["1.4.2", "2.6.0"]), ("unresolved", ["a_function_that_nobody_has"]), ("throwing", ["query failed"]),
                        ("nameless", ["no name was given"]), ("unmakeable", ["no licence was found"]), ("garbage_1", ["cannot be loaded"]),
                        ("empty", ["cannot be loaded"]), ("dangling", ["cannot be loaded"]), ("folder", ["no regular file"]), ("libz", ["no component"]),
                        ("pipe", ["no regular file"]), ("part_0", ["cannot be loaded"]), ("part_1", ["incomplete"]), ("part_2", ["incomplete"]),
                        ("part_3", ["incomplete"]), ("part_4", ["incomplete"]), ("part_5", ["incomplete"])):
        check(name in reasons and all(word in reasons[name] for word in words), f"{name}: {reasons.get(name)}")
    check(set(found) == {*reasons, "native", "none", "self", "diary"}, f"{set(found)}")
    check(found["diary"]["usable"] and found["diary"]["priority"] == 7 and found["diary"]["version"] == "0.9" and found["native"]["selected"], f"{found['diary']}")
    check("old_interface" in workspace.crs("components", env=environment).stdout, "")
    result = workspace.crs("run", "--component", "unresolved", "true", env=environment, expect=1)
    check("a_function_that_nobody_has" in result.stderr and "native (priority 50)" in result.stderr, f"{result}")
    check(parameter(workspace, "crs_diary_priority", env=environment)["value"] == -1, "its parameters")
    # One that takes the name of another is left out, and said so.
    shutil.copy(pathlib.Path(options.build) / "components" / "impostor" / "impostor.so", directory)
    (directory / "impostor.so").chmod(0o755)
    result = workspace.crs("components", "--json", env=environment)
    check("two components named 'native'" in result.stderr and [e["version"] for e in result.json()["components"] if e["name"] == "native"] != ["9"], f"{result}")
    # The working directory is no component path.
    shutil.copy(directory / "diary.so", workspace.work / "diary.so")
    check("diary" not in components_as_json(workspace, env={**environment, "CRS_COMPONENT_PATH": "::"}), "")


BROKEN_IN_C = {
    "c_other_version": ["3.6.0", "2.6.0"],
    "c_short": ["says that it has 40 bytes"],
    "c_boastful": ["bytes; there are"],
    "c_no_name": ["its name is a null pointer"],
    "c_empty_name": ["calls itself ''", "not a name"],
    "c_odd_name": ["calls itself '../?[2J'"],
    "c_long_name": ["not a name for a component"],
    "c_no_version": ["its version is a null pointer"],
    "c_no_query": ["no query"],
    "c_maybe": ["answers 7"],
    "c_endless_reason": ["longer than"],
    "c_declining": ["it is not Tuesday"],
    "c_failing": ["its query failed", "the licence has run out", "Buy another"],
    "c_mute": ["status 42", "did not say why"],
    "c_bad_parameter": ["limit", "not of its type"],
    "c_many_parameters": ["18446744073709551615 parameters"],
    "c_function": ["is no object"],
    "c_throwing": ["let an exception out", "thrown out of C"],
}


def broken_components_in_c(workspace, options):
    """The same of objects with the C interface: the version is all that is read before it is right, and no string, size or answer is believed."""
    directory, environment = with_components(workspace, options, *BROKEN_IN_C)
    result = workspace.crs("components", "--json", env=environment)
    found = {entry["name"]: entry for entry in result.json()["components"]}
    for name, words in BROKEN_IN_C.items():
        reason = found.get(name, {}).get("reason", "")
        check(not found.get(name, {}).get("usable", True) and all(word in reason for word in words), f"{name}: {found.get(name)}")
    check(set(found) == {*BROKEN_IN_C, "native", "none", "self"} and result.stderr == "", f"{result}")
    check(found["native"]["selected"], "a broken component got in the way of another one")
    # Usable, but without anything that it could do.
    shutil.copy(pathlib.Path(options.build) / "components" / "c_no_operations" / "c_no_operations.so", directory / "broken.so")
    (directory / "broken.so").chmod(0o755)
    reason = components_as_json(workspace, env=environment)["broken"]["reason"]
    check("neither checkpoint nor restart" in reason, reason)
    # What another's object is called, and why it is no good, is text that may hold anything.
    place = directory / "a\n\x1b[31mred"
    place.mkdir(mode=0o755)
    (place / "empty.so").write_bytes(b"")
    shutil.copy(directory / "broken.so", place / "broken.so")
    shown = workspace.crs("components", env={**environment, "CRS_COMPONENT_PATH": str(place)}).stdout
    check("\x1b" not in shown and "red/empty.so" in shown and all(line[:1] in " *" for line in shown.splitlines()), repr(shown))
    check("cannot be used: it cannot be used" not in shown, repr(shown))


def operations(workspace, options):
    """What the command line does with a checkpointer that it has never seen: the module's operations, in their order, and nothing else."""
    _, environment = with_components(workspace, options, "diary")
    diary = workspace.work / "diary.txt"
    keywords = {"env": environment}

    def written():
        lines = diary.read_text().splitlines() if diary.exists() else []
        diary.unlink(missing_ok=True)
        return lines

    result = workspace.crs("run", "--component", "diary", "--", "sh", "-c", 'echo "$PREPARED_BY $0"', **keywords)
    check(result.stdout == "diary one more\n", f"prelaunch changed nothing: {result}")
    check(written() == ["init", "prelaunch sh", "finalize"], "run")
    # The rank that a launcher says; of several the first, and nothing that is no rank.
    for variables, rank in (({"PMIX_RANK": "3", "SLURM_PROCID": "4"}, 3), ({"PMI_RANK": "12"}, 12), ({"OMPI_COMM_WORLD_RANK": "1"}, 1),
                            ({"SLURM_PROCID": "2147483647"}, 2147483647), ({"PMIX_RANK": "3x", "PMI_RANK": "5"}, 5),
                            ({"PMIX_RANK": "-1"}, 0), ({"PMI_RANK": "99999999999", "SLURM_PROCID": ""}, 0)):
        workspace.crs("run", "--component", "diary", "--", "true", env={**environment, **variables})
        told = "prelaunch true" + (f", rank {rank}" if rank else "")
        check(written()[1] == told, f"{variables}")
    for arguments in (["components"], ["params"], ["list"], ["check"]):
        workspace.crs(*arguments, **keywords)
        check(written() == [], f"{arguments} initialised a module")
    sleeper = workspace.start(["sleep", "6161"])
    wait_until(lambda: os.readlink(f"/proc/{sleeper.pid}/exe").endswith("sleep"), "sleep runs")
    pid = sleeper.pid
    result = workspace.crs("checkpoint", "--param", "crs_diary_priority=60", "--name", "note", str(pid), **keywords)
    check(result.stdout == "note@1\n" and "only a note was kept" in result.stderr, f"{result}")
    check(written() == ["init", f"checkpoint {pid}", "finalize"], "checkpoint")
    check(workspace.crs("show", "--json", "note").json()["component"] == {"name": "diary", "version": "0.9", "interface_version": "2.6.0"}, "")
    check(workspace.crs("verify", "--json", "note").json()["sound"], "")
    # Its errors, across the boundary of the object, keep their kind and advice.
    error = workspace.crs("checkpoint", "--component", "diary", "--name", "note", "--leave-out", "fd=5", "--json", str(pid), expect=1, **keywords).json()["error"]
    check(error["kind"] == "refused" and error["advice"] == "Leave --leave-out out", f"{error}")
    check(written() == ["init", f"checkpoint {pid}", "finalize"] and workspace.snapshots() == ["note@1"], "a failed checkpoint")
    result = workspace.crs("checkpoint", "--component", "diary", str(pid), expect=1, env={**environment, "DIARY_FAILS": "1"})
    check("the diary is lost" in result.stderr and "initialising component diary" in result.stderr and written() == ["init"], f"{result}")
    workspace.crs("checkpoint", "--component", "diary", "--name", "note", "--kill", str(pid), **keywords)
    check(workspace.wait_exit(sleeper) == -9 and written() == ["init", f"checkpoint {pid}", "finalize"], "--kill")
    # A restart goes to the component that wrote the snapshot, and its process is waited for.
    result = workspace.crs("restart", "--param", "crs=native", "note@1", expect=128 + 15, **keywords)
    check("the note is read" in result.stderr and written() == ["init", "restart note@1 of diary", "finalize"], f"{result}")
    answer = workspace.crs("restart", "--detach", "--json", "note", **keywords).json()
    check(answer["component"] == "diary" and answer["wait_pid"] == answer["pid"] and written()[1] == "restart note@2 of diary, detached", f"{answer}")
    # Named by its place, it is all that the component is told; the manifest says the rest.
    location = workspace.crs("show", "--json", "note@1", **keywords).json()["location"]
    result = workspace.crs("--verbose", "restart", location, expect=128 + 15, **keywords)
    check(written()[1] == "restart note@1 of diary, from its location" and "cold start" not in result.stderr, f"{result}")
    # Without it the snapshot cannot be restarted, and crs says what is missing.
    result = workspace.crs("restart", "note", expect=None)
    check(result.status == 1 and "there is no component 'diary'" in result.stderr, f"{result}")
    result = workspace.crs("restart", "note", expect=1, env={name: value for name, value in environment.items() if name != "DIARY"})
    check("there is no $DIARY to write to" in result.stderr, f"{result}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--crs", required=True)
    parser.add_argument("--build", required=True)
    parser.add_argument("--only")
    parser.add_argument("--user")
    parser.add_argument("--verbose", action="store_true")
    options, _ = parser.parse_known_args()
    tests = [four_sources, selection, lambda workspace: broken_components(workspace, options),
             lambda workspace: broken_components_in_c(workspace, options), lambda workspace: operations(workspace, options)]
    names = ["four_sources", "selection", "broken_components", "broken_components_in_c", "operations"]

    def case(name, test, user):
        def run():
            with Workspace(options.crs, user=user, verbose=options.verbose) as workspace:
                test(workspace)
        return f"{name} ({user})", run

    run_cases([case(name, test, user) for user in users_to_test() for name, test in zip(names, tests)
               if options.only in (None, name) and options.user in (None, user)])


if __name__ == "__main__":
    sys.exit(main())
