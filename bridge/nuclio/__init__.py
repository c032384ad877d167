"""CVAT's side of the service: registered models and profiles as Nuclio functions, in the form that CVAT reads."""
