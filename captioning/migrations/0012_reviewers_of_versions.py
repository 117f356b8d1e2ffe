from django.db import migrations
from django.db.models import F
from django.db.models.functions import Coalesce

_BATCH = 10_000


def tell_apart(apps, schema_editor):
    """Whoever stood as the author of a version made it; the words are their own only where they differ.

    Oldest first, so that words which passed through many versions go back to whoever wrote them.
    """
    captions = apps.get_model("captioning", "Caption").objects
    versions = captions.filter(supersedes__isnull=False, author__isnull=False, reviewed_by=None)
    after = 0
    while page := list(versions.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:_BATCH]):
        after = page[-1]
        captions.filter(pk__in=page).update(reviewed_by=F("author"))
        captions.filter(pk__in=page, source="model").update(author=None)
    kept = captions.filter(source="human", supersedes__source="human", reviewed_by__isnull=False)
    kept = kept.filter(text=F("supersedes__text"), result=F("supersedes__result"))
    after = 0
    while page := list(kept.filter(pk__gt=after).order_by("pk").values_list("pk", "supersedes")[:_BATCH]):
        after = page[-1][0]
        writers = dict(captions.filter(pk__in=[older for _, older in page]).values_list("pk", "author"))
        for version, older in page:
            writers[version] = writers[older]
            captions.filter(pk=version).update(author=writers[older])


def join_again(apps, schema_editor):
    captions = apps.get_model("captioning", "Caption").objects
    captions.filter(reviewed_by__isnull=False).update(author=Coalesce(F("reviewed_by"), F("author")))


class Migration(migrations.Migration):
    """Say of every version who made it, and of people's words who wrote them."""

    dependencies = [("captioning", "0011_caption_reviewers")]

    operations = [migrations.RunPython(tell_apart, join_again)]
