"""The benchmark of faults: ports with planted faults, ports rebuilt from public reports, and clean ones.

``python -m benchmarks.faults`` prints how many are detected, located and named, beside what people use today.
"""
