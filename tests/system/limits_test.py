#!/usr/bin/env python3
"""What docs/limits.md says of things that no other test is about: who traces or is traced, tables and segments that others have as well, memory of
particular kinds, timers and threads that lose something."""

import ctypes
import os
import signal
import textwrap

from harness import check, link_target, read_text, run_tests, wait_until

PYTHON = "/usr/bin/python3"
PRELUDE = """
import ctypes, mmap, os, signal, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def wait_for(condition):
    while not condition(): time.sleep(0.002)
def say(word): open(word, "w").close()
def ready():
    say("ready")
    wait_for(lambda: os.path.exists("go"))
def done(text):
    with open("new", "w") as file: file.write(str(text))
    os.rename("new", "result")
"""


class Program:
    def __init__(self, workspace, text, **options):
        self.workspace = workspace
        for name in ("ready", "go", "result"):
            (workspace.work / name).unlink(missing_ok=True)
        self.process = workspace.start([PYTHON, "-c", PRELUDE + textwrap.dedent(text)], **options)
        self.pid = self.process.pid
        wait_until((workspace.work / "ready").exists, "the program is ready")

    def away(self, *options, checkpoint_says="", restart_says=""):
        """Its result after a restart."""
        taken = self.workspace.checkpoint_result(self.pid, "--kill")
        check(checkpoint_says in taken.stderr, f"'{checkpoint_says}' is not said: {taken}")
        restarted = self.workspace.restart_result(taken.stdout.strip(), *options)
        check(restart_says in restarted.stderr, f"'{restart_says}' is not said: {restarted}")
        (self.workspace.work / "go").touch()
        wait_until((self.workspace.work / "result").exists, "the program has a result")
        self.workspace.wait_gone(int(restarted.stdout))
        return (self.workspace.work / "result").read_text()

    def is_refused(self, words):
        for command in (["check"], ["checkpoint"]):
            said = self.workspace.crs(*command, self.pid, expect=1).stderr
            check(words in said, f"{command} does not say '{words}': {said}")
        check(not self.workspace.snapshots(), "something was written")
        (self.workspace.work / "go").touch()
        wait_until((self.workspace.work / "result").exists, "the program has a result")
        self.workspace.wait_exit(self.process)


def whoever_is_traced(workspace):
    """By this process, as a debugger would."""
    PTRACE_SEIZE, PTRACE_DETACH, PTRACE_INTERRUPT = 0x4206, 17, 0x4207
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    program = Program(workspace, "ready()\ndone(1)")
    check(libc.ptrace(PTRACE_SEIZE, program.pid, None, None) == 0, "cannot trace it")
    said = workspace.crs("checkpoint", program.pid, expect=1).stderr
    check(f"process {program.pid} is being traced by process {os.getpid()}" in said, said)
    libc.ptrace(PTRACE_INTERRUPT, program.pid, None, None)
    os.waitpid(program.pid, 0)
    check(libc.ptrace(PTRACE_DETACH, program.pid, None, None) == 0, "cannot let go of it")
    program.away()


def whoever_traces_a_child(workspace):
    program = Program(workspace, """
        child = os.fork()
        if child == 0:
            wait_for(lambda: False)
        PTRACE_SEIZE = 0x4206
        assert call(101, PTRACE_SEIZE, child, 0, 0) == 0
        ready()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        done(1)
    """)
    program.is_refused("is being traced by process")


def another_users_program(workspace):
    if workspace.uid == 0:
        return
    said = workspace.crs("checkpoint", os.getpid(), expect=1).stderr
    check(f"process {os.getpid()} belongs to user root" in said, said)


def a_table_that_others_have(workspace):
    """The parent goes on, outside of the tree, with the descriptors of the child that is checkpointed."""
    program = Program(workspace, """
        CLONE_FILES, SIGCHLD = 0x400, 17
        child = call(56, CLONE_FILES | SIGCHLD, 0, 0, 0, 0)
        if child != 0:
            with open("child", "w") as file: file.write(str(child))
            os.waitpid(child, 0)
            os._exit(0)
        ready()
        done(len(os.listdir("/proc/self/fd")))
        os._exit(0)
    """)
    wait_until(lambda: read_text(workspace.work / "child"), "the child is there")
    program.pid = int((workspace.work / "child").read_text())
    check(int(program.away(checkpoint_says="descriptor")) >= 3, "its standard streams are gone")


