"""Trees through every format, bit for bit; and files that are not what their names say."""

import itertools
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections import Counter, OrderedDict

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from torch_bridge import checkpoint, random
from torch_bridge.checkpoint.torch_file import read_torch

DTYPES = (np.float32, np.float64, np.float16, np.int64, np.int32, np.uint8, np.bool_, np.complex64)
SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
ARRAYS = st.one_of([arrays.arrays(dtype, SHAPES) for dtype in DTYPES])
KEYS = st.text(st.characters(codec="utf-8"), max_size=4) | st.integers(-3, 2**40)
LEAVES = ARRAYS | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


def written_alike(keys):
    return len({str(key) for key in keys}) < len(keys)


TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=3).filter(lambda made: not written_alike(made))
    ),
    max_leaves=8,
)


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    else:
        assert a == b or a != a != b


@given(TREES)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_tree_comes_back(tmp_path_factory, tree):
    folder = tmp_path_factory.mktemp("any")
    checkpoint.write(folder / "a.pt", tree)
    checkpoint.write(folder / "a.safetensors", checkpoint.read(folder / "a.pt"))
    assert_same(checkpoint.read(folder / "a.safetensors"), tree)


TREE = {
    "model": OrderedDict(w=np.float32([[1, np.nan], [-0.0, np.inf]]), half=np.ones(3, ml_dtypes.bfloat16)),
    "optimizer": {"state": {0: {"step": np.float32(3)[()]}, 1: {}}, "lr": (0.1, float("nan"), -0.0, 10**30, True)},
    "empty": {"list": [], "array": np.zeros((0, 3), np.float64), "": None},
    "milestones": Counter({30: 2, 10: 1}), "a/b": [np.int64(2)], "a": {"b": "text %2F"},
}  # fmt: skip


def plain(tree):
    """The tree with arrays of no dimensions for NumPy's numbers, and dicts alone."""
    if isinstance(tree, dict):
        made = {key: plain(each) for key, each in tree.items()}
        return Counter(made) if isinstance(tree, Counter) else made
    if isinstance(tree, list | tuple):
        return type(tree)(map(plain, tree))
    return np.asarray(tree) if isinstance(tree, np.generic) else tree


def test_from_format_to_format(tmp_path):
    names = ("a.pt", "b.safetensors", "folder", "c.pt", "d.safetensors", "e.pt")
    checkpoint.write(tmp_path / names[0], TREE)
    for source, target in itertools.pairwise(names):
        checkpoint.write(tmp_path / target, checkpoint.read(tmp_path / source))
    for name in names:
        assert_same(checkpoint.read(tmp_path / name), plain(TREE))
    assert torch.load(tmp_path / "e.pt", weights_only=True)["model"]["half"].dtype == torch.bfloat16
    checkpoint.write(tmp_path / "jax.safetensors", {"w": jnp.ones(2), "key": jax.random.key(1)})
    assert jax.random.key_data(checkpoint.read(tmp_path / "jax.safetensors")["key"]).tolist() == [0, 1]


def test_other_readers_and_writers(tmp_path):
    from safetensors import torch as library

    checkpoint.write(tmp_path / "a.safetensors", {"layer.weight": np.ones(2, np.float32)})
    assert library.load_file(tmp_path / "a.safetensors")["layer.weight"].tolist() == [1.0, 1.0]
    library.save_file({"x": torch.arange(3).bfloat16()}, tmp_path / "b.safetensors")
    assert checkpoint.read(tmp_path / "b.safetensors")["x"].dtype == ml_dtypes.bfloat16


def test_the_random_state_of_a_script_goes_on(tmp_path):
    torch.manual_seed(5)
    torch.rand(3)
    torch.save({"model": {"w": torch.ones(1)}, "rng": torch.get_rng_state()}, tmp_path / "a.pt")
    random.set_rng_state(checkpoint.load(tmp_path / "a.pt").part("rng"))
    np.testing.assert_array_equal(random.rand(4), torch.rand(4))


class Bomb:
    def __reduce__(self):
        return os.system, ("touch executed",)


def _legacy(path):
    torch.save({"w": torch.ones(1)}, path, _use_new_zipfile_serialization=False)


def _script(path):
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a/data.pkl", "a/constants.pkl", "a/code/__torch__.py"):
            archive.writestr(name, b"")


def _squeezed(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10**6))


def _nested(path):
    tree = []
    for _ in range(40):
        tree = [tree, tree]
    torch.save(tree, path)


def _itself(path):
    tree = []
    tree.append(tree)
    torch.save(tree, path)


def _folder(path):
    path.mkdir()


