#!/usr/bin/env python3
"""The store's verbs from outside (list, show, verify, remove), and stores in unusual places and conditions."""

import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess

from harness import check, is_alive, run_tests, state_of, wait_until

PYTHON = "/usr/bin/python3"


def start_sleeper(workspace, *arguments, **options):
    process = workspace.start(["/bin/sleep", "6161", *arguments], **options)
    wait_until(lambda: os.path.basename(os.path.realpath(f"/proc/{process.pid}/exe")) == "sleep", "sleep runs")
    return process


def take(workspace, pid, job, times=1):
    return [workspace.checkpoint(str(pid), "--name", job) for _ in range(times)][-1]


def references_of(workspace, *arguments):
    return [entry["reference"] for entry in workspace.crs("list", "--json", *arguments).json()["snapshots"]]


def lists_in_order(workspace):
    """By job, and within a job by number, not by digit."""
    sleeper = start_sleeper(workspace)
    for job, times in (("b", 1), ("a-1", 1), ("a", 11), ("B", 1)):
        take(workspace, sleeper.pid, job, times)
    expected = ["B@1", *[f"a@{number}" for number in range(1, 12)], "a-1@1", "b@1"]
    check(references_of(workspace) == expected, f"{references_of(workspace)}")
    text = workspace.crs("list").stdout
    check(re.findall(r"^(\S+@\d+) ", text, re.MULTILINE) == expected and text.startswith("SNAPSHOT "), text)
    check(all("/bin/sleep 6161" in line for line in text.splitlines()[1:]), text)
    check(references_of(workspace, "a-1") == ["a-1@1"], "one job alone")
    check(workspace.crs("show", "--json", "a").json()["reference"] == "a@11", "JOB is not its newest snapshot")
    # A number is never given twice, and removal leaves the rest alone.
    check(workspace.crs("remove", "a@11", "a@3", "a@3", "--json").json()["removed"] == ["a@11", "a@3"], "")
    check(take(workspace, sleeper.pid, "a") == "a@12", "a number is given again")
    check(workspace.crs("show", "--json", "a").json()["reference"] == "a@12", "")
    workspace.crs("remove", "--all", "a")
    workspace.crs("list", "a", expect=3)
    check(references_of(workspace) == ["B@1", "a-1@1", "b@1"], f"{references_of(workspace)}")
    check(take(workspace, sleeper.pid, "a") == "a@13", "a number is given again after all were removed")


def removes_all_or_says_what(workspace):
    """Names are looked at before anything goes; a removal says what it has removed."""
    sleeper = start_sleeper(workspace)
    take(workspace, sleeper.pid, "job", 4)
    for arguments in (["job@1", "job@9"], ["job@1", "other@1"]):
        result = workspace.crs("remove", *arguments, expect=3)
        check(result.stdout == "" and arguments[1].split("@")[0] in result.stderr, f"{result}")
    workspace.crs("remove", "job@1", "job", expect=2)
    workspace.crs("remove", "job@1", "--all", "job", expect=2)
    check(references_of(workspace) == [f"job@{number}" for number in range(1, 5)], "something was removed all the same")
    result = workspace.crs("remove", "job@2", "job@1")
    check(result.stdout == "removed job@2\nremoved job@1\n", f"{result}")
    answer = workspace.crs("remove", "--json", "--all", "job").json()
    check(answer["removed"] == ["job@4", "job@3"] and answer["bytes"] > 100000, f"{answer}")
    workspace.crs("remove", "--all", "job", expect=3)
    check(list(workspace.store.rglob("pages")) == [], "page files are left")
    check(is_alive(sleeper.pid) and state_of(sleeper.pid) == "S", "")


def modes_on_disk(workspace):
    """Mode 0700 and the user's own, whatever the umask; files that are never written again."""
    place = workspace.home / "deep" / "er"
    environment = {**workspace.environment, "CRS_STORE": str(place)}
    sleeper = start_sleeper(workspace)
    for mask in (0, 0o077):
        workspace.crs("checkpoint", "--name", f"m{mask}", str(sleeper.pid), env=environment, umask=mask)
    seen = set()
    for path in [workspace.home / "deep", place, *place.rglob("*")]:
        status = path.lstat()
        kind = "directory" if stat.S_ISDIR(status.st_mode) else "snapshot" if path.parent.name.isdigit() else "file"
        seen.add((kind, oct(stat.S_IMODE(status.st_mode)), status.st_uid))
    allowed = {("directory", "0o700", workspace.uid), ("snapshot", "0o400", workspace.uid), ("file", "0o600", workspace.uid)}
    check(seen <= allowed and len(seen) >= 2, f"{seen - allowed}")


