import django.contrib.postgres.fields
import django.contrib.postgres.indexes
from django.db import migrations, models


class Migration(migrations.Migration):
    """Keep how an image looks and which others look like it; `manage.py find_lookalikes` fills in the older ones."""

    dependencies = [("captioning", "0005_image_state_indexes")]

    operations = [
        migrations.AddField(
            model_name="image",
            name="look",
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="image",
            name="look_bands",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.IntegerField(), db_default=[], default=list, editable=False, size=None
            ),
        ),
        migrations.AddField(
            model_name="image",
            name="look_group",
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="image",
            index=models.Index(fields=["look_group"], name="image_by_look_group"),
        ),
        migrations.AddIndex(
            model_name="image",
            index=django.contrib.postgres.indexes.GinIndex(fields=["look_bands"], name="image_by_look_bands"),
        ),
    ]
