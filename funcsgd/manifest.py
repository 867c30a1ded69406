"""The exactness of each public rule, where it is known to fail, and the evidence for it."""

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
    """The exactness of a rule, which is named as it is reached from `funcsgd`.

    Attributes:
        exactness: the class, as the rule's docstring has it: ``"bitwise"`` or ``"rounding"``.
        holds_in: kinds of programs in which the class holds with the marked arithmetic, the default, on an x86-64 CPU
            with FMA: of `PROGRAM_KINDS`, named by the origin of the gradients or by what drives the updates.
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


def _table(test: str = "schedules/test_tables.py::test_table_is_torch") -> Promise:
    """A schedule: its table holds Python floats; called in a program it is another formula, of the class rounding."""
    return _no_sums(test)._replace(holds_in=())


_ROUNDING = Promise("rounding", (), (), {"cpu, marked": EXECUTED, "cpu, exact": EXECUTED, "gpu, tpu": UNVERIFIED}, "")

RULES: Mapping[str, Promise] = {
    "adam": _sums("optimizers/test_adam.py::test_parity")._replace(lost_in=(SHORT_AXIS, OTHER_ROOT)),
    "adamw": _sums("optimizers/test_adam.py::test_parity")._replace(lost_in=(SHORT_AXIS, OTHER_ROOT)),
    "add_momentum": _sums("stages/test_momentum.py::test_parity_of_the_buffer"),
    "add_weight_decay": _sums("stages/test_weight_decay.py::test_parity"),
    "clip_grad_norm": _norm("stages/test_clipping.py::test_equal_to_torch_over_a_thousand_steps"),
    "clip_grad_value": _no_sums("stages/test_clipping.py::test_values_equal_torchs"),
    "drop_gradients": _no_sums("stages/test_drop_gradients.py::test_a_parameter_that_freezes_and_thaws_is_torchs"),
    "exact_arithmetic": _sums("test_bits.py::test_every_kind_of_program")._replace(lost_in=()),
    "from_groups": _sums("optimizers/test_parameter_groups.py::test_parity"),
    "observe": _no_sums("test_observation.py::test_observing_changes_no_bit"),
    "observing": _no_sums("test_observation.py::test_observing_changes_no_bit"),
    "rmsprop": _sums("optimizers/test_rmsprop.py::test_parity")._replace(lost_in=(SHORT_AXIS, OTHER_ROOT)),
    "round_updates": _ROUNDING,
    "rounded": _no_sums("arithmetic/test_products.py::test_a_product_on_either_side_is_rounded_first"),
    "scale_by_learning_rate": _sums("stages/test_learning_rate.py::test_parity_of_numbers_and_arrays"),
    "scale_by_plateau": _sums("stages/test_scheduled_learning_rate.py::test_a_run_on_plateaus_is_torchs"),
    "scale_by_schedulers": _sums("stages/test_scheduled_learning_rate.py::test_every_double_is_torchs"),
    "set_learning_rate": _no_sums("stages/test_learning_rate.py::test_a_learning_rate_set_by_hand"),
    "sgd": _sums("test_bits.py::test_every_kind_of_program"),
    "sweep": _ROUNDING,
    "train": _sums("training/test_run.py::test_same_bits_as_a_loop_by_hand"),
    "averages.ema": _sums("averages/test_averaging.py::test_equal_to_torch_over_a_thousand_updates"),
    "averages.swa": _sums("averages/test_averaging.py::test_equal_to_torch_over_a_thousand_updates"),
    "averages.update_bn": _ROUNDING,
    "averages.with_average": _sums(
        "averages/test_averaged_optimizer.py::test_equal_to_torchs_script_over_a_thousand_steps"
    ),
    "curvature.directional_curvature": _ROUNDING,
    "curvature.directional_derivatives": _ROUNDING,
    "curvature.gauss_newton_curvature": _ROUNDING,
    "curvature.gauss_newton_product": _ROUNDING,
    "curvature.hutchinson_diagonal": _ROUNDING,
    "curvature.hvp": _ROUNDING,
    "curvature.observe_quadratic_step": _no_sums(
        "curvature/test_line_search.py::test_observation_changes_no_bit_and_measures_the_same"
    ),
    "curvature.scale_by_diagonal": _ROUNDING,
    "curvature.scale_by_hutchinson": _ROUNDING,
    "curvature.scale_by_quadratic_linesearch": _ROUNDING,
    "schedules.ChainedScheduler": _table("schedules/test_tables.py::test_nests_are_torch"),
    "schedules.ConstantLR": _table(),
    "schedules.CosineAnnealingLR": _table(),
    "schedules.CosineAnnealingWarmRestarts": _table(),
    "schedules.CyclicLR": _table(),
    "schedules.ExponentialLR": _table(),
    "schedules.InverseTimeLR": _table("schedules/test_schedules.py::test_inverse_time_is_the_lectures_lambda"),
    "schedules.LambdaLR": _table(),
    "schedules.LinearLR": _table(),
    "schedules.MultiStepLR": _table(),
    "schedules.MultiplicativeLR": _table(),
    "schedules.OneCycleLR": _table(),
    "schedules.per_epoch": _table("schedules/test_schedules.py::test_per_epoch_counts_steps"),
    "schedules.PolynomialLR": _table(),
    "schedules.ReduceLROnPlateau": _no_sums("schedules/test_plateau.py::test_every_epoch_is_torchs"),
    "schedules.SequentialLR": _table("schedules/test_tables.py::test_nests_are_torch"),
    "schedules.StepLR": _table(),
    "schedules.SWALR": _table(),
    "schedules.tabulate": _table("schedules/test_schedules.py::test_tabulate_is_torch_after_one_cast"),
    "stages.get_total_norm": _norm("stages/test_gradient_norm.py::test_order_follows_torchs_parameters"),
    "training.train_batches": _sums("training/test_pieces.py::test_every_form_gives_the_bits_of_train"),
}
