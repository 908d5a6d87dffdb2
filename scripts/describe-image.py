#!/usr/bin/env python3
"""Writes the tables of messages in docs/snapshot-format.md from the .proto files, so that the two never differ.

    describe-image.py            writes them
    describe-image.py --check    writes nothing; exit status 1 if they are out of date
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/snapshot-format.md"
BEGIN, END = "<!-- messages of the image: written by scripts/describe-image.py -->\n", "<!-- end of the messages -->\n"

FIELD = re.compile(r"(repeated |optional )?([\w.]+) (\w+) = (\d+);(?:\s*// ?(.*))?$")
VALUE = re.compile(r"(\w+) = (\d+);(?:\s*// ?(.*))?$")
BLOCK = re.compile(r"(message|enum|oneof) (\w+) \{(\s*\})?$")


class Message:
    def __init__(self, name, comment, is_enumeration=False):
        self.name, self.comment, self.is_enumeration, self.rows = name, comment, is_enumeration, []


def parse(path):
    """The messages and enumerations of a schema, in its order, nested ones behind theirs."""
    found, open_blocks, comment = [], [], []
    for line in path.read_text().splitlines():
        line = line.strip()
        if line.startswith("//"):
            comment.append(line[2:].strip())
        elif block := BLOCK.match(line):
            if block[1] == "oneof":
                open_blocks.append(Message("", ""))
                open_blocks[-1].rows = open_blocks[-2].rows  # at most one of these fields: they belong to the message
            else:
                name = ".".join([*(outer.name.split(".")[-1] for outer in open_blocks), block[2]])
                found.append(Message(name, " ".join(comment), block[1] == "enum"))
                if not block[3]:
                    open_blocks.append(found[-1])
            comment = []
        elif line == "}":
            open_blocks.pop()
        elif open_blocks and (match := FIELD.match(line) or VALUE.match(line)):
            *kind, name, number, trailing = match.groups()
            text = " ".join([*comment, trailing or ""]).strip()
            open_blocks[-1].rows.append((number, name, "".join(part or "" for part in kind), text))
            comment = []
        else:
            comment = []
    return found


def imports(path):
    """The schema and all that it imports, each once, in the order of the imports."""
    found = [path]
    for name in re.findall(r'^import "(.*)";', path.read_text(), re.MULTILINE):
        found += [other for other in imports(ROOT / "src" / name) if other not in found]
    return found


def table(message):
    if not message.rows:
        return []
    head = "| value | name | meaning |\n|---|---|---|" if message.is_enumeration else "| number | name | type | content |\n|---|---|---|---|"
    rows = []
    for number, name, kind, text in message.rows:
        cells = [number, f"`{name}`", *([] if message.is_enumeration else [kind]), text.replace("|", "\\|")]
        rows.append("| " + " | ".join(cells) + " |")
    return [head, *rows, ""]


def tables():
    lines = []
    for schema in imports(ROOT / "src/engine/image/process.proto"):
        lines.append(f"### `{schema.relative_to(ROOT)}`\n")
        for message in parse(schema):
            lines.append(f"**`{message.name}`**" + (f": {message.comment}" if message.comment else "") + "\n")
            lines += table(message)
    return "\n".join(lines) + "\n"


def main():
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    wanted = before + BEGIN + "\n" + tables() + END + rest.split(END)[1]
    if "--check" in sys.argv[1:]:
        if wanted != text:
            print("docs/snapshot-format.md does not say what the .proto files say: run scripts/describe-image.py", file=sys.stderr)
        return wanted != text
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
