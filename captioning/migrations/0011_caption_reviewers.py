import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """Tell who made a version of a caption apart from who wrote its words."""

    dependencies = [
        ("captioning", "0010_thrown_whole_or_in_part"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="caption",
            name="reviewed_by",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddIndex(
            model_name="caption",
            index=models.Index(fields=["reviewed_by", "-created_at"], name="caption_by_reviewer"),
        ),
        migrations.RemoveIndex(model_name="caption", name="caption_by_author"),
    ]