def default_places(workspace):
    """$CRS_STORE, else $XDG_STATE_HOME/crs, else ~/.local/state/crs; --store before them all."""
    sleeper = start_sleeper(workspace)
    base = {name: value for name, value in workspace.environment.items() if name != "CRS_STORE"}
    state = workspace.home / "state"
    for options, environment, place in (([], base, workspace.home / ".local/state/crs"), ([], {**base, "CRS_STORE": ""}, workspace.home / ".local/state/crs"),
                                        ([], {**base, "XDG_STATE_HOME": "relative"}, workspace.home / ".local/state/crs"),
                                        ([], {**base, "XDG_STATE_HOME": str(state)}, state / "crs"),
                                        ([], {**base, "CRS_STORE": "here", "XDG_STATE_HOME": str(state)}, workspace.work / "here"),
                                        (["--store", "there/"], {**base, "CRS_STORE": "here"}, workspace.work / "there"),
                                        (["--store", str(workspace.home / "with space\n")], base, workspace.home / "with space\n")):
        answer = workspace.crs("checkpoint", "--json", "--name", "place", *options, str(sleeper.pid), env=environment).json()
        check(answer["location"] == f"{place}/place/{answer['sequence']}", f"{answer['location']} instead of {place}")
        check((pathlib.Path(answer["location"]) / "manifest").exists(), f"nothing in {place}")
        check(workspace.crs("list", "--json", *options, env=environment).json()["store"] == str(place), f"{place}")
    nowhere = {name: value for name, value in base.items() if name != "HOME"}
    if workspace.drops:  # no password entry either
        check("CRS_STORE" in workspace.crs("list", env=nowhere, expect=1).stderr, "no home")
    else:
        workspace.crs("list", "--store", str(workspace.store), env=nowhere)


def stores_of_the_wrong_kind(workspace):
    """Other users' stores, open ones, files, links: one line that says what is wrong, and nothing done."""
    sleeper = start_sleeper(workspace)
    take(workspace, sleeper.pid, "good")
    (workspace.work / "file").write_text("")
    (workspace.work / "open").mkdir()
    (workspace.work / "open").chmod(0o755)
    (workspace.work / "loop").symlink_to("loop")
    (workspace.work / "dangling").symlink_to("nowhere")
    for path in ("open", "file"):
        os.chown(workspace.work / path, workspace.uid, workspace.uid)
    places = [("file", "ot a directory"), ("open", "chmod 700"), ("loop", "oo many"), ("dangling", "dangling"), ("file/below", "ot a directory"),
              ("/proc/crs", "/proc/crs"), ("/dev/null", "/dev/null"), ("x" * 300, "too long")]
    if workspace.am_root:
        foreign = workspace.directory / "foreign"
        foreign.mkdir(mode=0o700)
        os.chown(foreign, *[0 if workspace.drops else 61235] * 2)
        places.append((str(foreign), "foreign"))
        (workspace.directory / "theirs").mkdir(mode=0o700)
        os.chown(workspace.directory / "theirs", 61235, 61235)
        (workspace.work / "linked").symlink_to(workspace.directory / "theirs")
        places.append(("linked", "linked"))
    for place, word in places:
        for arguments in (["checkpoint", "--name", "x", str(sleeper.pid)], ["run", "true"]):
            result = workspace.crs("--store", place, *arguments, expect=1)
            check(word in result.stderr and result.stderr.count("\n") == 1 and result.stdout == "", f"{place}: {result}")
    for place, word in places:
        result = workspace.crs("--store", place, "list", "--json", expect=None)
        check(result.status in (0, 1) and result.json(), f"{place}: {result}")
    check(state_of(sleeper.pid) == "S", "the program was touched")
    # A link to a store of one's own is a place like any other; a link inside a store is not followed.
    (workspace.work / "mine").symlink_to(workspace.store)
    check(references_of(workspace, "--store", "mine") == ["good@1"], "a link to the store")
    elsewhere = workspace.home / "elsewhere"
    shutil.copytree(workspace.store / "good", elsewhere)
    (workspace.store / "link").symlink_to(elsewhere)
    (workspace.store / "good" / "7").symlink_to(elsewhere / "1")
    (workspace.store / ".hidden").mkdir()
    (workspace.store / "stray").write_text("")
    check(references_of(workspace) == ["good@1", "good@7"], f"{references_of(workspace)}")
    # Nor is an older snapshot taken for the newest one, whose place it has.
    for verb in ("show", "restart", "verify"):
        result = workspace.crs(verb, "good", expect=4)
        check("good/7 is not a directory" in result.stderr, f"{result}")
    workspace.crs("remove", "good@7")
    check(references_of(workspace) == ["good@1"], f"{references_of(workspace)}")
    for arguments in (["show", "link@1"], ["restart", "link"], ["verify", "link"], ["remove", "--all", "link"], ["checkpoint", "link"]):
        result = workspace.crs(*arguments, expect=None)
        check(result.status in (3, 4) and result.stderr.count("\n") == 1, f"{result}")
    check((elsewhere / "1" / "manifest").exists(), "a link inside the store was followed")
    check(take(workspace, sleeper.pid, "good") == "good@2", "")


