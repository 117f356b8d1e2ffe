from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("captioning", "0015_lookalikes_in_an_index"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="caption",
            index=models.Index(
                condition=models.Q(("is_current", True)), fields=["perspective", "image"], name="caption_by_lack"
            ),
        ),
    ]
