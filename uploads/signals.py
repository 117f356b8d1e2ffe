"""What uploads announce to the apps above them."""

from django.dispatch import Signal

# Sent once per upload, inside the transaction that marks it finished: `upload_finished.send(Upload, upload=upload)`.
# What a receiver writes is committed together with that mark or not at all; when it raises, the upload stays
# unfinished and is offered again (docs/explanation/uploads.md).
upload_finished = Signal()

# Sent inside the transaction that marks an upload as gone, because it expired or its client withdrew it; whoever waited
# for the file waits in vain. `upload_removed.send(Upload, upload=upload)`; a receiver that raises has it offered again.
upload_removed = Signal()
