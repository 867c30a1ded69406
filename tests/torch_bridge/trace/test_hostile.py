"""A damaged or hostile file is refused with a ValueError: nothing is executed, and memory stays within the file's."""

import contextlib
import copy
import random
import sys
import tracemalloc

import numpy as np
import pytest

from tests.support.small_files import KINDS, written
from torch_bridge.cli.show import summary
from torch_bridge.trace import frames
from torch_bridge.trace.trace import Trace
from torch_bridge.translate.recipe_data import recorded_recipe

ODD = (
    None, True, -1, 0, 1, 2, 7, 2**31, 2**47, 2**62, 2**63, 2**70, 1e308, float("nan"), "", "x", "steps", "digests",
    "float64", "object", "net", "__import__('os')", [], {}, [[]], [-1], [2**40, 2**40], [0, 2**62], {"kind": "end"},
    [["steps", "loss", "float32", [2**40]]], [[]] * 40,
)  # fmt: skip

FORBIDDEN = ("exec", "compile", "import", "os.system", "subprocess.Popen", "pickle.find_class", "marshal.loads")

watching = [False]


def watch(event, _):
    if watching[0] and event in FORBIDDEN:
        raise AssertionError(f"a trace file led to {event}")


sys.addaudithook(watch)


def flipped(content, draw):
    content = bytearray(content)
    for _ in range(draw.choice((1, 1, 3, 20))):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content)


def cut(content, draw):
    return content[: draw.randrange(len(content))]


def spliced(content, draw):
    a, b, c = (draw.randrange(len(content)) for _ in range(3))
    return content[:a] + content[min(b, c) : max(b, c)] + content[draw.choice((a, b)) :]


def taken_apart(content):
    """The frames of a file: facts, data, whether they are slots."""
    view = memoryview(content)
    found = frames.frames(lambda start, length: view[start : start + length], len(content))
    return [[frame.facts, bytes(view[frame.start : frame.start + frame.size]), frame.is_slots] for frame in found]


def put_together(parts):
    """A file of frames, every checksum right."""
    content = frames.MAGIC
    for facts, data, is_slots in parts:
        buffers = [*frames.pack(facts, slots=len(data)), data] if is_slots and data else frames.pack(facts, [data])
        content += b"".join(buffers)
    return content


def other_lengths(content, draw):
    """A frame's header with another length, its own checksum right."""
    places, position = [], len(frames.MAGIC)
    while position < len(content):
        places.append(position)
        position += frames.HEADER.size + frames.HEADER.unpack_from(content, position)[0]
    place = draw.choice(places)
    length, n_text, slots, checksum, _ = frames.HEADER.unpack_from(content, place)
    odd = (0, 1, 2**20, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1, length - 1, length + 1)
    which = draw.randrange(3)
    length = draw.choice(odd) % 2**64 if which == 0 else length
    n_text = draw.choice(odd) % 2**32 if which == 1 else n_text
    slots = draw.choice((0, 1, 2)) if which == 2 else slots
    head = frames.struct.pack("<QIIQ", length, n_text, slots, checksum)
    head += frames.struct.pack("<Q", frames.xxhash.xxh3_64_intdigest(head))
    return content[:place] + head + content[place + frames.HEADER.size :]


def places_in(value, path=()):
    yield path
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places_in(each, (*path, key))


def other_facts(content, draw):
    """The JSON of some frames with something odd in it, or frames in another order; every checksum right."""
    parts = taken_apart(content)
    for _ in range(draw.choice((1, 1, 1, 2))):
        part = draw.choice(parts)
        path = draw.choice(list(places_in(part[0])))
        move = draw.random()
        if move < 0.1:
            parts.insert(draw.randrange(len(parts)), copy.deepcopy(part))
        elif move < 0.2:
            parts.remove(part)
        elif move < 0.3:
            part[1] = draw.choice((b"", part[1][:-1], part[1] + bytes(8), flipped(part[1] or b"?", draw)))
        elif move < 0.35:
            part[2] = not part[2]
        elif path:
            holder = part[0]
            for step in path[:-1]:
                holder = holder[step]
            if move < 0.5:
                del holder[path[-1]]
            else:
                holder[path[-1]] = copy.deepcopy(draw.choice(ODD))
    return put_together(parts) if parts else b""


def other_slots(content, draw):
    """The head of a slot with odd numbers in it, its checksum right; of a file without slots, its facts."""
    parts = taken_apart(content)
    rings = [part for part in parts if part[2]]
    if not rings:
        return other_facts(content, draw)
    ring = draw.choice(rings)
    place = draw.randrange(ring[0]["slots"]) * ring[0]["capacity"]
    numbers = list(frames.SLOT.unpack_from(ring[1], place)[:3])
    numbers[draw.randrange(3)] = draw.choice((0, 1, 2, 4, 5, 8, 2**20, 2**63, 2**64 - 1))
    size, start = min(numbers[2], ring[0]["capacity"] - frames.SLOT.size), place + frames.SLOT.size
    (slot, *_) = frames.pack_slot(numbers[0], numbers[1], [ring[1][start : start + size]])
    ring[1] = ring[1][:place] + slot + ring[1][start:]
    return put_together(parts)


MUTATIONS = (flipped, cut, spliced, other_lengths, other_slots, other_facts, other_facts, other_facts)


def read_all(path):
    """Everything that is read of a trace."""
    for trace in Trace.load_all(path).values():
        summary(trace)
        if "recipe" in trace.static:
            recorded_recipe(trace.static)
        for t in range(trace.n_steps):
            trace.step(t)
            for key in trace.keys:
                trace.digest(key, t)
        for room in (trace.steps, trace.digests, trace.norms, trace.kept, trace.present):
            for rows in room.values():
                np.asarray(rows)
        dict(trace.twins)
        with contextlib.suppress(ValueError):  # there may be digests alone
            trace.before(trace.n_steps - 1)


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return {kind: written(folder / kind, **options).read_bytes() for kind, options in KINDS.items()}


def assert_refused_or_read(content, path):
    """Read a file under watch; return whether it could be read."""
    path.write_bytes(content)
    tracemalloc.start()
    watching[0] = True
    try:
        read_all(path)
        was_read = True
    except ValueError:
        was_read = False
    finally:
        watching[0] = False
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak <= 10 * len(content) + frames._SLACK
    return was_read


@pytest.mark.parametrize("n", [400, pytest.param(10_000, marks=pytest.mark.thorough)])
def test_a_damaged_file_is_refused(contents, tmp_path, n):
    for content in contents.values():  # what is imported late
        (tmp_path / "a.trace").write_bytes(content)
        read_all(tmp_path / "a.trace")
    draw = random.Random(n)
    n_read = {mutation: 0 for mutation in MUTATIONS}
    for number in range(n):
        mutation = MUTATIONS[number % len(MUTATIONS)]
        kind = draw.choice(list(contents))
        was_read = assert_refused_or_read(mutation(contents[kind], draw), tmp_path / "a.trace")
        assert not was_read or mutation is not flipped or kind == "ring"  # whose slots are each for itself
        n_read[mutation] += was_read
    assert n_read[cut] > 0  # up to the last whole step
    assert 0 < n_read[other_facts] < n / 5  # in an entry of the header that may be anything
