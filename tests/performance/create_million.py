"""Create one job of a million items through the service layer and print the seconds."""

import time

import django

if __name__ == "__main__":
    django.setup()
    from jobs.creation import JobDraft, create
    from jobs.pipelines import NewItem

    items = (
        NewItem(f"folder/{n}.jpg", "graph_caption", {"image": n, "perspective_version": 7}) for n in range(1_000_000)
    )
    began = time.monotonic()
    create(JobDraft(type="MULTI_PERSPECTIVE", pipeline="silent", items=items), by=None)
    print(time.monotonic() - began)
