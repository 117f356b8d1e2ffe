"""The queue over HTTP: /api/perspectives/batch/…"""