def leftovers(workspace):
    """What an interrupted checkpoint or removal leaves is never a snapshot, and is cleaned by the next command."""
    program = r"""
import os, time
data = bytearray(os.urandom(1 << 20)) * 150
os.write(1, b"up\n")
time.sleep(6161)
"""
    process = workspace.start([PYTHON, "-c", program])
    wait_until(lambda: "up" in (workspace.work / "stdout.txt").read_text(), "the program is up")
    take(workspace, process.pid, "big")
    job = workspace.store / "big"
    before = {path.name for path in job.iterdir()}
    command = workspace.start([workspace.crs_path, "checkpoint", "--name", "big", str(process.pid)])
    partial = wait_until(lambda: [path for path in job.iterdir() if path.name not in before and path.is_dir()], "a partial snapshot")[0]
    wait_until(lambda: any(path.name == "pages" and path.stat().st_size for path in partial.rglob("*")), "pages are being written")
    os.kill(command.pid, signal.SIGKILL)
    command.wait()
    check(partial.exists(), "the checkpoint was too fast to be interrupted")
    wait_until(lambda: state_of(process.pid) == "S", "the program goes on")
    for verb in ("show", "verify", "restart"):
        workspace.crs(verb, "big@2", expect=3)
    check(workspace.crs("show", "big", "--json").json()["sequence"] == 1, "a partial snapshot counts as the newest")
    check(references_of(workspace) == ["big@1"], f"{references_of(workspace)}")
    check(not partial.exists(), "crs list has not cleaned the leftovers")
    check(take(workspace, process.pid, "big") == "big@2", "")
    # A committed snapshot is never written to again, whatever is done with it.
    def portrait():
        return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino, path.stat().st_mode, path.read_bytes() if path.stat().st_size < 1 << 20 else b"")
                for path in (job / "1").iterdir()}
    known = portrait()
    workspace.crs("verify", "big@1")
    pid = workspace.restart("big@1", "--name", "again")
    take(workspace, pid, "again")
    os.kill(pid, signal.SIGKILL)
    check(portrait() == known, "a committed snapshot was modified")


def show_says_everything(workspace):
    """Odd arguments, names and directories come out as they are in JSON, and harmlessly on a terminal."""
    odd = os.fsencode(workspace.work) + b"/d\xff \x1b[31m\n"
    os.mkdir(odd)
    os.chown(odd, workspace.uid, workspace.uid)
    process = subprocess.Popen([PYTHON, "-c", "import time; time.sleep(6161)", b"a\xffb", "", "q'uo\"te", "new\nline", "\x1b[31mred"],
                               cwd=odd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                               env={}, **workspace.identity())
    workspace.processes.append(process)
    wait_until(lambda: open(f"/proc/{process.pid}/syscall").read().split()[0] in ("230", "35"), "it sleeps")
    workspace.checkpoint(str(process.pid), "--name", "odd")
    shown = workspace.crs("show", "--json", "odd").json()
    check(shown["program"]["command_line"] == [PYTHON, "-c", "import time; time.sleep(6161)", "a\ufffdb", "", "q'uo\"te", "new\nline", "\x1b[31mred"],
          f"{shown['program']}")
    check(shown["program"]["working_directory"] == str(workspace.work) + "/d\ufffd \x1b[31m\n", f"{shown['program']}")
    check(shown["user_id"] == workspace.uid and shown["host"] == os.uname().nodename and os.uname().release in shown["kernel"], f"{shown}")
    check(shown["program"]["executable"] == os.path.realpath(PYTHON) and shown["program"]["pid"] == process.pid, f"{shown}")
    for arguments in (["show", "odd"], ["list"]):
        text = workspace.crs(*arguments).stdout
        check("\x1b" not in text and "\\x1b[31mred" in text, f"control characters reach the terminal: {text!r}")
    check(len(workspace.crs("list").stdout.splitlines()) == 2, "a newline breaks the list")
    workspace.kill(process.pid)
    pid = workspace.restart("odd")
    check(os.fsencode(os.readlink(os.fsencode(f"/proc/{pid}/cwd"))) == odd, "another working directory")
    workspace.kill(pid)


