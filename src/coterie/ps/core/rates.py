"""The learning rates' factor as a function of the step: warm-up, then decay."""

from __future__ import annotations

from coterie.contract import RateSchedule


def rate_factor(schedule: RateSchedule, step: int) -> float:
    """The factor of the learning rates in a step.

    Args:
        schedule: The contract's ``[training.schedule]``; its docstring has the formulas.
        step: Updates applied so far.
    """
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    if not schedule.decay_steps or step < schedule.decay_start:
        return 1.0
    progress = min(1.0, (step - schedule.decay_start) / schedule.decay_steps)
    left: float = (1.0 - progress) ** schedule.power
    return (1.0 - schedule.final) * left + schedule.final
