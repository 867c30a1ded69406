"""Damaged and hostile files are refused with a ValueError: nothing is executed, and memory stays within the file's."""

import copy
import io
import json
import random
import sys
import tracemalloc
import zipfile

import pytest
import torch

from torch_bridge import checkpoint

FORBIDDEN = ("exec", "compile", "import", "os.system", "subprocess.Popen", "pickle.find_class", "marshal.loads")
ODD = (
    None, True, -1, 0, 1, 7, 2**31, 2**62, 2**63, 2**70, 1e308, float("nan"), "", "x", "F32", "F99", "BOOL", [], {},
    [[]], [-1], [2**40, 2**40], [0, 2**62], [0, 4], [4, 0], {"array": "w"}, {"dict": []}, {"float": "x"}, [[]] * 40,
)  # fmt: skip
GLOBALS = (
    b"os system",
    b"builtins eval",
    b"torch.nn Linear",
    b"torch._utils _rebuild_tensor",
    b"collections OrderedDict",
)

watching = [False]


def watch(event, _):
    if watching[0] and event in FORBIDDEN:
        raise AssertionError(f"a file led to {event}")


sys.addaudithook(watch)


def content():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "epoch": 3,
        "tuple": (1.5, None, "text", torch.ones(2, dtype=torch.bfloat16)),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of each kind, by suffix."""
    folder = tmp_path_factory.mktemp("whole")
    torch.save(content(), folder / "a.pt")
    checkpoint.write(folder / "a.safetensors", checkpoint.read(folder / "a.pt"))
    return {name: (folder / name).read_bytes() for name in ("a.pt", "a.safetensors")}


def flipped(data, draw):
    data = bytearray(data)
    for _ in range(draw.choice((1, 1, 3, 20))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(data)


def cut(data, draw):
    return data[: draw.randrange(len(data))]


def spliced(data, draw):
    a, b, c = (draw.randrange(len(data)) for _ in range(3))
    return data[:a] + data[min(b, c) : max(b, c)] + data[draw.choice((a, b)) :]


def other_pickle(data, draw):
    """A .pt file with another pickle in it, or other entries, its checksums right; of safetensors another header."""
    if data[:2] != b"PK":
        return other_header(data, draw)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name = next(name for name in entries if name.endswith("data.pkl"))
    program, move = entries[name], draw.random()
    if move < 0.5:
        program = draw.choice((flipped, flipped, cut, spliced))(program, draw)
    elif move < 0.7:
        program = program.replace(b"torch._utils\n_rebuild_tensor_v2", draw.choice(GLOBALS).replace(b" ", b"\n"))
    elif move < 0.85:  # sizes, numbers
        places = [i for i, byte in enumerate(program[:-2]) if byte == 0x4B]  # BININT1
        at = draw.choice(places)
        number = draw.choice((0, 1, 2**31 - 1, -1, 2**20)).to_bytes(4, "little", signed=True)
        program = program[:at] + b"J" + number + program[at + 2 :]
    else:
        gone = draw.choice(list(entries))
        entries[gone] = draw.choice((b"", entries[gone][:-1], entries[gone] * 2, None))
    entries[name] = program if move < 0.85 else entries[name]
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for each, inside in entries.items():
            if inside is not None:
                archive.writestr(each, inside, draw.choice((0, 0, 0, 0, 0, 0, 0, 8)))
    return made.getvalue()


def places_in(value, path=()):
    yield path
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places_in(each, (*path, key))


def put(tree, draw):
    """Put something odd anywhere into a tree."""
    path = draw.choice(list(places_in(tree)))
    if not path:
        return copy.deepcopy(draw.choice(ODD))
    holder = tree
    for step in path[:-1]:
        holder = holder[step]
    if draw.random() < 0.3:
        del holder[path[-1]]
    else:
        holder[path[-1]] = copy.deepcopy(draw.choice(ODD))
    return tree


def other_header(data, draw):
    if data[:2] == b"PK":
        return other_pickle(data, draw)
    size = int.from_bytes(data[:8], "little")
    header, rest = json.loads(data[8 : 8 + size]), data[8 + size :]
    if draw.random() < 0.5:
        header["__metadata__"]["outline"] = json.dumps(put(json.loads(header["__metadata__"]["outline"]), draw))
    else:
        header = put(header, draw)
    text = json.dumps(header).encode()
    if draw.random() < 0.1:
        text = text[: draw.randrange(len(text))]
    if draw.random() < 0.1:
        rest = draw.choice((b"", rest[:-1], rest + b"1"))
    return draw.choice((len(text),) * 9 + (2**40,)).to_bytes(8, "little") + text + rest


MUTATIONS = (flipped, cut, spliced, other_pickle, other_header)


def read_all(path):
    """Everything that is read of a checkpoint."""
    found = checkpoint.load(path)
    return str(found), found.params, found.rule() if "optimizer" in found.keys else None


def assert_refused_or_read(data, path):
    """Read a file under watch; return whether it could be read."""
    path.write_bytes(data)
    watching[0] = True
    try:
        read_all(path)
        return True
    except (ValueError, TypeError):  # the latter for options that no optimizer has
        return False
    finally:
        watching[0] = False


@pytest.mark.parametrize("n", [300, pytest.param(10_000, marks=pytest.mark.thorough)])
def test_a_damaged_file_is_refused(files, tmp_path, n):
    for name, data in files.items():  # what is imported late
        (tmp_path / name).write_bytes(data)
        read_all(tmp_path / name)
    for data in (files["a.pt"][:-1], b"PK", b"\x80"):
        (tmp_path / "a.pt").write_bytes(data)
        with pytest.raises(ValueError, match=r"a\.pt is"):
            checkpoint.load(tmp_path / "a.pt")
    draw = random.Random(n)
    n_read = dict.fromkeys(MUTATIONS, 0)
    tracemalloc.start()
    for number in range(n):
        mutation, name = MUTATIONS[number % len(MUTATIONS)], draw.choice(list(files))
        n_read[mutation] += assert_refused_or_read(mutation(files[name], draw), tmp_path / name)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**27
    assert n_read[cut] == 0
    assert 0 < n_read[other_header] + n_read[other_pickle] < n / 5
