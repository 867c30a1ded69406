import numpy as np
import xxhash

from torch_bridge.trace.digest import digest


def test_is_xxh3_of_the_bytes():
    array = np.arange(7, dtype=np.float32)
    high, low = (int(word) for word in digest(array))
    assert (high << 64 | low) == xxhash.xxh3_128_intdigest(array.tobytes())


def test_sees_every_bit():
    zero = np.zeros(3, np.float32)
    assert not np.array_equal(digest(zero), digest(-zero))
    assert np.array_equal(digest(zero), digest(zero.copy()))


def test_reads_in_c_order_and_takes_scalars():
    array = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(digest(array), digest(np.asfortranarray(array)))
    assert digest(np.float64(1)).shape == (2,)
