"""What one step of a scheduler costs: ours against torch's of the same curve, on an optimizer with one group.

    python benchmarks/schedule.py

Both of a pair take turns and only CPU time counts, so other work on the machine hardly shows; the table gives
medians over the turns.
"""

import statistics
import time

import torch
from torch.optim import SGD, lr_scheduler

import clr_hpc
from parts.command import parser

TURNS, STEPS_A_TURN, STEPS_PER_EPOCH = 41, 2_000, 1_000
TOTAL_STEPS = (TURNS + 1) * STEPS_A_TURN
TOTAL_EPOCHS = TOTAL_STEPS / STEPS_PER_EPOCH
WAVE = {"lr_min": 0.001, "lr_max": 0.01, "half_cycle_epochs": 2}
ONE_CYCLE = {"lr_min": 0.0004, "lr_max": 0.01, "total_epochs": TOTAL_EPOCHS}
MOMENTA = {"momentum_min": 0.85, "momentum_max": 0.95}
WAVES = {"triangular": clr_hpc.Triangular, "triangular2": clr_hpc.Triangular2, "exp_range": clr_hpc.ExpRange}


def optimizer() -> SGD:
    """Return an optimizer with one group."""
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01, momentum=0.9)


def pairs() -> dict[str, tuple[object, lr_scheduler.LRScheduler]]:
    """Return policies of ours with torch's schedulers."""
    cosine = lr_scheduler.CosineAnnealingLR(optimizer(), TOTAL_STEPS)
    made = {
        "constant": (clr_hpc.Constant(lr_max=0.01), lr_scheduler.ConstantLR(optimizer(), factor=1.0)),
        "step": (
            clr_hpc.Step(lr_max=0.01, step_epochs=10),
            lr_scheduler.StepLR(optimizer(), 10 * STEPS_PER_EPOCH),
        ),
        "exponential": (clr_hpc.Exponential(lr_max=0.01), lr_scheduler.ExponentialLR(optimizer(), 0.9999)),
        "cosine": (clr_hpc.Cosine(lr_max=0.01, total_epochs=TOTAL_EPOCHS), cosine),
    }
    for title, momenta in (("", {}), (" + momentum", MOMENTA)):
        cycled, up = bool(momenta), WAVE["half_cycle_epochs"] * STEPS_PER_EPOCH
        for mode, policy in WAVES.items():
            theirs = lr_scheduler.CyclicLR(
                optimizer(), 0.001, 0.01, up, mode=mode, gamma=0.9999, cycle_momentum=cycled
            )
            made[mode + title] = policy(**WAVE, **momenta), theirs
        theirs = lr_scheduler.OneCycleLR(optimizer(), 0.01, total_steps=TOTAL_STEPS, cycle_momentum=cycled)
        made["one_cycle" + title] = clr_hpc.OneCycle(**ONE_CYCLE, **momenta), theirs
    return made


def nanoseconds_a_step(scheduler: lr_scheduler.LRScheduler) -> float:
    """Return the CPU time of a step, of one turn."""
    step = scheduler.step
    start = time.thread_time_ns()
    for _ in range(STEPS_A_TURN):
        step()
    return (time.thread_time_ns() - start) / STEPS_A_TURN


def main() -> None:
    """Measure and print."""
    parser(__doc__).parse_args()
    print(f"torch {torch.__version__}; {TURNS} turns of {STEPS_A_TURN} steps\n")
    print("| policy | against | ours, ns per step | theirs, ns per step | ours / theirs |\n|---|---|---|---|---|")
    for name, (policy, theirs) in pairs().items():
        ours = clr_hpc.PolicyScheduler(optimizer(), policy, STEPS_PER_EPOCH)
        theirs.optimizer.step()  # torch's schedulers warn when stepped before the optimizer
        turns = [(nanoseconds_a_step(ours), nanoseconds_a_step(theirs)) for _ in range(TURNS)]
        our_median, their_median = (statistics.median(times) for times in zip(*turns, strict=True))
        ratio = statistics.median(our / their for our, their in turns)
        print(f"| {name} | {type(theirs).__name__} | {our_median:.0f} | {their_median:.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
