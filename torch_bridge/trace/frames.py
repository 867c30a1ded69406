"""The trace file: a log of frames, each with its length and checksums, that is read up to its last whole frame.

The file begins with `MAGIC`. A frame is, little-endian,

    length of what follows the frame's header  u64
    length of its JSON                         u32
    1 if its data are slots, 0 otherwise       u32
    xxh3-64 of the JSON and the data           u64   of slots, of the JSON alone
    xxh3-64 of the 24 bytes before             u64
    JSON, padded with spaces to a multiple of 8
    data

A run that ends early leaves a shorter file: its last frame may be cut, or be zeros, and every frame before is whole. A
frame that is there and does not have its checksum is damaged, which is another thing and is said.

The JSON is a dict with a ``"kind"``; ``"run"`` is the number of a run in the order of their frames:

    trace    {"format": 2}                                           the first frame
    run      {"run", "name", "static", "tensors"}                    a run: header, initial state
    layout   {"run", "tensors"}                                      how the data of steps lie; numbered from 0
    step     {"run", "layout"}                                       the next step
    fill     {"run", "steps", "tensors"}                             what all the steps so far had unchanged
    more     {"run", "tensors"}                                      further initial state or extra arrays
    facts    {"run", "static"}                                       entries of the header that replace earlier ones
    ring     {"run", "slots", "capacity"}                            slots, overwritten in turn by the latest steps
    end      {"steps"}                                               the last frame; the number of steps of each run

``"tensors"`` is a list of [room, key, dtype, shape], see `torch_bridge.trace.layout`. A slot holds step u64, layout
u64, length of its data u64, xxh3-64 of these 24 bytes and the data, and the data of the whole step. There is one slot
more than steps to keep, so that the one under way costs none of them.
"""

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import xxhash

MAGIC = b"\x89TBTRAC\n"
FORMAT = 2  # a reader rejects a newer one

Buffer: TypeAlias = bytes | memoryview
Read: TypeAlias = Callable[[int, int], Buffer]
"""``(position, length)`` -> so many bytes, all of them."""

HEADER = struct.Struct("<QIIQQ")
SLOT = struct.Struct("<QQQQ")
_CHUNK = 2**20
_SLACK = 2**20


class DamagedTraceError(ValueError):
    """The content of a trace file is not what `torch_bridge` writes; the caller knows the file."""


class NewerFormatError(ValueError):
    """A trace file was written by a newer `torch_bridge`; the caller knows the file."""


@dataclass(frozen=True)
class Frame:
    """A frame that was read.

    Attributes:
        facts: its JSON.
        start: where its data begin.
        size: of its data, in bytes.
        is_slots: its data are slots.
    """

    facts: dict[str, Any]
    start: int
    size: int
    is_slots: bool


def pack(facts: dict[str, Any], data: Sequence[Buffer] = (), slots: int = 0) -> list[Buffer]:
    """Return a frame as buffers to be written one after another.

    Args:
        facts: its JSON.
        data: its data.
        slots: in place of data, so many bytes of slots, which are not among the buffers.
    """
    text = json.dumps(facts, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    length = len(text) + (slots or sum(len(each) for each in data))
    head = struct.pack("<QIIQ", length, len(text), int(slots > 0), _hash([text, *data]))
    return [head + struct.pack("<Q", xxhash.xxh3_64_intdigest(head)) + text, *data]


def pack_slot(step: int, layout: int, data: Sequence[Buffer]) -> list[Buffer]:
    """Return a slot as buffers to be written one after another."""
    head = struct.pack("<QQQ", step, layout, sum(len(each) for each in data))
    return [head + struct.pack("<Q", _hash([head, *data])), *data]


def frames(read: Read, size: int) -> Iterator[Frame]:
    """Go through the frames of a file, up to the first one that is cut.

    Args:
        read: of the file.
        size: of the file, in bytes.

    Raises:
        DamagedTraceError: the file does not begin as a trace, or a frame does not have its checksum.
    """
    if size < len(MAGIC) or bytes(read(0, len(MAGIC))) != MAGIC:
        raise DamagedTraceError("it does not begin as one")
    position = len(MAGIC)
    while size - position >= HEADER.size:
        head = bytes(read(position, HEADER.size))
        if not any(head):  # a power cut can leave zeros where a frame was to be
            return
        length, n_text, is_slots, checksum, own = HEADER.unpack(head)
        if xxhash.xxh3_64_intdigest(head[:24]) != own or n_text > length or is_slots > 1:
            raise DamagedTraceError(f"the frame at byte {position} is damaged")
        start = position + HEADER.size
        if length > size - start:
            return
        if _hash_of(read, start, n_text if is_slots else length) != checksum:
            raise DamagedTraceError(f"the frame at byte {position} is damaged")
        yield Frame(_parsed(bytes(read(start, n_text)), size), start + n_text, length - n_text, bool(is_slots))
        position = start + length


def slots(read: Read, frame: Frame, n_slots: int, capacity: int) -> Iterator[tuple[int, int, int, int]]:
    """Go through the slots that were written: step, number of the layout, position and length of the data.

    Raises:
        DamagedTraceError: more than the one slot that was being written does not have its checksum.
    """
    n_damaged = 0
    for index in range(n_slots):
        position = frame.start + index * capacity
        head = bytes(read(position, SLOT.size))
        if not any(head):
            continue
        step, layout, length, checksum = SLOT.unpack(head)
        start = position + SLOT.size
        if length > capacity - SLOT.size or _hash_of(read, start, length, head[:24]) != checksum:
            n_damaged += 1
            continue
        yield step, layout, start, length
    if n_damaged > 1:
        raise DamagedTraceError(f"{n_damaged} of the last steps, from byte {frame.start} on, are damaged")


def _hash(buffers: Sequence[Buffer]) -> int:
    state = xxhash.xxh3_64()
    for buffer in buffers:
        state.update(buffer)
    return state.intdigest()


def _hash_of(read: Read, start: int, length: int, before: bytes = b"") -> int:
    state = xxhash.xxh3_64(before)
    for position in range(start, start + length, _CHUNK):
        state.update(read(position, min(_CHUNK, start + length - position)))
    return state.intdigest()


def _parsed(text: bytes, size: int) -> dict[str, Any]:
    # An empty list is two bytes as text and some seventy in memory.
    if 72 * (text.count(b"[") + text.count(b"{")) + 40 * text.count(b",") > 8 * size + _SLACK:
        raise DamagedTraceError("a header of lists within lists takes many times the memory of the file")
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedTraceError(f"a header cannot be read: {error}") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("kind"), str):
        raise DamagedTraceError("a header has no kind")
    return facts
