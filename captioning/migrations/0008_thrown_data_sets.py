from django.db import migrations, models


class Migration(migrations.Migration):
    """Let a whole data set lie in the trash, under another name so that its own is free."""

    dependencies = [("captioning", "0007_dataset_trash")]

    operations = [
        migrations.AddField(
            model_name="dataset",
            name="thrown_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="dataset",
            name="thrown_name",
            field=models.TextField(blank=True, db_default="", default="", editable=False),
        ),
    ]
