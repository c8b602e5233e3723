"""What one step of a scheduler costs: ours against torch's of the same curve, on an optimizer with one group.

    python benchmarks/schedule.py

Both of a pair take turns and only CPU time counts, so other work on the machine hardly shows; the table gives
medians over the turns.
"""

import platform
import statistics
import time

import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    CyclicLR,
    ExponentialLR,
    LRScheduler,
    OneCycleLR,
    StepLR,
)

from clr_hpc.config import policy as spec
from clr_hpc.schedule.scheduler import PolicyScheduler
from parts.command import parser

TURNS = 41
STEPS_A_TURN = 2_000
STEPS_PER_EPOCH = 1_000
TOTAL_STEPS = (TURNS + 1) * STEPS_A_TURN
TOTAL_EPOCHS = TOTAL_STEPS / STEPS_PER_EPOCH
WAVE = {"lr_min": 0.001, "lr_max": 0.01, "half_cycle_epochs": 2}
ONE_CYCLE = {"lr_min": 0.0004, "lr_max": 0.01, "total_epochs": TOTAL_EPOCHS}
MOMENTA = {"momentum_min": 0.85, "momentum_max": 0.95}


def optimizer() -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01, momentum=0.9)


def cyclic(mode: str, cycle_momentum: bool) -> CyclicLR:
    up = WAVE["half_cycle_epochs"] * STEPS_PER_EPOCH
    return CyclicLR(optimizer(), 0.001, 0.01, up, mode=mode, gamma=0.9999, cycle_momentum=cycle_momentum)


def pairs() -> dict[str, tuple[spec.Policy, LRScheduler]]:
    return {
        "constant": (spec.Constant(lr_max=0.01), ConstantLR(optimizer(), factor=1.0)),
        "step": (spec.Step(lr_max=0.01, step_epochs=10), StepLR(optimizer(), 10 * STEPS_PER_EPOCH)),
        "exponential": (spec.Exponential(lr_max=0.01), ExponentialLR(optimizer(), 0.9999)),
        "cosine": (
            spec.Cosine(lr_max=0.01, total_epochs=TOTAL_EPOCHS),
            CosineAnnealingLR(optimizer(), TOTAL_STEPS),
        ),
        "triangular": (spec.Triangular(**WAVE), cyclic("triangular", False)),
        "triangular2": (spec.Triangular2(**WAVE), cyclic("triangular2", False)),
        "exp_range": (spec.ExpRange(**WAVE), cyclic("exp_range", False)),
        "one_cycle": (
            spec.OneCycle(**ONE_CYCLE),
            OneCycleLR(optimizer(), 0.01, total_steps=TOTAL_STEPS, cycle_momentum=False),
        ),
        "triangular + momentum": (spec.Triangular(**WAVE, **MOMENTA), cyclic("triangular", True)),
        "triangular2 + momentum": (spec.Triangular2(**WAVE, **MOMENTA), cyclic("triangular2", True)),
        "exp_range + momentum": (spec.ExpRange(**WAVE, **MOMENTA), cyclic("exp_range", True)),
        "one_cycle + momentum": (
            spec.OneCycle(**ONE_CYCLE, **MOMENTA),
            OneCycleLR(optimizer(), 0.01, total_steps=TOTAL_STEPS),
        ),
    }


def nanoseconds_a_step(scheduler: LRScheduler) -> float:
    step = scheduler.step
    start = time.thread_time_ns()
    for _ in range(STEPS_A_TURN):
        step()
    return (time.thread_time_ns() - start) / STEPS_A_TURN


def main() -> None:
    parser(__doc__).parse_args()
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}; {TURNS} turns of {STEPS_A_TURN} steps\n"
    )
    print("| policy | against | ours, ns a step | theirs, ns a step | ours / theirs |")
    print("|---|---|---|---|---|")
    for name, (policy, theirs) in pairs().items():
        ours = PolicyScheduler(optimizer(), policy, STEPS_PER_EPOCH)
        theirs.optimizer.step()  # torch's schedulers warn when stepped before the optimizer
        turns = [(nanoseconds_a_step(ours), nanoseconds_a_step(theirs)) for _ in range(TURNS)]
        our_median, their_median = (statistics.median(times) for times in zip(*turns, strict=True))
        ratio = statistics.median(our / their for our, their in turns)
        print(f"| {name} | {type(theirs).__name__} | {our_median:.0f} | {their_median:.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
