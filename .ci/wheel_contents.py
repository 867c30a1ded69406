"""Look into a wheel: what must be there is, and what must not be is not."""

import sys
import zipfile

NEEDED = (
    "funcsgd/py.typed",
    "torch_bridge/py.typed",
    "torch_bridge/demo/golden.trace",
    "torch_bridge/render/report.schema.json",
    "torch_bridge/render/page/report.html",
    "torch_bridge/render/page/report.css",
    "torch_bridge/render/page/elements.js",
    "torch_bridge/render/page/chart.js",
    "torch_bridge/render/page/heat.js",
    "torch_bridge/render/page/report.js",
    "licenses/LICENSE",
    "licenses/NOTICE",
)
FOREIGN = ("tests/", "examples/", "benchmarks/", ".ci/")
LIMIT = 4_000_000  # bytes

path = sys.argv[1]
names = zipfile.ZipFile(path).namelist()
problems = [f"lacks {name}" for name in NEEDED if not any(entry.endswith(name) for entry in names)]
problems += [f"holds {entry}" for entry in names if entry.startswith(FOREIGN) or entry.endswith(".pyc")]
size = sum(info.compress_size for info in zipfile.ZipFile(path).infolist())
if size > LIMIT:
    problems.append(f"is {size:,} bytes")
for problem in problems:
    print(f"the wheel {problem}")
print(f"{len(names)} files, {size:,} bytes")
sys.exit(bool(problems))
