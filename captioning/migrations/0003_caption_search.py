from django.db import migrations


class Migration(migrations.Migration):
    """Index the words of current captions, by the very expression that CaptionQuerySet.matching searches."""

    dependencies = [("captioning", "0002_provider_throttles_and_sources")]

    operations = [
        migrations.RunSQL(
            """
            CREATE INDEX caption_words ON captioning_caption
            USING gin (to_tsvector('english'::regconfig, COALESCE(text, ''))) WHERE is_current
            """,
            "DROP INDEX caption_words",
        ),
    ]
