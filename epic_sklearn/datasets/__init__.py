"""Poisoned problems to try a defence on."""

from .poisoned_digits import DigitsNet, PoisonedDigits, make_poisoned_digits

__all__ = ["DigitsNet", "PoisonedDigits", "make_poisoned_digits"]
