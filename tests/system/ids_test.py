#!/usr/bin/env python3
"""Process ids after a restart, in each of the ways they can come back, and what /proc shows of the restarted program."""

import json
import os
import pathlib
import shutil
import signal

from harness import Failure, check, children_of, is_alive, read_text, run_tests, wait_until

PYTHON = "/usr/bin/python3"
GROUPS = [61300, 61301]

# Says, whenever SIGUSR1 comes, what it thinks its ids are: asked of the kernel, of the C library, and of /proc.
INTROSPECTIVE = r"""
import ctypes, json, os, signal, threading, time
libc = ctypes.CDLL(None, use_errno=True)
ids, barrier = {}, threading.Barrier(3)
def look():
    # For another thread pthread_kill uses the id that the C library keeps of it.
    known = [libc.pthread_kill(ctypes.c_ulong(thread.ident), 0) for thread in threading.enumerate()]
    return [threading.get_native_id(), libc.gettid(), os.readlink("/proc/thread-self").split("/")[-1], known]
def work():
    while True:
        barrier.wait()
        ids[threading.current_thread().name] = look()
        barrier.wait()
for name in ("one", "two"): threading.Thread(target=work, name=name, daemon=True).start()
def report(*_):
    barrier.wait()
    mine = look()
    barrier.wait()
    status = open("/proc/self/status").read()
    answer = {"main": mine, **ids, "pid": os.getpid(), "link": os.readlink("/proc/self"), "threads": sorted(map(int, os.listdir("/proc/self/task"))),
              "ids": [os.getresuid(), os.getresgid()], "groups": sorted(os.getgroups()), "status": status, "pgid": os.getpgid(0), "sid": os.getsid(0),
              "argv": open("/proc/self/cmdline", "rb").read().hex(), "environ": open("/proc/self/environ", "rb").read().hex(),
              "exe": os.readlink("/proc/self/exe"), "comm": open("/proc/self/comm").read(), "auxv": open("/proc/self/auxv", "rb").read().hex()}
    with open("answer.new", "w") as file: json.dump(answer, file)
    os.rename("answer.new", "answer")
signal.signal(signal.SIGUSR1, report)
signal.signal(signal.SIGTERM, lambda *_: os._exit(12))
open("up", "w").close()
# Not signal.pause(): a signal that comes just before it would be answered only after the next.
while True: time.sleep(0.01)
"""

PRIVATE_FIELDS = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Umask", "SigIgn", "SigCgt",
                  "SigBlk", "SigPnd", "ShdPnd", "THP_enabled", "Cpus_allowed", "Threads", "Name")


def status_of(pid):
    """The fields of /proc/PID/status that must not change."""
    fields = dict(line.split(":\t", 1) for line in read_text(f"/proc/{pid}/status").splitlines() if ":\t" in line)
    return {name: fields[name].strip() for name in PRIVATE_FIELDS if name in fields}


def shown_by_proc(pid):
    names = ["cmdline", "environ", "comm", "auxv", "limits", "personality", "oom_score_adj", "coredump_filter"]
    if os.geteuid() == 0:
        names.append("timerslack_ns")  # shown to CAP_SYS_NICE alone
    return {name: pathlib.Path(f"/proc/{pid}/{name}").read_bytes() for name in names} | {
        name: os.readlink(f"/proc/{pid}/{name}") for name in ("exe", "cwd", "root")}


def ask(workspace, pid):
    answer = workspace.work / "answer"
    answer.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    wait_until(answer.exists, f"process {pid} answers")
    return json.loads(answer.read_text())


def start_introspective(workspace, job, **options):
    up = workspace.work / "up"
    up.unlink(missing_ok=True)
    runner, pid = workspace.start_by_crs(job, [PYTHON, "-c", INTROSPECTIVE, "an argument", "", "\xe4"], **options)
    wait_until(up.exists, "the program is up")
    return runner, pid


def are_true(workspace, answer):
    """What the C library, the kernel and /proc say are the same ids."""
    for name in ("main", "one", "two"):
        cached, kernel, shown, known = answer[name]
        check(kernel == int(shown) and known == [0, 0, 0], f"thread {name}: the kernel says {kernel}, /proc {shown}, pthread_kill {known}")
    check(answer["main"][1] == answer["pid"] == int(answer["link"]), f"{answer['main']}, getpid {answer['pid']}, /proc/self {answer['link']}")
    check(answer["threads"] == sorted(answer[name][1] for name in ("main", "one", "two")), f"{answer['threads']}")


