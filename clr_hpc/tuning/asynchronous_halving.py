"""Which trial goes on: asynchronous successive halving (Li et al. 2018, arXiv:1810.05934, algorithm 2). Pure."""

from collections.abc import Collection, Mapping, Sequence


def promotion(
    losses: Sequence[Mapping[int, float]], promoted: Sequence[Collection[int]], reduction: int
) -> tuple[int, int] | None:
    """Return the trial that goes on from its rung, and that rung; None where none has earned it yet.

    Of the ``n`` trials that have reached a rung, the best ``n // reduction`` may go on. Higher rungs come first.
    Nothing waits for a rung to be full, so a trial that goes on early may turn out not to be among the best later.

    Args:
        losses: (rungs,) of each trial that reached the rung; without the last rung, which is the end of training.
        promoted: (rungs,) the trials that have gone on from it.
        reduction: of so many trials one goes on.
    """
    for rung in reversed(range(len(losses))):
        reached = losses[rung]
        best = sorted(reached, key=lambda trial: (reached[trial], trial))[: len(reached) // reduction]
        for trial in best:
            if trial not in promoted[rung]:
                return trial, rung
    return None


def last_promotion(
    losses: Sequence[Mapping[int, float]], promoted: Sequence[Collection[int]]
) -> tuple[int, int] | None:
    """Return which trial goes on where nobody has earned it and nothing else is left to do; None where none can.

    The best on the highest rung that any trial has reached: so a search of few trials also ends with one that is
    trained to its end. The article has no such end, since its searches go on for ever.
    """
    for rung in reversed(range(len(losses))):
        waiting = {trial: loss for trial, loss in losses[rung].items() if trial not in promoted[rung]}
        if waiting:
            return min(waiting, key=lambda trial: (waiting[trial], trial)), rung
    return None