FILES = {
    "legacy": (_legacy, r"torch's format before 1.6: .* torch.save\(torch.load\(path, weights_only=True\), other\)"),
    "a script": (_script, r"TorchScript archive, which holds a program: .*torch.jit.load\(path\).state_dict\(\)"),
    "a module": (
        lambda p: torch.save(torch.nn.Linear(1, 1), p),
        r"an object of torch.nn.modules.linear.Linear, .* save model.state_dict\(\) in place of the model",
    ),
    "a bomb": (
        lambda p: torch.save({"w": torch.ones(1), "x": Bomb()}, p),
        r"object of (posix|nt).system, to load which would run code",
    ),
    "a pickled bomb": (lambda p: p.write_bytes(pickle.dumps(Bomb())), r"is a pickle, or has torch's format before 1.6"),
    "squeezed": (_squeezed, r"compressed or encrypted entries"),
    "nested": (_nested, r"contain themselves or each other"),
    "itself": (_itself, r"contain themselves or each other"),
    "expanded": (lambda p: torch.save(torch.ones(1).expand(2**40), p), r"far more bytes than it has.*clone"),
    "sparse": (lambda p: torch.save(torch.eye(2).to_sparse(), p), r"a tensor at its top that is sparse"),
    "empty": (lambda p: p.write_bytes(b""), r"is not a file of torch.save"),
    "text": (lambda p: p.write_text("hello"), r"is not a file of torch.save"),
    "a set": (lambda p: torch.save({"a": {1, 2}}, p), r"holds a builtins.set at /a"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_what_is_no_checkpoint_is_named_and_not_executed(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, says = FILES[kind]
    make(tmp_path / "a.pt")
    with pytest.raises(ValueError, match=says):
        checkpoint.read(tmp_path / "a.pt")
    assert os.listdir(tmp_path) == ["a.pt"]


def header(**tensors):
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text


HEADERS = {
    "huge": header(w={"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}) + bytes(4),
    "huge header": (2**50).to_bytes(8, "little") + bytes(9),
    "overlapping": header(
        a={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        b={"dtype": "F32", "shape": [1], "data_offsets": [2, 6]},
    ) + bytes(6),
    "unknown dtype": header(w={"dtype": "F31", "shape": [1], "data_offsets": [0, 4]}) + bytes(4),
    "too short": header(w={"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}) + bytes(3),
    "NaN": header(__metadata__={"outline": "NaN", "digest": float("nan")}),
    "no outline": header(__metadata__={"outline": "x", "digest": ""}),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADERS)
def test_a_safetensors_header_is_checked(tmp_path, kind):
    (tmp_path / "a.safetensors").write_bytes(HEADERS[kind])
    with pytest.raises(ValueError, match=r"a.safetensors is damaged or is no safetensors file"):
        checkpoint.read(tmp_path / "a.safetensors")


def test_a_bit_of_a_tensor_is_seen(tmp_path):
    checkpoint.write(tmp_path / "a.safetensors", TREE)
    data = bytearray((tmp_path / "a.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match="its tensors do not match their digest"):
        checkpoint.read(tmp_path / "a.safetensors")


def test_folders_pipes_and_links(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "folder.pt").mkdir()
    for name, says in (("pipe.pt", "no regular file: give a file"), ("folder.pt", "no whole checkpoint")):
        with pytest.raises((OSError, ValueError), match=says):
            checkpoint.read(tmp_path / name)
    with pytest.raises(OSError, match="is a folder: give a file"):
        read_torch(tmp_path / "folder.pt")
    checkpoint.write(tmp_path / "a.pt", TREE)
    (tmp_path / "link.pt").symlink_to(tmp_path / "a.pt")
    assert_same(checkpoint.read(tmp_path / "link.pt"), plain(TREE))
    (tmp_path / "dangling.pt").symlink_to(tmp_path / "nothing")
    for name in ("link.pt", "dangling.pt", "a.pt"):
        with pytest.raises(FileExistsError, match="is there already"):
            checkpoint.write(tmp_path / name, TREE)
    checkpoint.write(tmp_path / "link.pt", {"x": 1}, force=True)  # the link is replaced, not what it leads to
    assert_same(checkpoint.read(tmp_path / "a.pt"), plain(TREE))


def test_a_failure_leaves_nothing_and_the_old_file(tmp_path, monkeypatch):
    for name in ("a.pt", "a.safetensors"):
        checkpoint.write(tmp_path / name, {"x": np.ones(2)})

        def stop(number):
            raise OSError("disk full")

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", stop)
            with pytest.raises(OSError, match="disk full"):
                checkpoint.write(tmp_path / name, {"x": np.zeros(2)}, force=True)
        assert checkpoint.read(tmp_path / name)["x"].tolist() == [1, 1]
    for tree, says in (({"x": object()}, "object"), ({"x": np.ones(2, np.complex128)}, "complex128")):
        with pytest.raises(TypeError, match=says):
            checkpoint.write(tmp_path / "b.safetensors", tree)
    with pytest.raises(TypeError, match=r"function cannot be written for torch\.load"):
        checkpoint.write(tmp_path / "b.pt", {"x": lambda: 3})
    with pytest.raises(ValueError, match="suffix of no format here"):
        checkpoint.write(tmp_path / "b.npz", {})
    assert sorted(os.listdir(tmp_path)) == ["a.pt", "a.safetensors"]


WITHOUT = """
import sys
sys.modules["torch"] = None
import numpy as np
from torch_bridge import checkpoint
checkpoint.write("a.safetensors", {"w": np.ones(2)})
checkpoint.save("run", {"w": np.ones(2)})
assert checkpoint.load("a.safetensors").params["w"].tolist() == [1, 1]
try:
    checkpoint.load("a.pt")
except ImportError as error:
    assert "a .pt file needs torch" in str(error), error
for name in ("safetensors", "orbax"):
    assert name in sys.modules
"""


@pytest.mark.thorough
def test_only_torchs_files_need_torch(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
    subprocess.run([sys.executable, "-c", WITHOUT], check=True, cwd=tmp_path, env=environment, timeout=120)


@pytest.mark.thorough
def test_a_process_that_is_killed_leaves_whole_ones(tmp_path):
    subprocess.run([sys.executable, "-m", "tests.support.killed_checkpoints", tmp_path, "90", "1"], check=True)
