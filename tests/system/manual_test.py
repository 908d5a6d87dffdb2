#!/usr/bin/env python3
"""The man pages: every verb has one, which says all that its --help says, and the formatter has nothing against any."""

import argparse
import pathlib
import re
import sys

from harness import Workspace, check, run_cases, verbs_of

HAND_WRITTEN = ["man3/libcrs.3", "man7/crs-component.7"]


def words(text):
    """Without what formatting changes: spaces, and hyphens at which lines end."""
    return re.sub(r"\s+", " ", text)


def formatted(workspace, page):
    result = workspace.run(["groff", "-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=300n", "-rHY=0", page])
    check(result.status == 0 and not result.stderr, f"{page.name}: {result}")
    return words(result.stdout.replace("\u2010", "-").replace("\u2019", "'"))


def options_of(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


def functions_of(header):
    """Those that it declares: not its types, nor what the program itself may define."""
    names = set(re.findall(r"^[a-z][a-z_* ]*\b(crs_[a-z_]+)\(", header.read_text(), re.MULTILINE))
    typedefs = set(re.findall(r"^typedef .*?(crs_[a-z_]+)\(", header.read_text(), re.MULTILINE))
    check(len(names) >= 6, f"{header}: {names}")
    return names - typedefs


def test(workspace, options):
    prefix = workspace.directory / "prefix"
    result = workspace.run(["cmake", "--install", options.build, "--prefix", prefix], limit=60)
    check(result.status == 0, str(result))
    manual = next(prefix.rglob("man1")).parent
    verbs = verbs_of(workspace)
    check(len(verbs) >= 10, f"verbs: {verbs}")
    pages = {page.name for page in (manual / "man1").iterdir()}
    check(pages == {"crs.1", *(f"crs-{verb}.1" for verb in verbs)}, f"pages: {sorted(pages)}")
    for verb in [None, *verbs]:
        page = manual / "man1" / (f"crs-{verb}.1" if verb else "crs.1")
        text, help_text = formatted(workspace, page), workspace.crs(*([verb] if verb else []), "--help").stdout
        missing = options_of(help_text) - options_of(text)
        check(len(options_of(help_text)) >= 4 and not missing, f"{page.name} lacks {missing}")
        for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "SEE ALSO"):
            check(section in text, f"{page.name} has no {section}")
        for line in help_text.splitlines():
            if line.strip() and not line.startswith(("Usage:", "Positionals:", "Options", "Verbs:", "Example", "Environment", "Exit")):
                for part in re.split(r"\s{2,}", line.strip()):
                    check(words(part) in text, f"{page.name} does not say {part!r}")
    for name in HAND_WRITTEN:
        check("SEE ALSO" in formatted(workspace, manual / name), f"{name} has no SEE ALSO")
    text = formatted(workspace, manual / "man3" / "libcrs.3")
    missing = [name for name in functions_of(next(prefix.rglob("crs.h"))) | functions_of(next(prefix.rglob("self.h"))) if name not in text]
    check(not missing, f"libcrs.3 lacks {sorted(missing)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crs", required=True)
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--verbose", action="store_true")
    options, _ = parser.parse_known_args()
    options.build = options.build.resolve()

    def case():
        with Workspace(options.crs, verbose=options.verbose) as workspace:
            test(workspace, options)

    run_cases([("the man pages", case)])


if __name__ == "__main__":
    sys.exit(main())
