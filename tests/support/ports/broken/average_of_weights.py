"""An average of the weights with another decay than torch's."""

import funcsgd
from funcsgd.averages import ema, with_average

CONFIG = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.01, "ema_decay": 0.99}


def port():
    rule = funcsgd.sgd(CONFIG["learning_rate"], CONFIG["momentum"], weight_decay=CONFIG["weight_decay"])
    return {"tx": with_average(rule, ema(CONFIG["ema_decay"]))}
