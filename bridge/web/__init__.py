"""The service over HTTP: parse, call, render. What it can do stands in ``routes.ROUTES``, and nowhere else."""
