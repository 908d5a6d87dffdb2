#!/usr/bin/env python3
"""Makes the man page of crs, or of one of its verbs, from what --help says, so that neither can tell more than the other.

    make_page.py CRS OUTPUT-FOLDER        writes crs.1 and crs-VERB.1 for each verb
"""

import pathlib
import re
import subprocess
import sys

COLUMN = 30  # of the explanations, as in src/cli/help.cc
OPTION_SECTIONS = {"Positionals:": "ARGUMENTS", "Options:": "OPTIONS", "Options of all verbs:": "OPTIONS OF ALL VERBS"}
TEXT_SECTIONS = {"Example": "EXAMPLES", "Environment": "ENVIRONMENT", "Exit statuses": "EXIT STATUS"}
TEXT_SECTION = re.compile(r"(Example|Environment|Exit statuses):(.*)")
SEE_ALSO = {
    "crs": [("crs-run", 1), ("crs-checkpoint", 1), ("crs-restart", 1), ("libcrs", 3), ("crs-component", 7)],
    "crs-components": [("crs", 1), ("crs-component", 7)],
}


def help_of(crs, *verb):
    return subprocess.run([crs, *verb, "--help"], capture_output=True, text=True, check=True, timeout=30).stdout


def escaped(text):
    """For roff: a backslash is \\e, a hyphen stays one, and no line is taken for a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def verbs_of(crs):
    lines = help_of(crs).split("Verbs:\n")[1].split("\n\n")[0].splitlines()
    return [line.split()[0] for line in lines if line.split()[0] != "help"]


def summary_of(crs, verb):
    return re.search(rf"^  {verb} +(.*)$", help_of(crs), re.MULTILINE)[1]


def entries(lines):
    """(name, explanation) of lines as CLI11 aligns them."""
    found = []
    for line in lines:
        if line[:COLUMN].strip():
            # A long name has the explanation on the next line.
            name, explanation = (line, "") if line[COLUMN - 1 : COLUMN].strip() else (line[:COLUMN], line[COLUMN:])
            found.append([name.strip(), explanation.strip()])
        else:
            found[-1][1] = f"{found[-1][1]} {line.strip()}".strip()
    return found


def entry(name, explanation):
    return [".TP", f"\\fB{escaped(name)}\\fR", escaped(explanation)]


def paragraph(lines):
    """As it stands: examples, and texts that are broken where they should be."""
    return [".PP", ".nf", *[escaped(line) for line in lines], ".fi"]


def text_block(block):
    lines = block.splitlines()
    heading = TEXT_SECTION.fullmatch(lines[0])
    if not heading:
        return paragraph(lines)
    introduction = [escaped(heading[2].strip().capitalize())] if heading[2].strip() else []
    return [f".SH {TEXT_SECTIONS[heading[1]]}", *introduction, ".nf", *[escaped(line) for line in lines[1:]], ".fi"]


def body(blocks):
    result = []
    for block in blocks:
        title, _, rest = block.partition("\n")
        if title in OPTION_SECTIONS and rest:
            result += [f".SH {OPTION_SECTIONS[title]}"]
            for each in entries(rest.splitlines()):
                result += entry(*each)
        elif title == "Verbs:":
            result += [".SH VERBS"]
            for line in rest.splitlines():
                result += entry(*line.split(maxsplit=1))
        else:
            if not TEXT_SECTION.match(title) and ".SH NOTES" not in result:
                result += [".SH NOTES"]
            result += text_block(block)
    return result


def page(name, summary, text, version):
    introduction, _, rest = text.partition("Usage: ")
    usage, _, rest = rest.partition("\n")
    blocks = [block.strip("\n") for block in re.split(r"\n\n+", rest) if block.strip()]
    see = SEE_ALSO.get(name, [("crs", 1)])
    lines = [
        f'.TH "{name.upper()}" 1 "" "crs {version}" "CRS"',
        ".SH NAME",
        f"{escaped(name)} \\- {escaped(summary[0].lower() + summary[1:])}",
        ".SH SYNOPSIS",
        f".B {escaped(usage)}",
        ".SH DESCRIPTION",
        *[escaped(line) for line in introduction.strip().splitlines()],
        *body(blocks),
        ".SH SEE ALSO",
        *[f".BR {escaped(other)} ({section})" for other, section in see],
    ]
    return "\n".join(lines) + "\n"


def main():
    crs, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    version = subprocess.run([crs, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    (folder / "crs.1").write_text(page("crs", "Freeze a running program and start it again", help_of(crs), version))
    for verb in verbs_of(crs):
        (folder / f"crs-{verb}.1").write_text(page(f"crs-{verb}", summary_of(crs, verb), help_of(crs, verb), version))


if __name__ == "__main__":
    main()
