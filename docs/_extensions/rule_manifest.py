"""The table of what is exact, made from the manifest of rules."""

from funcsgd.manifest import PROGRAM_KINDS, RULES, Promise

COLUMNS = ("rule", "class", "programs", "not in", "CPU, default", "CPU, exact", "GPU, TPU")


def table() -> str:
    """Return one row a rule: its class, where that is lost, and the evidence on each platform."""
    rows = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    rows += [_row(name, promise) for name, promise in RULES.items()]
    kinds = ", ".join(PROGRAM_KINDS)
    return "\n".join([*rows, "", f"The {len(PROGRAM_KINDS)} kinds of programs: {kinds}.", ""])


def _row(name: str, promise: Promise) -> str:
    evidence = [promise.evidence[key].partition(":")[0] for key in ("cpu, marked", "cpu, exact", "gpu, tpu")]
    lost = ", ".join(_short(each) for each in promise.lost_in)
    programs = f"all {len(PROGRAM_KINDS)}" if promise.holds_in == PROGRAM_KINDS else ", ".join(promise.holds_in)
    cells = [f"[`{name}`](api/{_page(name)}.md)", promise.exactness, programs, lost, *evidence]
    return "| " + " | ".join(cells) + " |"


def _page(name: str) -> str:
    return f"funcsgd.{name}"


def _short(loss: str) -> str:
    return loss.partition(":")[0].partition(", with jaxlib")[0]
