"""Tasks of a self-hosted CVAT (checked against 2.15): its frames by chunks, its annotations job by job."""
