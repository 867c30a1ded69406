"""The demo's ports with a fault each, as the command line takes a port: ``demo_ports:sum_for_mean``."""

from torch_bridge.demo import FAULTS, golden


def _function(fault):
    def port():
        x, y = golden.digits(golden.load())
        made = fault.port
        return {"tx": made.rule(), "loss_fn": made.loss_fn, "data": (x, y), "order": made.order()}

    return port


globals().update({name.replace("-", "_"): _function(fault) for name, fault in FAULTS.items()})
