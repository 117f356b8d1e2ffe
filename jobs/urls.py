"""Routes of the queue."""

urlpatterns: list = []
