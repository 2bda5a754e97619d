"""What is predicted: each task's label, loss, probabilities and criterion, in one table."""

from mtp.tasks.table import TASKS, Criterion, Labels, Loss, LossOptions, Task, outputs, probabilities

__all__ = ["TASKS", "Criterion", "Labels", "Loss", "LossOptions", "Task", "outputs", "probabilities"]
