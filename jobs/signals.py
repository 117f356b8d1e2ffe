"""What the queue announces to the apps above it."""

from django.dispatch import Signal

# A job became final: `job_closed.send_robust(Job, job=job)`, after the commit, in the process that closed it. It comes
# once for each closing, or not at all where that process dies: what must not be missed is looked for again elsewhere.
job_closed = Signal()