def in_each_way(workspace, modes, extra_groups=()):
    runner, pid = start_introspective(workspace, "ids")
    before, status, shown = ask(workspace, pid), status_of(pid), shown_by_proc(pid)
    are_true(workspace, before)
    workspace.checkpoint("ids", "--kill")
    workspace.wait_gone()
    for mode, kind in modes:
        result = workspace.crs("restart", "--detach", *([] if mode == "auto" else ["--ids", mode]), "ids")
        here = int(result.stdout)
        check(("runs under new process and thread ids" in result.stderr) == (kind == "new"), f"{result}")
        after = ask(workspace, here)
        are_true(workspace, after)
        same = {name: after[name] for name in ("main", "one", "two", "pid", "threads")} == {
            name: before[name] for name in ("main", "one", "two", "pid", "threads")}
        nested = read_text(f"/proc/{here}/status").split("NSpid:\t")[1].split("\n")[0].split()
        if kind == "in place":
            check(same and here == pid and nested == [str(pid)], f"{mode}: not in place: {here}, {nested}, {after}")
        elif kind == "private":
            check(same and nested == [str(here), str(pid)], f"{mode}: not private: {here}, {nested}, {after}")
            in_user = os.readlink(f"/proc/{here}/ns/user") != os.readlink("/proc/self/ns/user")
            check(in_user == (workspace.uid != 0), f"{mode}: user namespace of its own: {in_user}")
            init = children_of(os.getpid())
            check(any(read_text(f"/proc/{p}/comm").strip() == "crs-init" or here in children_of(p) for p in init), f"{mode}: no init above it")
        else:
            check(not same and here != pid and nested == [str(here)] and after["pid"] == here, f"{mode}: not new: {here}, {nested}, {after}")
        now = status_of(here)
        check(now == status, f"{mode}: /proc/PID/status was {status}, is {now}")
        found = shown_by_proc(here)
        if kind == "new" and workspace.uid != 0:
            found["exe"] = shown["exe"]  # docs/limits.md
        check(found == shown, f"{mode}: /proc showed {[(k, v) for k, v in shown.items() if found[k] != v]}, shows {[v for k, v in found.items() if shown[k] != v]}")
        for name in ("ids", "argv", "environ", "comm", "auxv"):
            check(after[name] == before[name], f"{mode}: the program itself sees in {name} {after[name]} instead of {before[name]}")
        # And once more: what was restarted can be kept.
        reference = workspace.checkpoint("ids", "--kill")
        workspace.wait_gone()
        again = int(workspace.crs("restart", "--detach", *([] if mode == "auto" else ["--ids", mode]), reference).stdout)
        second = ask(workspace, again)
        are_true(workspace, second)
        check(status_of(again) == status, f"{mode}, second time: /proc/PID/status was {status}, is {status_of(again)}")
        if kind != "new":
            check(second["pid"] == before["pid"], f"{mode}, second time: pid {second['pid']}")
        workspace.kill(again)
        workspace.crs("remove", reference)


def each_way(workspace):
    if workspace.uid == 0:
        in_each_way(workspace, [("auto", "in place"), ("keep", "in place"), ("namespace", "private"), ("new", "new")])
    else:
        in_each_way(workspace, [("auto", "private"), ("namespace", "private"), ("new", "new")])
        result = workspace.crs("restart", "--ids", "keep", "ids@1", expect=1)
        check("may not choose process ids" in result.stderr and "--ids namespace" in result.stderr and result.stderr.count("\n") == 1, f"{result}")
    workspace.crs("restart", "--ids", "odd", "ids@1", expect=2)


def supplementary_groups(workspace):
    """An ordinary user's other groups are still there, and /proc shows them."""
    if not workspace.drops:
        return
    workspace.identity = lambda: {"user": workspace.uid, "group": workspace.uid, "extra_groups": GROUPS}
    in_each_way(workspace, [("auto", "private"), ("new", "new")])


def taken_ids(workspace):
    """Where an id is taken by something else, --ids keep says by what, and root gets a private namespace of itself."""
    runner, pid = start_introspective(workspace, "taken")
    before = ask(workspace, pid)
    if workspace.uid != 0:
        return
    workspace.checkpoint("taken", "--kill")
    workspace.wait_gone()
    thread = before["one"][1]
    for wanted in (pid, thread):
        pathlib.Path("/proc/sys/kernel/ns_last_pid").write_text(str(wanted - 1))
        other = workspace.start(["sleep", "62"])
        if other.pid != wanted:
            workspace.kill(other.pid)
            continue
        wait_until(lambda: read_text(f"/proc/{wanted}/comm") == "sleep\n", "sleep runs")
        result = workspace.crs("restart", "--ids", "keep", "taken", expect=1)
        check(f"process id {wanted} is in use by 'sleep'" in result.stderr and "--ids namespace" in result.stderr, f"{result}")
        check(result.stderr.count("\n") == 1 and [p for p in workspace.leftovers() if p != wanted] == [], f"{result}")
        result = workspace.crs("restart", "--detach", "taken")
        check(f"process id {wanted} is in use here: the program runs in a private process id namespace" in result.stderr, f"{result}")
        here = int(result.stdout)
        after = ask(workspace, here)
        are_true(workspace, after)
        check(after["pid"] == pid and here != pid and is_alive(other.pid), f"{after}")
        # By name and by its pid as seen here.
        check(workspace.checkpoint("taken").startswith("taken@") and workspace.checkpoint(str(here)).startswith("taken@"), "")
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        workspace.kill(here)


