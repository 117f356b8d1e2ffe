from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """Index what the grid and the review ask for; apart from the column's filling, whose locks end first."""

    dependencies = [
        ("captioning", "0004_image_states"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddIndex(
            model_name="image",
            index=models.Index(fields=["dataset", "state", "id"], include=("n_captions",), name="image_by_state"),
        ),
        migrations.AddIndex(
            model_name="caption",
            index=models.Index(
                condition=models.Q(("is_current", True), ("review", "proposed")),
                fields=["image", "id"],
                name="caption_proposed",
            ),
        ),
        migrations.AddIndex(
            model_name="caption",
            index=models.Index(fields=["author", "-created_at"], name="caption_by_author"),
        ),
    ]
