from typing import Any

from django.core.management.base import BaseCommand

from captioning import lookalikes
from captioning.models import Image
from captioning.pictures import PictureRefused, inspect
from uploads import storage

_PAGE = 200


class Command(BaseCommand):
    help = "Look at the pictures that nobody has looked at yet and group those that look alike."

    def handle(self, *args: Any, **options: Any) -> None:
        n_seen = n_unreadable = after = 0
        unseen = Image.objects.filter(look_group=None).only("pk", "sha256", "stored_as").order_by("pk")
        while page := list(unseen.filter(pk__gt=after)[:_PAGE]):
            after = page[-1].pk
            for image in page:
                try:
                    with storage.open_whole(image.stored_as) as file:
                        look = inspect(file).look
                except (PictureRefused, storage.FileMissing) as fault:
                    self.stderr.write(f"{image.pk}: {fault.detail}")
                    n_unreadable += 1
                    continue
                lookalikes.place(image, look)
                n_seen += 1
        self.stdout.write(f"Looked at {n_seen} pictures; {n_unreadable} could not be read.")
