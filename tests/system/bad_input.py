"""What the tests of bad input share: programs that must stay untouched, stores that must stay as they are, and errors that a person can act on."""

import argparse
import os
import pathlib
import shutil

from harness import Failure, Workspace, check, is_alive, read_text, run_cases, users_to_test, wait_until


class Subject:
    """A program of tests/programs that has said "ready"; checked() lets it check itself, and it must then say "ok"."""

    def __init__(self, workspace, subjects, name="idle", job=None, **options):
        self.workspace = workspace
        # Known to few: several subjects may be in one workspace.
        label = f"{name}-{len(workspace.processes)}"
        self.status_file = workspace.work / f"{label}.status"
        self.go_file = workspace.work / f"{label}.go"
        self.program = workspace.reachable(pathlib.Path(subjects) / name)
        variables = {"SUBJECT_STATUS": str(self.status_file), "SUBJECT_GO": str(self.go_file)}
        options["env"] = {**workspace.environment, **variables, **options.get("env", {})}
        self.job = job
        if job:
            self.runner, self.pid = workspace.start_by_crs(job, [self.program], **options)
        else:
            self.runner = workspace.start([self.program], **options)
            self.pid = self.runner.pid
        wait_until(lambda: self.status() or self.runner.poll() is not None, f"{name} says ready")

    def status(self):
        return read_text(self.status_file).splitlines()

    def skipped(self):
        return bool(self.status()) and self.status()[-1].startswith("skipped")

    def check_untouched(self):
        check(is_alive(self.pid), "the program is gone")
        check(self.status() == ["ready"], f"the program says {self.status()} instead of ready")

    def finish(self, pid=None):
        """The program (or its restarted copy `pid`) checks itself and ends."""
        self.go_file.touch()
        wait_until(lambda: len(self.status()) > 1, "the program reports")
        self.workspace.wait_gone(pid or self.pid)
        check(self.status() == ["ready", "ok"], f"the program says {self.status()}")


def tree_of(directory):
    """Every file and directory below, with mode and size: what must be the same if nothing was written. But for the empty lock file of who
    runs a job, which a restart that fails may be the first to need."""
    found = {}
    for folder, _, files in os.walk(directory):
        for path in [folder, *(os.path.join(folder, name) for name in files if name != "running.lock")]:
            status = os.lstat(path)
            found[os.path.relpath(path, directory)] = (status.st_mode, status.st_size if path != folder else 0)
    return found


def check_message(result, *words):
    """One line for people on standard error that has all of `words`; nothing on standard output."""
    check(result.stdout == "", f"an error on standard output: {result}")
    check(result.stderr.startswith("crs: cannot ") and result.stderr.count("\n") == 1, f"not one line for people: {result}")
    for word in words:
        check(str(word) in result.stderr, f"the message lacks '{word}': {result}")


def refused(workspace, *arguments, expect, names=(), json=True, **options):
    """crs must fail with status `expect`, one line with all of `names`, the same as JSON, which says what to do, and without any effect on
    the store or on the processes below this one."""
    store, processes = tree_of(workspace.store), set(workspace.leftovers())
    result = workspace.crs(*arguments, expect=expect, **options)
    check_message(result, *names)
    if json:
        as_json = workspace.crs(arguments[0], "--json", *arguments[1:], expect=expect, **options).json()["error"]
        check(as_json["exit_status"] == expect, f"JSON says {as_json}")
        check(as_json["message"].strip() and as_json["chain"] and as_json["advice"].strip(), f"JSON says {as_json}")
    check_no_effect(workspace, store, processes)
    return result


def check_no_effect(workspace, store, processes):
    now = tree_of(workspace.store)
    check(now == store, f"the store has changed: {sorted(set(now.items()) ^ set(store.items()))}")
    workspace.reap()
    more = [pid for pid in workspace.leftovers() if pid not in processes]
    check(not more, f"processes are left: {[read_text(f'/proc/{pid}/cmdline') for pid in more]}")


def copy_tree(workspace, source, target):
    """As the workspace's user would: same owner, same modes."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    if workspace.drops:
        for folder, _, files in os.walk(target):
            for path in [folder, *(os.path.join(folder, name) for name in files)]:
                os.chown(path, workspace.uid, workspace.uid)


def main(cases):
    """Runs functions of (workspace, options); each as every user, but those whose name begins with "root_" or "ordinary_"."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--crs", required=True)
    parser.add_argument("--subjects", required=True)
    parser.add_argument("--build", required=True)
    parser.add_argument("--only")
    parser.add_argument("--user")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()

    def run(case, user):
        with Workspace(options.crs, user, options.verbose) as workspace:
            case(workspace, options)

    chosen = []
    for user in users_to_test():
        for case in cases:
            only = case.__name__.split("_")[0]
            if only in ("root", "ordinary") and only != user:
                continue
            if (options.only and options.only != case.__name__) or (options.user and options.user != user):
                continue
            chosen.append((f"{case.__name__} as {user}", lambda case=case, user=user: run(case, user)))
    run_cases(chosen)
