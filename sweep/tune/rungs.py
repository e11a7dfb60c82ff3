"""After which epochs does ASHA compare the trials of a search? Pure."""

REDUCTION = 3  # of the trials at a rung one in so many goes on
RUNGS_BELOW = 9  # the first rung is at this part of the epochs


def rungs_of(num_epochs: int) -> tuple[int, ...]:
    """Epochs after which ASHA compares: a ninth, a third, ... of all, three times as far each time.

    The last epoch is none of them: there a trial ends, and its published encoder is evaluated. Source of the algorithm:
    Li et al., A System for Massively Parallel Hyperparameter Tuning (2020).
    """
    epoch, rungs = max(1, num_epochs // RUNGS_BELOW), []
    while epoch < num_epochs:
        rungs.append(epoch)
        epoch *= REDUCTION
    return tuple(rungs)