def a_private_mapping_of_zeros(workspace):
    result = Program(workspace, """
        PROTECTION, MAP_PRIVATE, SIZE = 3, 2, 1 << 16
        zero = os.open("/dev/zero", os.O_RDWR)
        place = libc.mmap(None, SIZE, PROTECTION, MAP_PRIVATE, zero, 0)
        os.close(zero)
        ctypes.memset(place, 7, 4096)
        ready()
        done(ctypes.string_at(place, SIZE) == bytes([7]) * 4096 + bytes(SIZE - 4096))
    """).away()
    check(result == "True", "its content is another")


def memory_that_may_be_dropped(workspace):
    result = Program(workspace, """
        PROTECTION, MAP_DROPPABLE, MAP_ANONYMOUS, SIZE = 3, 8, 32, 1 << 16
        place = libc.mmap(None, SIZE, PROTECTION, MAP_DROPPABLE | MAP_ANONYMOUS, -1, 0)
        known = place != ctypes.c_void_p(-1).value
        if known: ctypes.memset(place, 7, SIZE)
        ready()
        flags = None
        if known:
            found = False
            for line in open("/proc/self/smaps"):
                if line.startswith(f"{place:x}-"): found = True
                elif found and line.startswith("VmFlags:"):
                    flags = line.split()
                    break
        done(not known or ("dp" in flags and ctypes.string_at(place, SIZE) == bytes(SIZE)))
    """).away()
    check(result == "True", "it is no such memory any more, or has its content")


def memory_beyond_the_end(workspace):
    """mremap(2) makes the area longer, and not the memory."""
    result = Program(workspace, """
        PROTECTION, MAP_SHARED, MAP_ANONYMOUS, MREMAP_MAYMOVE, PAGE = 3, 1, 32, 1, 4096
        place = libc.mmap(None, PAGE, PROTECTION, MAP_SHARED | MAP_ANONYMOUS, -1, 0)
        ctypes.memset(place, 7, PAGE)
        place = call(25, place, PAGE, 4 * PAGE, MREMAP_MAYMOVE, 0)
        ready()
        done(ctypes.string_at(place, 4 * PAGE) == bytes([7]) * PAGE + bytes(3 * PAGE))
    """).away()
    check(result == "True", "its content is another")


def a_segment_that_others_have(workspace):
    program = Program(workspace, """
        segment = call(29, 0, 4096, 0o1600)  # shmget
        libc.shmat.restype = ctypes.c_void_p
        place = libc.shmat(segment, None, 0)
        ctypes.memset(place, 7, 4096)
        child = os.fork()
        if child == 0:  # leaves the tree
            if os.fork() != 0: os._exit(0)
            with open("outside", "w") as file: file.write(str(os.getpid()))
            wait_for(lambda: os.path.exists("end"))
            os._exit(0)
        os.waitpid(child, 0)
        wait_for(lambda: os.path.exists("outside") and os.path.getsize("outside") > 0)
        libc.shmctl(segment, 0, None)  # IPC_RMID: removed with its last user
        ready()
        done(ctypes.string_at(place, 4096) == bytes([7]) * 4096)
    """)
    try:
        said = workspace.checkpoint_result(program.pid).stderr
        check("is attached by other processes, too" in said, said)
        (workspace.work / "go").touch()
        workspace.wait_exit(program.process)
        check(read_text(workspace.work / "result") == "True", "its content is another")
    finally:
        (workspace.work / "end").touch()


def timers_of_others_time(workspace):
    Program(workspace, """
        other = os.getppid() if os.geteuid() == 0 else os.fork()
        if other == 0: wait_for(lambda: False)
        CPUCLOCK_SCHED = 2
        timer = ctypes.c_int()
        call(222, (~other << 3) | CPUCLOCK_SCHED, 0, ctypes.byref(timer))
        ready()
        if os.geteuid() != 0:
            os.kill(other, signal.SIGKILL)
            os.waitpid(other, 0)
        done(1)
    """).is_refused("processor time")


def timers_that_wake_the_machine(workspace):
    """Set by root, with CAP_WAKE_ALARM, which an ordinary user's restart lacks. Here root gives it up before the restart."""
    if os.geteuid() != 0 or workspace.uid != 0:
        return
    program = Program(workspace, """
        CLOCK_BOOTTIME_ALARM = 9
        timer = ctypes.c_int()
        try: call(222, CLOCK_BOOTTIME_ALARM, 0, ctypes.byref(timer))
        except OSError: done("none")  # no clock that could wake it
        ready()
        if not os.path.exists("result"): done(1)
    """)
    if read_text(workspace.work / "result") == "none":
        workspace.kill(program.pid)
        return
    reference = workspace.checkpoint_result(program.pid, "--kill").stdout.strip()
    result = workspace.run(["setpriv", "--bounding-set", "-wake_alarm", str(workspace.crs_path), "restart", "--detach", reference])
    check(result.status == 0 and "does not wake the machine from suspend any more" in result.stderr, str(result))
    workspace.kill(int(result.stdout))


