"""A second reader of snapshots, written from docs/snapshot-format.md alone: no code, schema or library of CRS.

The tables of the page are its schema: of the process image it reads the tables themselves, those of the manifest and of the index are
repeated here. Everything that the page tells a reader to check is checked; what fails raises Damaged.
"""

import ctypes
import os
import pathlib
import re
import struct

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/snapshot-format.md"
PAGE_BYTES = 4096
MAXIMUM_PAYLOAD = 16 << 20


class Damaged(Exception):
    pass


def need(condition, text):
    if not condition:
        raise Damaged(text)


# --- Checksums and compression: both are formats of their own -----------------------------------------------------------------------


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


XXHASH = ctypes.CDLL("libxxhash.so.0")
XXHASH.XXH3_128bits.restype = Hash128
XXHASH.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def xxh3_128(data):
    result = XXHASH.XXH3_128bits(data, len(data))
    return struct.pack(">QQ", result.high, result.low)


def unzstd(frame, payload_bytes):
    zstd = ctypes.CDLL("libzstd.so.1")
    zstd.ZSTD_decompress.restype = ctypes.c_size_t
    payload = ctypes.create_string_buffer(payload_bytes)
    size = zstd.ZSTD_decompress(payload, ctypes.c_size_t(payload_bytes), frame, ctypes.c_size_t(len(frame)))
    need(size == payload_bytes, "no whole zstd frame")
    return payload.raw


# --- Messages: the wire format of protobuf ------------------------------------------------------------------------------------------


