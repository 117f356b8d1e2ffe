"""The operator's desk over data sets, perspectives, captions and providers: one file a noun."""

from . import captions, data, perspectives, providers

__all__ = ["captions", "data", "perspectives", "providers"]
