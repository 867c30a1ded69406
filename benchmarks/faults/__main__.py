"""``python -m benchmarks.faults [--every N] [--recipe R] [--only NAME] [--reproduce] [--cache DIRECTORY]``."""

import argparse
import os
import sys
import tempfile

# Programs are compiled for each port, and run a few times: compile them quickly, before JAX is imported.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax

from benchmarks.faults.ports import ports
from benchmarks.faults.row import Row, measured
from benchmarks.faults.table import lines, shortfalls


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description="The benchmark of faults.")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every n-th port of each kind")
    parser.add_argument("--recipe", default="", help="those of recipes with this in their names; 'scenarios'")
    parser.add_argument("--only", default="", metavar="NAME", help="those with this in their titles")
    parser.add_argument("--reproduce", action="store_true", help="run the script of each first difference as well")
    parser.add_argument("--cache", metavar="DIRECTORY", help="keep compiled programs here")
    return parser.parse_args()


def _keep_programs(directory: str) -> None:
    jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _worded(row: Row) -> str:
    marks = {"detected": row.detected, "located": row.located, "named": row.named, "agreed": row.agreed}
    missing = [mark for mark, is_so in marks.items() if not is_so] if row.port.faults else ["accused"] * row.detected
    missing += ["script"] * (row.reproduced is False)
    return f"{row.port.title}: {row.found}, {row.seconds:.1f} s" + (f"  MISS {missing}" if row.missed else "")


def main() -> int:
    """Print the table; return 1 if a promise is not kept."""
    options = _options()
    with tempfile.TemporaryDirectory() as directory:
        _keep_programs(options.cache or directory)
        rows = []
        for port in ports(options.recipe, options.only, options.every):
            rows.append(measured(port, options.reproduce))
            print(_worded(rows[-1]), file=sys.stderr, flush=True)
    print("\n".join(lines(rows)))
    for row in rows:
        if row.missed:
            print(_worded(row))
    missed = list(shortfalls(rows))
    print("\n".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