def leave_behind(workspace, job, member, is_up):
    """Checkpoints and ends a program, lets a process get its id, start `member` (a shell command) and end. Returns the id, and the member's; or
    nothing where no id can be chosen."""
    _, pid = start_introspective(workspace, job)
    if workspace.uid != 0 or pid + 300 > int(read_text("/proc/sys/kernel/pid_max")):
        return None
    workspace.checkpoint(job, "--kill")
    workspace.wait_gone()
    for _ in range(20):
        pathlib.Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        # Its child gets none of the ids of the program's threads.
        leader = workspace.start(["sh", "-c", f"echo $(($$ + 200)) >/proc/sys/kernel/ns_last_pid; {member} & exec sleep 63"])
        wait_until(lambda: [child for child in children_of(leader.pid) if is_up(child)], "the leader has a child")
        child = children_of(leader.pid)[0]
        os.kill(leader.pid, signal.SIGKILL)
        leader.wait()
        if leader.pid == pid:
            return pid, child
        os.kill(child, signal.SIGKILL)  # another process was faster
    raise Failure("the id cannot be had")


def is_restarted_beside(workspace, job, pid, member):
    try:
        result = workspace.crs("restart", "--detach", job)
        # Another process may have got the id of one of its threads meanwhile.
        check("is in use here: the program runs in a private process id namespace" in result.stderr, f"{result}")
        here = int(result.stdout)
        check(ask(workspace, here)["pid"] == pid, f"{result}")
    finally:
        os.kill(member, signal.SIGKILL)
    workspace.kill(here)


def taken_as_group(workspace):
    """The same where the id is that of a process group whose leader has ended, as of a pipeline that goes on without its first program."""
    if left := leave_behind(workspace, "group", "sleep 62", lambda child: True):
        result = workspace.crs("restart", "--ids", "keep", "group", expect=1)
        check(f"process id {left[0]} is in use by a process group or session whose leader has ended" in result.stderr, f"{result}")
        is_restarted_beside(workspace, "group", *left)


def taken_as_session(workspace):
    """The same where the id is only that of a session whose leader has ended: nothing shows that, but it cannot be had."""
    member = "python3 -c 'import os, time; os.setpgid(0, 0); time.sleep(62)'"
    if left := leave_behind(workspace, "session", member, lambda child: os.getpgid(child) == child):
        is_restarted_beside(workspace, "session", *left)


# A user namespace in which nobody may make another one: what hardened systems and many containers are like.
FORBIDDEN = r"""
import ctypes, os, sys
uid, libc = os.getuid(), ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10000000): sys.exit(f"unshare: {os.strerror(ctypes.get_errno())}")
open("/proc/self/setgroups", "w").write("deny")
open("/proc/self/uid_map", "w").write(f"{uid} {uid} 1")
open("/proc/self/gid_map", "w").write(f"{uid} {uid} 1")
open("/proc/sys/user/max_user_namespaces", "w").write("0")
os.execvp(sys.argv[1], sys.argv[1:])  # and no capabilities, since not root
"""

# What seccomp filters of containers are like: clone3(2) is hidden, and neither clone(2) nor unshare(2) makes namespaces. No user, and no
# root without capabilities, gets around it (seccomp(2); numbers of x86-64).
FILTERED = r"""
import ctypes, os, struct, sys
LOAD, EQUAL, ANY_BIT, RETURN, FAIL, ALLOW = 0x20, 0x15, 0x45, 0x06, 0x00050000, 0x7fff0000
CLONE, CLONE3, UNSHARE, EPERM, ENOSYS, NAMESPACES = 56, 435, 272, 1, 38, 0x7e020000
program = [(LOAD, 0, 0, 0), (EQUAL, 4, 0, CLONE3), (EQUAL, 4, 0, UNSHARE), (EQUAL, 0, 4, CLONE), (LOAD, 0, 0, 16), (ANY_BIT, 1, 2, NAMESPACES),
           (RETURN, 0, 0, FAIL | ENOSYS), (RETURN, 0, 0, FAIL | EPERM), (RETURN, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in program))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
filter = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code)))
if libc.prctl(22, 2, filter): sys.exit(f"PR_SET_SECCOMP: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])
"""

