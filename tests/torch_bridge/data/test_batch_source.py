from torch_bridge.data import BatchSource, DataLoader
from torch_bridge.random import default_generator, fork_rng, manual_seed


def test_epochs_by_number_are_epochs_in_turn():
    with fork_rng():
        loader = DataLoader(range(10), 4, shuffle=True)
        manual_seed(0)
        expected = [batch.tolist() for _ in range(3) for batch in loader]
        after = default_generator.get_state().tolist()
        manual_seed(0)
        source = BatchSource(loader, epochs=3)
        assert default_generator.get_state().tolist() == after
        assert len(source) == 9
        assert [source[k].tolist() for k in reversed(range(9))] == expected[::-1]
        assert [batch.tolist() for batch in source] == expected  # a sequence: IndexError ends it
