"""The Django-Q clusters that run slices, and the queue whose limits each of them counts against."""

from django.db import models


class Cluster(models.TextChoices):
    DEFAULT = "default"  # remote providers, imports, everything light
    VISION = "vision"  # local vision: one worker a core, because each holds its models in memory
    HEAVY = "heavy"  # minutes of native code


class QueueName(models.TextChoices):
    DEFAULT = "default"
    HEAVY = "heavy"


QUEUE_OF: dict[str, str] = {
    Cluster.DEFAULT: QueueName.DEFAULT,
    Cluster.VISION: QueueName.DEFAULT,
    Cluster.HEAVY: QueueName.HEAVY,
}