def varint(data, position):
    number = shift = 0
    while True:
        need(position < len(data) and shift < 70, "a number that does not end")
        byte = data[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if not byte & 0x80:
            return number & (1 << 64) - 1, position


def wire_fields(data):
    """Pairs of field number and value: an int, or bytes."""
    position = 0
    while position < len(data):
        key, position = varint(data, position)
        wire_type = key & 7
        if wire_type == 0:
            value, position = varint(data, position)
        else:
            need(wire_type in (1, 2, 5), f"wire type {wire_type}")
            size = {1: 8, 5: 4}.get(wire_type)
            if size is None:
                size, position = varint(data, position)
            need(size <= len(data) - position, "a field beyond the end")
            value, position = data[position : position + size], position + size
            value = value if wire_type == 2 else int.from_bytes(value, "little")
        yield key >> 3, value


def packed(value):
    """Repeated numbers: packed, or one alone."""
    if isinstance(value, int):
        return [value]
    numbers, position = [], 0
    while position < len(value):
        number, position = varint(value, position)
        numbers.append(number)
    return numbers


class Schema:
    """Messages as {name: {number: (field, repeated, type)}}; enumerations as {name: {value: word}}."""

    def __init__(self, messages, enumerations):
        self.messages, self.enumerations = messages, enumerations

    def find(self, kind, inside):
        """What `kind` means in the message `inside`: one nested in it, or one of all."""
        for name in (f"{inside}.{kind}", kind):
            if name in self.messages or name in self.enumerations:
                return name
        return None

    def parse(self, name, data):
        """A message as a dictionary in which every field has a value; messages that are absent are None."""
        fields = self.messages[name]
        result = {field: [] if repeated else self.default(kind, name) for field, repeated, kind in fields.values()}
        for number, value in wire_fields(data):
            if number not in fields:
                continue  # of a later version
            field, repeated, kind = fields[number]
            is_text = kind in ("bytes", "string")
            inner = self.find(kind, name)
            if repeated and not is_text and inner not in self.messages:
                result[field] += [self.value(name, kind, number) for number in packed(value)]
            elif repeated:
                result[field].append(self.value(name, kind, value))
            else:
                result[field] = self.value(name, kind, value)
        return result

    def default(self, kind, inside):
        if kind in ("bytes", "string"):
            return b""
        inner = self.find(kind, inside)
        return None if inner in self.messages else self.enumerations[inner][0] if inner else 0

    def value(self, inside, kind, value):
        inner = self.find(kind, inside)
        if kind in ("bytes", "string") or inner in self.messages:
            need(isinstance(value, bytes), f"a number in the place of {kind}")
            return value if inner is None else self.parse(inner, value)
        need(isinstance(value, int), f"bytes in the place of {kind}")
        if inner:
            need(value in self.enumerations[inner], f"an unknown {inner} {value}")
            return self.enumerations[inner][value]
        if kind.startswith("s") and kind != "string":
            return value >> 1 ^ -(value & 1)  # zigzag
        if kind in ("int32", "int64") and value >> 63:
            return value - (1 << 64)
        return value


def schema_of_page():
    """The tables below "Process image"."""
    messages, enumerations, name = {}, {}, None
    for line in PAGE.read_text().split("\n## Process image\n")[1].split("\n## ")[0].splitlines():
        if match := re.match(r"\*\*`([\w.]+)`\*\*", line):
            name = match[1]
            messages[name] = {}
        elif match := re.match(r"\| (\d+) \| `(\w+)` \| (repeated |optional )?([\w.]+) \| .*\|$", line):
            if name in messages:
                messages[name][int(match[1])] = (match[2], match[3] == "repeated ", match[4])
            else:
                enumerations[name][int(match[1])] = match[2]
        elif line.startswith("| value |"):
            del messages[name]
            enumerations[name] = {}
        elif name in enumerations and (match := re.match(r"\| (\d+) \| `(\w+)` \|", line)):
            enumerations[name][int(match[1])] = match[2]
    return Schema(messages, enumerations)


ENVELOPES = Schema(
    {
        "Manifest": {
            1: ("format_version", False, "uint32"), 2: ("component", False, "Component"), 3: ("job", False, "bytes"),
            4: ("sequence", False, "uint64"), 5: ("parent_sequence", False, "uint64"), 6: ("taken_at", False, "int64"),
            7: ("host", False, "bytes"), 8: ("kernel", False, "bytes"), 9: ("user_id", False, "uint32"),
            10: ("program", False, "Program"), 11: ("files", True, "File"), 12: ("passes", True, "Pass"),
            13: ("pause_nanoseconds", False, "uint64"), 14: ("total_nanoseconds", False, "uint64"),
            15: ("memory_bytes", False, "uint64"), 16: ("stored_bytes", False, "uint64"), 17: ("warnings", True, "bytes"),
            20: ("shared_bytes", False, "uint64"),
        },
        "Component": {1: ("name", False, "bytes"), 2: ("version", False, "bytes"), 3: ("interface_major", False, "uint32")},
        "Program": {
            1: ("pid", False, "int32"), 2: ("threads", False, "uint32"), 3: ("executable", False, "bytes"),
            4: ("command_line", True, "bytes"), 5: ("working_directory", False, "bytes"), 6: ("cpu_features", True, "bytes"),
            7: ("processes", False, "uint32"),
        },
        "File": {
            1: ("name", False, "bytes"), 2: ("size", False, "uint64"), 3: ("checksum", False, "bytes"), 4: ("verified_by", False, "bytes"),
        },
        "Pass": {1: ("name", False, "bytes"), 2: ("nanoseconds", False, "uint64")},
        "ExtentIndex": {1: ("extents", True, "Extent")},
        "Extent": {
            1: ("offset", False, "uint64"), 2: ("stored_bytes", False, "uint64"), 3: ("payload_bytes", False, "uint64"),
            4: ("encoding", False, "uint32"), 5: ("checksum", False, "bytes"), 6: ("tag", False, "bytes"), 7: ("source", False, "uint64"),
        },
        "PageRuns": {1: ("runs", True, "uint64"), 2: ("replaced", True, "uint64"), 3: ("process", False, "uint32")},
    },
    {},
)


# --- A snapshot ---------------------------------------------------------------------------------------------------------------------


def read_regular_file(path):
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            return file.read()
    except OSError as problem:
        raise Damaged(f"{path}: {problem}") from None


def read_manifest(path):
    data = read_regular_file(path)
    need(len(data) >= 36 and len(data) <= 64 << 20 and data[:8] == bytes.fromhex("89 43 52 53 4D 0D 0A 1A"), "no manifest")
    version, length = struct.unpack("<IQ", data[8:20])
    need(length == len(data) - 36, "the manifest's length")
    need(xxh3_128(data[:20] + data[36:]) == data[20:36], "the manifest's checksum")
    need(version == 1, f"format version {version}")
    manifest = ENVELOPES.parse("Manifest", data[36:])
    need(manifest["format_version"] == 1 and manifest["component"]["name"] and manifest["sequence"] >= 1, "the manifest's content")
    return manifest


def read_index(data, data_files_bytes):
    need(len(data) >= 40 and data[:8] == bytes.fromhex("43 52 53 58 54 4E 54 53"), "no index")
    version, zero, length = struct.unpack("<IIQ", data[8:24])
    need(length == len(data) - 40, "the index's length")
    need(xxh3_128(data[:24] + data[40:]) == data[24:40], "the index's checksum")
    need((version, zero) == (1, 0), "the index's version")
    extents, source, end, own_end = ENVELOPES.parse("ExtentIndex", data[40:])["extents"], 0, 0, 0
    for extent in extents:
        stored, payload = extent["stored_bytes"], extent["payload_bytes"]
        if extent["source"] != source:
            need(extent["source"] > source and extent["source"] in data_files_bytes, "an extent's source")
            source, end = extent["source"], 0
        placed = extent["offset"] == end if source == 0 else extent["offset"] >= end and extent["offset"] % PAGE_BYTES == 0
        need(placed and 1 <= payload <= MAXIMUM_PAYLOAD, "an extent's place")
        need(len(extent["checksum"]) == 16 and extent["encoding"] in (0, 1), "an extent's checksum or encoding")
        need(stored == payload if extent["encoding"] == 0 else 1 <= stored < payload, "an extent's size")
        end += -(-stored // PAGE_BYTES) * PAGE_BYTES
        extent["end"] = end
        need(end <= data_files_bytes[source], "an extent beyond the end of its data file")
        if source == 0:
            own_end = end
    need(own_end == data_files_bytes[0], "extents that do not tile the data file")
    return extents


def numbers_of(pairs):
    """What pairs of a gap and a length stand for, in order."""
    page, numbers = 0, []
    need(len(pairs) % 2 == 0, "half a run")
    for gap, length in zip(pairs[::2], pairs[1::2]):
        need(1 <= length <= MAXIMUM_PAYLOAD // PAGE_BYTES and gap < 1 << 51, "a run that cannot be")
        numbers += range(page + gap, page + gap + length)
        page += gap + length
    return numbers


def page_numbers(tag):
    """The process of a tag, and all its pages, in order; None in the place of one that does not count."""
    message = ENVELOPES.parse("PageRuns", tag)
    numbers = numbers_of(message["runs"])
    for place in numbers_of(message["replaced"]):
        need(place < len(numbers), "a replaced page behind the payload's end")
        numbers[place] = None
    return message["process"], numbers


def extents_of(data, index):
    """The payloads with their tags, after all checks. `data`: the data files by their source."""
    for extent in read_index(index, {source: len(bytes) for source, bytes in data.items()}):
        stored = data[extent["source"]][extent["offset"] : extent["end"]]
        need(xxh3_128(stored) == extent["checksum"], f"the extent at {extent['offset']}")
        content = stored[: extent["stored_bytes"]]
        yield extent["tag"], content if extent["encoding"] == 0 else unzstd(content, extent["payload_bytes"])


class Snapshot:
    """Reads and checks all of it. `manifest` and `process` are dictionaries with the names of the page."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.manifest = read_manifest(self.directory / "manifest")
        self.files = {}
        for file in self.manifest["files"]:
            name = file["name"].decode()
            need(all(part not in ("", ".", "..") for part in name.split("/")) and name not in self.files, f"the name {name}")
            self.files[name] = read_regular_file(self.directory / name)
            need(len(self.files[name]) == file["size"], f"the size of {name}")
            need(file["verified_by"] or xxh3_128(self.files[name]) == file["checksum"], f"the checksum of {name}")
        self.check_nothing_else()
        self.tree = schema_of_page().parse("Tree", self.files["process"])
        self.process = self.tree["processes"][0]
        self.pages_of, self.replaced = [{} for _ in self.tree["processes"]], 0
        self.pages = self.pages_of[0]
        for file in self.manifest["files"]:
            base, _, source = file["name"].decode().partition("@")
            need(file["verified_by"] in (b"", f"{base}.index".encode()), "who verifies whom")
            if file["verified_by"] and not source:
                self.add_pages(self.data_files(base), self.files[f"{base}.index"])
        for process, pages in zip(self.tree["processes"], self.pages_of):
            # A zombie has no memory.
            need(len(pages) * PAGE_BYTES == (process["memory"] or {"page_bytes": 0})["page_bytes"], "the number of pages")

    def data_files(self, base):
        earlier = {name: content for name, content in self.files.items() if name.startswith(base + "@")}
        return {0: self.files[base]} | {int(name.partition("@")[2]): content for name, content in earlier.items()}

    def check_nothing_else(self):
        there = {str(path.relative_to(self.directory)) for path in self.directory.rglob("*") if not path.is_dir()}
        need(there == {*self.files, "manifest"}, f"files that the manifest does not list: {there - {*self.files}}")

    def add_pages(self, data, index):
        for tag, payload in extents_of(data, index):
            process, numbers = page_numbers(tag)
            need(process < len(self.pages_of), "a process that is not there")
            pages = self.pages_of[process]
            need(len(numbers) * PAGE_BYTES == len(payload), "a list of pages that does not fit its payload")
            for place, number in enumerate(numbers):
                if number is None:
                    self.replaced += 1
                    continue
                need(number not in pages, f"page {number:#x} twice")
                kind = self.area_at(number * PAGE_BYTES, process)["kind"]
                need(kind in ("ANONYMOUS", "PRIVATE_FILE", "SHARED_MEMORY", "PRIVATE_CONTENT"), f"a page of {kind}")
                pages[number] = payload[place * PAGE_BYTES : (place + 1) * PAGE_BYTES]

    def area_at(self, address, process=0):
        for area in self.tree["processes"][process]["memory"]["areas"]:
            if area["start"] <= address < area["end"]:
                return area
        raise Damaged(f"no area at {address:#x}")

    def memory(self, address, size):
        """The root's memory, as it was."""
        first, last = address // PAGE_BYTES, (address + size - 1) // PAGE_BYTES
        content = b"".join(self.page(number) for number in range(first, last + 1))
        return content[address % PAGE_BYTES :][:size]

    def page(self, number):
        if number in self.pages:
            return self.pages[number]
        area = self.area_at(number * PAGE_BYTES)
        offset = area["offset"] + number * PAGE_BYTES - area["start"]
        if area["kind"] in ("PRIVATE_FILE", "SHARED_FILE"):
            with open(self.process["memory"]["files"][area["backing"]]["path"], "rb") as file:
                return os.pread(file.fileno(), PAGE_BYTES, offset).ljust(PAGE_BYTES, b"\0")
        if area["kind"] in ("SHARED_CONTENT", "PRIVATE_CONTENT"):
            return self.content(area["backing"])[offset : offset + PAGE_BYTES].ljust(PAGE_BYTES, b"\0")
        if area["kind"] == "SHARED_MEMORY":
            return self.shared_page(area["backing"], offset)
        return bytes(PAGE_BYTES)

    def shared_page(self, backing, offset):
        for area in self.process["memory"]["areas"]:
            if area["kind"] == "SHARED_MEMORY" and area["backing"] == backing:
                number = (area["start"] + offset - area["offset"]) // PAGE_BYTES
                if area["offset"] <= offset < area["offset"] + area["end"] - area["start"] and number in self.pages:
                    return self.pages[number]
        return bytes(PAGE_BYTES)

    def content(self, index):
        """The content of an unlinked file or a memfd."""
        return self.content_of(self.tree["descriptors"]["objects"][index])

    def kept_file(self, path):
        """The content of a file that a restart brings back."""
        [item] = [item for item in self.tree["descriptors"]["kept_files"] if item["name"] == path.encode()]
        return self.content_of(item)

    def content_of(self, item):
        content, stored, position = bytearray(item["size"]), self.files[item["content"].decode()] if item["data"] else b"", 0
        for extent in item["data"]:
            need(extent["offset"] + extent["bytes"] <= item["size"], "content beyond the end")
            content[extent["offset"] : extent["offset"] + extent["bytes"]] = stored[position : position + extent["bytes"]]
            position += extent["bytes"]
        need(position == len(stored), "content that belongs nowhere")
        return bytes(content)

    def description(self, number):
        """The open file description behind a descriptor's number."""
        descriptors = self.tree["descriptors"]
        [index] = [entry["description"] for entry in descriptors["descriptors"] if entry["number"] == number]
        return descriptors["descriptions"][index]