INSIDE = r"""
import json, os, signal, subprocess, sys, time
crs, program, of_namespace, of_keep = sys.argv[1:]
def run(*arguments, expect=0):
    result = subprocess.run([crs, *arguments], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    print("$", *arguments, "->", result.returncode, result.stdout, result.stderr, sep=" ", flush=True)
    if expect is not None: assert result.returncode == expect, f"status {result.returncode}"
    return result
def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "too slow"
        time.sleep(0.005)
def ask(pid):
    if os.path.exists("answer"): os.unlink("answer")
    os.kill(pid, signal.SIGUSR1)
    wait_for(lambda: os.path.exists("answer"))
    return json.load(open("answer"))
capabilities = [line for line in open("/proc/self/status") if line.startswith("CapEff")][0].split()[1]
assert os.getuid() == 0 or int(capabilities, 16) == 0, capabilities
facts = {fact["name"]: fact for fact in json.loads(run("check", "--json").stdout)["facts"]}
if "user" in of_namespace: assert not facts["user and pid namespaces"]["available"] and "--ids new" in facts["user and pid namespaces"]["consequence"], facts
original = subprocess.Popen(["/usr/bin/python3", "-c", program], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
wait_for(lambda: os.path.exists("up"))
before = ask(original.pid)
run("checkpoint", "--name", "forbidden", "--kill", str(original.pid))
original.wait()
for mode, words in (("namespace", of_namespace), ("keep", of_keep)):
    result = run("restart", "--ids", mode, "forbidden", expect=1)
    assert words in result.stderr and "--ids new" in result.stderr and result.stderr.count("\n") == 1, result.stderr
snapshot = "forbidden@1"
for round in range(2):
    result = run("restart", "--detach", "--ids", "auto", snapshot)
    assert "new process and thread ids" in result.stderr, result.stderr
    pid = int(result.stdout)
    after = ask(pid)
    print("answer", json.dumps(after), flush=True)
    assert after["pid"] == pid != before["pid"]
    snapshot = run("checkpoint", "--kill", "forbidden").stdout.strip()
    assert os.waitpid(pid, 0)[0] == pid  # this process is a subreaper
foreground = subprocess.Popen([crs, "restart", snapshot], stdin=subprocess.DEVNULL, start_new_session=True)
wait_for(lambda: any(entry["pid"] != foreground.pid for entry in json.loads(run("list", "--json").stdout)["running"]))
foreground.send_signal(signal.SIGTERM)
assert foreground.wait(30) == 12, foreground.returncode
print("all is well")
"""


def without_user_namespaces(workspace):
    """New ids, and every place where the C library keeps them is right."""
    if workspace.uid != 0:
        with_new_ids_below(workspace, FORBIDDEN, "may not make user namespaces", "this user may not choose process ids")


def below_a_container_filter(workspace):
    """The same where a seccomp filter forbids them, or hides clone3(2) alone: not even root may choose ids then."""
    hidden = "nobody may choose process ids here"
    with_new_ids_below(workspace, FILTERED, hidden, hidden)
    clone3_alone = FILTERED.replace("(EQUAL, 4, 0, UNSHARE)", "(EQUAL, 4, 0, 0xffff)").replace("0x7e020000", "0")
    check(clone3_alone.count("0xffff)") == 1, "the filter is another one than this test thinks")
    for job in workspace.store.iterdir():
        shutil.rmtree(job)
    for name in ("up", "answer"):
        (workspace.work / name).unlink()
    with_new_ids_below(workspace, clone3_alone, hidden, hidden)


def with_new_ids_below(workspace, forbidding, of_namespace, of_keep):
    result = workspace.run([PYTHON, "-c", forbidding, PYTHON, "-c", "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1); os.execv(sys.argv[1], sys.argv[1:])",
                            PYTHON, "-c", INSIDE, workspace.crs_path, INTROSPECTIVE, of_namespace, of_keep], limit=120)
    check(result.status == 0 and "all is well" in result.stdout, f"{result}")
    answers = [json.loads(line[7:]) for line in result.stdout.splitlines() if line.startswith("answer ")]
    for answer in answers:
        are_true(workspace, answer)
    check(len(answers) == 2 and answers[0]["threads"] != answers[1]["threads"], f"{answers}")


TESTS = [each_way, supplementary_groups, taken_ids, taken_as_group, taken_as_session, without_user_namespaces, below_a_container_filter]


if __name__ == "__main__":
    run_tests(TESTS)
