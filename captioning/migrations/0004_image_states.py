from django.db import migrations, models

# Kept by the database, since captions come from workers, people and bulk statements alike. Once a statement and not once
# a row; the images' rows are locked in the order of their ids, so that two statements cannot wait for each other in a
# circle, and the captions are read under those locks, so that the last one to write sees them all.
_TRIGGER = """
CREATE FUNCTION captioning_keep_image_states() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM captioning_image
    WHERE id IN (SELECT image_id FROM touched) ORDER BY id FOR NO KEY UPDATE;
    UPDATE captioning_image image SET n_captions = found.n, state = found.state
    FROM (
        SELECT ids.image_id, count(caption.id) AS n,
               CASE WHEN count(caption.id) = 0 THEN 'none'
                    WHEN bool_or(caption.review = 'proposed') THEN 'proposed'
                    WHEN bool_or(caption.review = 'rejected') THEN 'rejected'
                    ELSE 'accepted' END AS state
        FROM (SELECT DISTINCT image_id FROM touched) ids
        LEFT JOIN captioning_caption caption ON caption.image_id = ids.image_id AND caption.is_current
        GROUP BY ids.image_id
    ) found
    WHERE image.id = found.image_id AND (image.n_captions, image.state) IS DISTINCT FROM (found.n, found.state);
    RETURN NULL;
END
$$;
CREATE TRIGGER captioning_caption_added AFTER INSERT ON captioning_caption
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION captioning_keep_image_states();
CREATE TRIGGER captioning_caption_changed AFTER UPDATE ON captioning_caption
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION captioning_keep_image_states();
CREATE TRIGGER captioning_caption_removed AFTER DELETE ON captioning_caption
    REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION captioning_keep_image_states();
"""

_FILL = """
UPDATE captioning_image image SET n_captions = found.n, state = found.state
FROM (
    SELECT image_id, count(*) AS n,
           CASE WHEN bool_or(review = 'proposed') THEN 'proposed'
                WHEN bool_or(review = 'rejected') THEN 'rejected'
                ELSE 'accepted' END AS state
    FROM captioning_caption WHERE is_current GROUP BY image_id
) found
WHERE image.id = found.image_id;
"""

_UNDO = """
DROP TRIGGER captioning_caption_added ON captioning_caption;
DROP TRIGGER captioning_caption_changed ON captioning_caption;
DROP TRIGGER captioning_caption_removed ON captioning_caption;
DROP FUNCTION captioning_keep_image_states;
"""


class Migration(migrations.Migration):
    """Keep with each image how far it is and how many captions it has: a grid of 100,000 cannot count them anew."""

    dependencies = [("captioning", "0003_caption_search")]

    operations = [
        migrations.AddField(
            model_name="image",
            name="n_captions",
            field=models.PositiveIntegerField(db_default=0, default=0, editable=False),
        ),
        migrations.AddField(
            model_name="image",
            name="state",
            field=models.TextField(
                choices=[
                    ("none", "None"),
                    ("proposed", "Proposed"),
                    ("rejected", "Rejected"),
                    ("accepted", "Accepted"),
                ],
                db_default="none",
                default="none",
                editable=False,
            ),
        ),
        migrations.RunSQL(_TRIGGER, _UNDO),
        migrations.RunSQL(_FILL, migrations.RunSQL.noop),
    ]