def timers_set_for_a_date(workspace):
    """Until a time of its own clock: the kernel does not say so, and what remains is kept."""
    result = Program(workspace, """
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        TIMER_ABSTIME, AFTER = 1, 3.0
        timer = ctypes.c_int()
        call(222, time.CLOCK_REALTIME, 0, ctypes.byref(timer))
        date = time.clock_gettime(time.CLOCK_REALTIME) + AFTER
        setting = (ctypes.c_long * 4)(0, 0, int(date), int(date % 1 * 1e9))
        call(223, timer.value, TIMER_ABSTIME, setting, 0)
        ready()
        began = time.monotonic()
        signal.sigwait({signal.SIGALRM})
        done(time.clock_gettime(time.CLOCK_REALTIME) - date)
    """)
    taken = workspace.checkpoint_result(result.pid, "--kill").stdout.strip()
    signal.sigtimedwait([], 1)  # it is away
    restarted = workspace.restart_result(taken)
    (workspace.work / "go").touch()
    wait_until((workspace.work / "result").exists, "the timer has expired")
    late = float((workspace.work / "result").read_text())
    check(late >= 0.9, f"it was {late} s late, as if it had not been away")
    workspace.wait_gone(int(restarted.stdout))


def no_new_privileges_of_the_restart(workspace):
    program = Program(workspace, """
        ready()
        done([line.split()[1] for line in open("/proc/self/status") if line.startswith("NoNewPrivs")][0])
    """)
    reference = workspace.checkpoint_result(program.pid, "--kill").stdout.strip()
    result = workspace.run(["setpriv", "--no-new-privs", str(workspace.crs_path), "restart", "--detach", reference])
    check(result.status == 0 and "no_new_privs, as crs itself does" in result.stderr, str(result))
    (workspace.work / "go").touch()
    wait_until((workspace.work / "result").exists, "the program has a result")
    check((workspace.work / "result").read_text() == "1", "it has new privileges")
    workspace.wait_gone(int(result.stdout))


def children_of_other_threads(workspace):
    result = Program(workspace, """
        def make():
            global child
            child = os.fork()
            if child == 0:
                wait_for(lambda: os.path.exists("go"))
                os._exit(5)
            wait_for(lambda: os.path.exists("go"))
        thread = threading.Thread(target=make)
        thread.start()
        wait_for(lambda: "child" in globals())
        ready()
        thread.join()
        done(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """).away()
    check(result == "5", f"the child's status is {result}")


def an_init_that_ends_with_its_program(workspace):
    """A tree in a private process id namespace ends with its first process."""
    if workspace.uid == 0:
        return
    program = Program(workspace, """
        child = os.fork()
        if child == 0: wait_for(lambda: False)
        ready()
        done(1)
        os._exit(0)
    """)
    reference = workspace.checkpoint_result(program.pid, "--kill").stdout.strip()
    pid = int(workspace.restart_result(reference, "--ids", "namespace").stdout)
    members = set(workspace.tree_of(pid))
    check(len(members) == 2 and link_target(f"/proc/{pid}/ns/pid") != link_target("/proc/self/ns/pid"), f"{members}")
    (workspace.work / "go").touch()
    wait_until(lambda: not any(os.path.exists(f"/proc/{member}") for member in members), "all of them have ended")


def a_queue_that_nobody_has_used(workspace):
    """The kernel does not say whose it is: it is left as it is, and the checkpoint says so."""
    program = Program(workspace, """
        queue = call(68, 0, 0o1600)  # msgget
        with open("queue", "w") as file: file.write(str(queue))
        ready()
        done(call(71, queue, 0, 0))  # msgctl: IPC_RMID
    """)
    said = workspace.checkpoint_result(program.pid).stderr
    number = read_text(workspace.work / "queue")
    check(f"System V message queue {number} " in said and "nobody has used it yet" in said, said)
    (workspace.work / "go").touch()
    workspace.wait_exit(program.process)
    check(read_text(workspace.work / "result") == "0", "it is not there any more")


if __name__ == "__main__":
    run_tests([whoever_is_traced, whoever_traces_a_child, another_users_program, a_table_that_others_have, a_private_mapping_of_zeros,
               memory_that_may_be_dropped, memory_beyond_the_end, a_segment_that_others_have, a_queue_that_nobody_has_used,
               timers_of_others_time, timers_that_wake_the_machine, timers_set_for_a_date, no_new_privileges_of_the_restart,
               children_of_other_threads, an_init_that_ends_with_its_program])
