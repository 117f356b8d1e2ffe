"""The hook of a foreign tusd over HTTP."""

from __future__ import annotations

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orchestrator import bodies
from orchestrator.problems import NotFound

from . import hooks


class HookUploadSerializer(serializers.Serializer):
    ID = serializers.CharField(required=False, allow_blank=True, help_text="Empty while it is not created")
    Size = serializers.IntegerField(required=False, allow_null=True, min_value=0, help_text="Bytes")
    SizeIsDeferred = serializers.BooleanField(required=False)
    IsPartial = serializers.BooleanField(required=False)
    IsFinal = serializers.BooleanField(required=False)
    MetaData = serializers.DictField(child=serializers.CharField(allow_blank=True), required=False, allow_null=True)


class HookRequestSerializer(serializers.Serializer):
    Header = serializers.DictField(child=serializers.ListField(child=serializers.CharField(allow_blank=True)))


class HookEventSerializer(serializers.Serializer):
    Upload = HookUploadSerializer()
    HTTPRequest = HookRequestSerializer(help_text="What tusd's client sent")


class HookSerializer(serializers.Serializer):
    Type = serializers.CharField(help_text="pre-create, post-finish, …")
    Event = HookEventSerializer()


class HookAnswerSerializer(serializers.Serializer):
    RejectUpload = serializers.BooleanField(required=False)
    RejectTermination = serializers.BooleanField(required=False)
    ChangeFileInfo = serializers.DictField(required=False)
    HTTPResponse = serializers.DictField(required=False, help_text="What tusd shall tell its client")


class TusdHook(APIView):
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(request=HookSerializer, responses={200: HookAnswerSerializer}, tags=["Uploads"], auth=[])
    def post(self, request: Request) -> Response:
        """Answer a hook of tusd 2. It is there with TUS_SERVER=tusd and asks for TUSD_HOOK_SECRET."""
        if settings.TUS_SERVER != "tusd":
            raise NotFound("There is no tusd in front of this desk; TUS_SERVER=tusd says that there is.")
        hooks.require_secret(request.headers.get("Authorization", ""))
        hook = bodies.read(request, HookSerializer)
        return Response(hooks.answer(hook["Type"], hook["Event"]))
