"""System checks: combinations of settings that cannot work."""

import copy

import pytest
from django.conf import settings as django_settings
from django.core.checks import run_checks

from orchestrator import checks


def ids(*found) -> set[str]:
    return {message.id for message in found}


def test_the_settings_as_they_are_pass():
    assert [message for message in run_checks() if str(message.id).startswith("desk.")] == []


@pytest.mark.parametrize(
    ("access", "is_loopback", "is_allowed", "expected"),
    [
        ("open", False, False, {"desk.E001"}),
        ("open", False, True, set()),
        ("open", True, False, set()),
        ("token", False, False, set()),
    ],
)
def test_open_access_beyond_this_machine_must_be_said(settings, access, is_loopback, is_allowed, expected):
    settings.API_ACCESS, settings.BOUND_TO_LOOPBACK, settings.ALLOW_OPEN = access, is_loopback, is_allowed

    assert ids(*checks.open_access_is_local(None)) == expected


@pytest.mark.parametrize(("key", "value", "expected"), [("retry", 600, "desk.E002"), ("guard_cycle", 0.7, "desk.E003")])
@pytest.mark.parametrize("where", ["default", "heavy"])
def test_every_cluster_is_looked_at(settings, key, value, expected, where):
    cluster = copy.deepcopy(django_settings.Q_CLUSTER)
    (cluster if where == "default" else cluster["ALT_CLUSTERS"]["heavy"])[key] = value
    settings.Q_CLUSTER = cluster

    assert expected in ids(*checks.queue_retries_after_its_timeout(None))


@pytest.mark.parametrize("key", ["short", "django-insecure-" + "x" * 50, "change-me-" + "x" * 50])
def test_production_refuses_a_published_key(settings, key):
    settings.PRODUCTION, settings.SECRET_KEY = True, key

    found = checks.production_has_its_own_secrets(None)

    assert any("SECRET_KEY" in message.msg for message in found)


def test_production_refuses_the_stores_published_password(settings):
    settings.PRODUCTION, settings.SECRET_KEY, settings.MINIO_ENDPOINT = True, "k" * 50, "http://store"
    settings.STORAGES = {**django_settings.STORAGES, "default": {"OPTIONS": {"secret_key": "minioadmin"}}}

    assert "MINIO_SECRET_KEY" in " ".join(message.msg for message in checks.production_has_its_own_secrets(None))


def test_development_may_have_any_key(settings):
    settings.PRODUCTION, settings.SECRET_KEY = False, "short"

    assert checks.production_has_its_own_secrets(None) == []


def test_a_channel_layer_in_memory_is_refused(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

    assert ids(*checks.channel_layer_crosses_processes(None)) == {"desk.E005"}


def test_durations_that_defeat_each_other_are_named(settings):
    settings.LEASE_SECONDS = settings.SLICE_SECONDS
    settings.CANARY_STALE_SECONDS = settings.CANARY_SECONDS

    assert ids(*checks.leases_outlive_slices(None)) == {"desk.W006", "desk.E007"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", set()),
        ("https://broker.example/events", set()),
        ("http://127.0.0.1:9000", set()),
        ("amqp://broker.example", {"desk.E008"}),
        ("broker.example/events", {"desk.E008"}),
        ("https://", {"desk.E008"}),
    ],
)
def test_a_broker_that_events_cannot_be_posted_to_is_refused(settings, url, expected):
    settings.MESSAGE_BROKER_URL = url

    assert ids(*checks.broker_speaks_http(None)) == expected