def json_of_every_verb(workspace):
    """Success and failure alike print one JSON document, with the same exit status as without."""
    sleeper = start_sleeper(workspace)
    take(workspace, sleeper.pid, "json", 2)
    damaged = workspace.store / "json" / "2" / "pages"
    damaged.chmod(0o600)
    with open(damaged, "r+b") as file:
        file.seek(100)
        byte = file.read(1)[0]
        file.seek(100)
        file.write(bytes([byte ^ 1]))
    shutil.copytree(workspace.store / "json" / "1", workspace.store / "json" / "3")  # says that it is json@1
    if workspace.drops:
        for path in [workspace.store / "json" / "3", *(workspace.store / "json" / "3").iterdir()]:
            os.chown(path, workspace.uid, workspace.uid)
    for arguments, status in ((["list"], 0), (["list", "json"], 0), (["list", "none"], 3), (["show", "json@1"], 0), (["show", "json@3"], 4),
                              (["show", "json@9"], 3), (["show", "json@0"], 2), (["verify", "json@1"], 0), (["verify", "json@2"], 4),
                              (["verify", "json@3"], 4), (["verify", "no"], 3), (["restart", "json@2"], 4), (["restart", "json@3"], 4),
                              (["restart", "no"], 3), (["restart", "--detach", "--files", "no", "json"], 2), (["remove", "json@9"], 3),
                              (["remove"], 2), (["remove", "--odd"], 2), (["components"], 0), (["params"], 0), (["params", "odd"], 2),
                              (["checkpoint", "odd"], 3), (["checkpoint"], 2), (["check"], 0), (["components", "odd"], 2), (["odd"], 2),
                              (["remove", "json@3"], 0), (["remove", "--all", "json"], 0)):
        plain = workspace.crs(*arguments, expect=status) if "remove" not in arguments or status else None
        result = workspace.crs(arguments[0], "--json", *arguments[1:], expect=status) if arguments != ["odd"] else workspace.crs("--json", "odd", expect=2)
        answer = result.json()
        if status and not (arguments[0] == "verify" and status == 4 and "error" not in answer):
            error = answer["error"]
            check(error["exit_status"] == status and error["message"] and error["chain"], f"{result}")
            check(plain.stdout == "" and plain.stderr.count("\n") == 1 and error["chain"][0] in plain.stderr, f"{plain}")
        elif status:
            check(answer["sound"] is False and answer["damage"], f"{result}")
        else:
            check("error" not in answer, f"{result}")


def odd_umask(workspace):
    """A caller's umask that takes everything away: the store is usable, and the program has that umask, after a restart, too."""
    program = "import os, time\nopen('up', 'w').close()\nwhile not os.path.exists('go'): time.sleep(0.01)\nmask = os.umask(0)\nopen('%o' % mask, 'w').close()\n"
    odd = {"umask": 0o777}
    workspace.start_by_crs("odd", ["/usr/bin/python3", "-c", program], program="/usr/bin/python3", **odd)
    wait_until((workspace.work / "up").exists, "the program is up")
    for _ in range(2):
        workspace.checkpoint("odd", **odd)
    check(workspace.crs("verify", "--json", "odd@2", **odd).json()["sound"], "")
    workspace.crs("remove", "odd@1", **odd)
    workspace.crs("checkpoint", "--kill", "odd", **odd)
    (workspace.work / "go").touch()
    runner = workspace.restart_in_foreground("odd", **odd)
    check(workspace.wait_exit(runner) == 0 and (workspace.work / "777").exists(), f"{os.listdir(workspace.work)}")
    check(workspace.snapshots() == ["odd@2", "odd@3"], f"{workspace.snapshots()}")


TESTS = [lists_in_order, removes_all_or_says_what, modes_on_disk, default_places, stores_of_the_wrong_kind, leftovers, show_says_everything,
         json_of_every_verb, odd_umask]


if __name__ == "__main__":
    run_tests(TESTS)
