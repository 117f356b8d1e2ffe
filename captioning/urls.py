"""Routes of captioning."""

from django.urls import path

from .api import batch, captions, datasets, images, links, perspectives, providers

urlpatterns = [
    path("api/perspectives/batch/create", batch.Create.as_view()),
    path("api/perspectives/batch/analyze-images", batch.AnalyzeImages.as_view()),
    path("api/perspectives/caption-from-path", batch.CaptionFromPath.as_view()),
    path("api/perspectives/modules", perspectives.Modules.as_view()),
    path("api/perspectives", perspectives.Perspectives.as_view()),
    path("api/perspectives/<str:name>", perspectives.PerspectiveDetail.as_view()),
    path("api/perspectives/<str:name>/versions", perspectives.PerspectiveVersions.as_view()),
    *datasets.urlpatterns,
    *images.urlpatterns,
    path("api/images/link/<str:token>", links.LinkedImage.as_view(), name="linked-image"),
    path("api/captions", captions.Captions.as_view()),
    path("api/captions/bulk", captions.CaptionsBulk.as_view()),
    path("api/captions/<int:caption_id>", captions.CaptionDetail.as_view()),
    path("api/captions/<int:caption_id>/history", captions.CaptionHistory.as_view()),
    path("api/providers", providers.Providers.as_view()),
    path("api/providers/<int:provider_id>", providers.ProviderDetail.as_view()),
    path("api/providers/<int:provider_id>/test", providers.ProviderTest.as_view()),
]
