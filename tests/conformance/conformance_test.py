#!/usr/bin/env python3
"""One component through `crs components --conformance`, as root and as an ordinary user."""

import argparse
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "system"))
from harness import Workspace, check, run_cases, users_to_test

LIES = {
    "liar": {
        *(f"{name}: declared, so back" for name in ("files", "threads", "outside_connections", "dead_sockets")),
        "the running program becomes what it was, in place",
    },
    "empty": {"nothing is stored, so nothing is declared"},
}


def with_installed_layout(workspace, options):
    """The pieces in one place that the workspace's user can reach."""
    directory = workspace.make_directory("installed")
    objects = [pathlib.Path(options.build) / "lib" / "crs" / "self.so"]
    if options.component in ("memo", "liar", "empty"):
        objects.append(pathlib.Path(options.build) / "components" / options.component / f"{options.component}.so")
    for file in [pathlib.Path(options.crs), pathlib.Path(options.crs).parent / "crs-conformance-subject", *objects]:
        shutil.copy(file, directory / file.name)
        (directory / file.name).chmod(0o755)
    workspace.crs_path = directory / "crs"
    workspace.environment["CRS_COMPONENT_PATH"] = str(directory)


def test(options, user):
    with Workspace(options.crs, user, options.verbose) as workspace:
        with_installed_layout(workspace, options)
        lies = options.component in LIES
        result = workspace.crs("components", "--conformance", options.component, "--json", expect=1 if lies else 0, limit=120)
        report = result.json()
        failed = {finding["name"] for finding in report["checks"] if not finding["good"]}
        check(failed == LIES.get(options.component, set()) and report["conforms"] == (not lies), f"{result}")
        check(len(report["checks"]) >= (8 if options.component in ("none", "empty") else 30), f"too few checks: {result}")
        text = workspace.crs("components", "--conformance", options.component, expect=1 if lies else 0, limit=120).stdout
        check(("does what it declares" in text) == (not lies) and ("FAILED" in text) == lies, text)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--build", required=True)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("component")
    options = parser.parse_args()
    run_cases([(f"{options.component} as {user}", lambda user=user: test(options, user)) for user in users_to_test()])


if __name__ == "__main__":
    sys.exit(main())
