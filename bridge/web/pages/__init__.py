"""The web page: server-rendered HTML under ``/``, with small ES modules that call the REST API."""
