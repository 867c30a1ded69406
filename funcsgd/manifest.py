"""What each public rule promises, where the promise is known to fail, and the evidence for it."""

from collections.abc import Mapping
from typing import NamedTuple

PROGRAM_KINDS = (
    *("arguments", "product", "matmul", "transposed", "outer product", "broadcast", "select", "sum over an axis"),
    *("convolution", "scan", "vmap of scan", "several updates in one jit", "shard_map", "FSDP"),
)
SHORT_AXIS = (
    "leaves of two dimensions or more whose last is 16 or less, with jaxlib 0.12: executed, found by exactness()"
)

OTHER_ROOT = "a square root other than that of the torch that is compared: rounding"

EXECUTED = "executed: compared with torch in the tests"
BY_CONSTRUCTION = "by construction: operations that can be done in one way only; executed too"
LOWERED = "lowered only: compiled for the platform, never run there"
UNVERIFIED = "unverified"


class Promise(NamedTuple):
    """What is promised of a rule.

    Attributes:
        exactness: the class, as the rule's docstring has it: ``"bitwise"`` or ``"rounding"``.
        holds_in: kinds of programs in which the class holds with the marked arithmetic, the default, on an x86-64 CPU
            with FMA: of `PROGRAM_KINDS`, which say where the gradients come from or what drives the updates.
        lost_in: what is excepted there; with `exact_arithmetic` a square root alone.
        evidence: from ``"cpu, marked"``, ``"cpu, exact"`` and ``"gpu, tpu"`` to the evidence; on GPU and TPU
            it is ``"rounding"`` for every rule that is more than a choice.
        test: the test of its bits, ``"file::function"``; empty for the class rounding.
    """

    exactness: str
    holds_in: tuple[str, ...]
    lost_in: tuple[str, ...]
    evidence: Mapping[str, str]
    test: str


def _sums(test: str) -> Promise:
    """A rule with fused multiply-adds."""
    evidence = {"cpu, marked": EXECUTED, "cpu, exact": BY_CONSTRUCTION, "gpu, tpu": LOWERED}
    return Promise("bitwise", PROGRAM_KINDS, (SHORT_AXIS,), evidence, f"tests/funcsgd/{test}")


def _no_sums(test: str) -> Promise:
    """A rule of choices, of Python floats, or of single operations that are marked: nothing has to be fused."""
    evidence = {"cpu, marked": BY_CONSTRUCTION, "cpu, exact": BY_CONSTRUCTION, "gpu, tpu": LOWERED}
    return Promise("bitwise", PROGRAM_KINDS, (), evidence, f"tests/funcsgd/{test}")


def _norm(test: str) -> Promise:
    """A reduction in torch's order."""
    evidence = {"cpu, marked": EXECUTED, "cpu, exact": BY_CONSTRUCTION, "gpu, tpu": LOWERED}
    return Promise("bitwise", PROGRAM_KINDS, (), evidence, f"tests/funcsgd/{test}")


def _table(test: str = "test_schedules_tables.py::test_table_is_torch") -> Promise:
    """A schedule: its table holds Python floats; called in a program it is another formula, of the class rounding."""
    return _no_sums(test)._replace(holds_in=())


_ROUNDING = Promise("rounding", (), (), {"cpu, marked": EXECUTED, "cpu, exact": EXECUTED, "gpu, tpu": UNVERIFIED}, "")

RULES: Mapping[str, Promise] = {
    "adam": _sums("optimizers/test_adam.py::test_parity")._replace(lost_in=(SHORT_AXIS, OTHER_ROOT)),
    "adamw": _sums("optimizers/test_adam.py::test_parity")._replace(lost_in=(SHORT_AXIS, OTHER_ROOT)),
    "add_momentum": _sums("test_momentum.py::test_parity_of_the_buffer"),
    "add_weight_decay": _sums("test_weight_decay.py::test_parity"),
    "chained_scheduler": _table("test_schedules_tables.py::test_nests_are_torch"),
    "clip_grad_norm": _norm("test_clipping.py::test_equal_to_torch_over_a_thousand_steps"),
    "clip_grad_value": _no_sums("test_clipping.py::test_values_equal_torchs"),
    "constant_lr": _table(),
    "cosine_annealing_lr": _table(),
    "cosine_annealing_warm_restarts": _table(),
    "cyclic_lr": _table(),
    "directional_curvature": _ROUNDING,
    "directional_derivatives": _ROUNDING,
    "ema": _sums("test_averaging.py::test_equal_to_torch_over_a_thousand_updates"),
    "exact_arithmetic": _sums("bits/test_bits.py::test_every_kind_of_program")._replace(lost_in=()),
    "exponential_lr": _table(),
    "from_groups": _sums("test_parameter_groups.py::test_parity"),
    "freeze": _no_sums("test_frozen_parameters.py::test_a_parameter_that_freezes_and_thaws_is_torchs"),
    "gauss_newton_curvature": _ROUNDING,
    "gauss_newton_product": _ROUNDING,
    "get_total_norm": _norm("test_gradient_norm.py::test_order_follows_torchs_parameters"),
    "hutchinson_diagonal": _ROUNDING,
    "hvp": _ROUNDING,
    "inverse_time_lr": _table("test_schedules.py::test_inverse_time_is_the_lectures_lambda"),
    "lambda_lr": _table(),
    "linear_lr": _table(),
    "multi_step_lr": _table(),
    "multiplicative_lr": _table(),
    "observe": _no_sums("test_observation.py::test_observing_changes_no_bit"),
    "observe_quadratic_step": _no_sums("test_line_search.py::test_observation_changes_no_bit_and_sees_the_same"),
    "observing": _no_sums("test_observation.py::test_observing_changes_no_bit"),
    "one_cycle_lr": _table(),
    "per_epoch": _table("test_schedules.py::test_per_epoch_counts_steps"),
    "polynomial_lr": _table(),
    "reduce_lr_on_plateau": _no_sums("test_plateau.py::test_every_epoch_is_torchs"),
    "round_updates": _ROUNDING,
    "rounded": _no_sums("test_products.py::test_a_product_on_either_side_is_rounded_first"),
    "scale_by_diagonal": _ROUNDING,
    "scale_by_hutchinson": _ROUNDING,
    "scale_by_learning_rate": _sums("test_learning_rate.py::test_parity_of_numbers_and_arrays"),
    "scale_by_plateau": _sums("test_schedulers.py::test_a_run_on_plateaus_is_torchs"),
    "scale_by_quadratic_linesearch": _ROUNDING,
    "scale_by_schedulers": _sums("test_schedulers.py::test_every_double_is_torchs"),
    "sequential_lr": _table("test_schedules_tables.py::test_nests_are_torch"),
    "set_learning_rate": _no_sums("test_learning_rate.py::test_a_learning_rate_set_by_hand"),
    "sgd": _sums("bits/test_bits.py::test_every_kind_of_program"),
    "step_lr": _table(),
    "swa": _sums("test_averaging.py::test_equal_to_torch_over_a_thousand_updates"),
    "swalr": _table(),
    "sweep": _ROUNDING,
    "tabulate": _table("test_schedules.py::test_tabulate_is_torch_after_one_cast"),
    "train": _sums("test_training_run.py::test_same_bits_as_a_loop_by_hand"),
    "train_batches": _sums("test_training_pieces.py::test_every_form_gives_the_bits_of_train"),
    "update_bn": _ROUNDING,
    "with_average": _sums("test_averaged_optimizer.py::test_equal_to_torchs_script_over_a_thousand_steps"),
}
