"""refusals_test.py runs this: holds one kernel object that cannot be kept, as descriptor 40 or at an address, and checks at the end that it still
has it, or, if it was left out of the snapshot, that every use of its number fails. Arguments: the kind, and whether it is left out."""

import ctypes
import errno
import fcntl
import os
import pathlib
import signal
import socket
import struct
import sys
import tempfile
import termios
import time

NUMBER = 40
PAGE = 4096
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


def say(word):
    with open(os.environ["SUBJECT_STATUS"], "a") as status:
        status.write(word + "\n")


def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def late_connection():
    made = socket.socket(socket.AF_UNIX)
    made.bind(f"\0crs-{os.getpid()}")
    made.listen(1)
    client = socket.socket(socket.AF_UNIX)
    client.connect(made.getsockname())
    client.close()
    return made.detach()


def inotify_events():
    made = libc.inotify_init1(0)
    libc.inotify_add_watch(made, b".", 0x100)  # IN_CREATE
    pathlib.Path(f"created-{os.getpid()}").touch()
    return made


def netlink_messages():
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    made.send(struct.pack("=IHHIIBxxx", 20, 18, 0x301, 1, 0, 0))  # RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP
    return made.detach()


def perf_event():
    attributes = bytearray(128)
    attributes[0:4] = (1).to_bytes(4, "little")  # PERF_TYPE_SOFTWARE; config 0: PERF_COUNT_SW_CPU_CLOCK
    attributes[4:8] = (128).to_bytes(4, "little")
    attributes[40] = 0x60  # exclude_kernel, exclude_hv
    return call(298, bytes(attributes), 0, -1, -1, 0)


def bpf_map():
    attributes = b"".join(number.to_bytes(4, "little") for number in (2, 4, 8, 1)) + bytes(100)
    return call(321, 0, attributes, len(attributes))


def message_queue():
    name = f"crs-{os.getpid()}".encode()
    made = call(240, name, os.O_CREAT | os.O_RDWR, 0o600, None)
    call(241, name)
    call(242, made, b"kept", 4, 0, None)
    os.dup2(made, NUMBER), os.close(made)  # a process that closes a descriptor of a queue gives up what it is to be told of it
    call(244, NUMBER, struct.pack("Qii48x", 0, signal.SIGUSR1, 0))  # mq_notify: sigevent
    return NUMBER


def leased_file():
    file, path = tempfile.mkstemp()
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    return file


def user_fault_descriptor():
    return call(323, os.O_CLOEXEC | 1)  # UFFD_USER_MODE_ONLY


def terminal_master():
    made = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(made, 0x40045431, struct.pack("i", 0))  # TIOCSPTLCK: others may open the terminal
    return made


def terminal_output():
    master, terminal = os.openpty()
    os.write(terminal, b"not read")
    termios.tcflow(terminal, termios.TCOOFF)
    os.close(terminal)
    return master


def device(path):
    return os.open(path, os.O_RDWR | os.O_NONBLOCK)


DESCRIPTORS = {
    "unix-connection": lambda: int(sys.argv[3]),
    "unix-late-connection": late_connection,
    "netlink-messages": netlink_messages,
    "packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).detach(),
    "inotify-events": inotify_events,
    "fanotify": lambda: call(300, 0, 0),
    "userfaultfd": user_fault_descriptor,
    "perf-event": perf_event,
    "bpf-map": bpf_map,
    "pidfd": lambda: os.pidfd_open(os.getppid()),
    "io-uring": lambda: call(425, 8, bytes(120)),
    "terminal-master": terminal_master,
    "terminal-output": terminal_output,
    "tun": lambda: device("/dev/net/tun"),
    "fuse": lambda: device("/dev/fuse"),
    "kernel-messages": lambda: device("/dev/kmsg"),
    "message-queue": message_queue,
    "lease": leased_file,
    "secret-memory-file": lambda: call(447, 0),
    "namespace": lambda: os.open("/proc/self/ns/net", os.O_RDONLY),
    "landlock": lambda: call(444, (1).to_bytes(8, "little"), 8, 0),
    "file-system-context": lambda: call(430, b"tmpfs", 0),
    "pipe-to-another-process": lambda: int(sys.argv[3]),
}


def asynchronous_context():
    """With a poll (IOCB_CMD_POLL) for what never comes."""
    context = ctypes.c_ulong(0)
    call(206, 4, ctypes.byref(context))
    request = ctypes.create_string_buffer(struct.pack("=QIIHhIQQqQII", 0, 0, 0, 5, 0, call(290, 0, 0), 1, 0, 0, 0, 0, 0))
    call(209, context, 1, ctypes.byref(ctypes.c_void_p(ctypes.addressof(request))))
    return context.value


def secret_memory():
    file = call(447, 0)
    os.ftruncate(file, PAGE)
    place = libc.mmap(None, PAGE, 3, 1, file, 0)
    os.close(file)
    return place


AREAS = {"aio-context": asynchronous_context, "secret-memory": secret_memory}


def user_dispatch():
    """System calls of all code that counts are let through by the selector, which says no."""
    selector = ctypes.create_string_buffer(1)
    if libc.prctl(59, 1, ctypes.c_ulong(0x1000), ctypes.c_ulong(1 << 46), selector) != 0:
        raise OSError(ctypes.get_errno(), "not here")
    return selector


SETTINGS = {"user-dispatch": user_dispatch}


def hold_descriptor(kind):
    made = DESCRIPTORS[kind]()
    if made < 0:
        raise OSError(errno.ENOSYS, "not here")
    if made != NUMBER:
        os.dup2(made, NUMBER)
        os.close(made)


def is_left_out():
    """The number is taken, and nothing can be done with it."""
    fcntl.fcntl(NUMBER, fcntl.F_GETFD)
    try:
        os.read(NUMBER, 1)
    except OSError as problem:
        return problem.errno == errno.EBADF
    return False


def main():
    kind, left_out = sys.argv[1], sys.argv[2] == "left-out"
    unlinked = tempfile.TemporaryFile()  # whose content must not be written before the refusal either
    unlinked.write(b"content" * 1000)
    unlinked.flush()
    try:
        if kind in AREAS:
            place = AREAS[kind]()
            say(f"at {place:x}")
        elif kind in SETTINGS:
            held = SETTINGS[kind]()  # as long as this runs
            assert held
        else:
            hold_descriptor(kind)
    except OSError as problem:
        say(f"skipped: {problem}")
        return
    say("ready")
    while not os.path.exists(os.environ["SUBJECT_GO"]):
        time.sleep(0.002)
    if left_out:
        say("ok" if is_left_out() else "failed: it can be used")
    elif kind in DESCRIPTORS:
        os.fstat(NUMBER)
        say("ok")
    else:
        say("ok")


main()
