"""The main job through handlers alone."""

from __future__ import annotations

import json

from tests.unit.bridge.web.conftest import Api


async def test_a_task_is_annotated_exported_and_undone(api: Api) -> None:
    model = await api.model()
    task = await api.task(pictures=5)
    job = await api.job(task["id"], model["id"])
    assert job["state"] == "queued"
    ended = await api.ended(job["id"])
    assert ended["state"] == "succeeded", ended
    assert ended["frames_done"] == 5
    assert ended["shapes_created"] > 0
    after = await api.call("GET", f"/v1/tasks/{task['id']}")
    assert after["shape_count"] == ended["shapes_created"]
    exported = json.loads(await api.call("GET", f"/v1/tasks/{task['id']}/export?format=coco"))
    assert len(exported["annotations"]) == ended["shapes_created"]
    undone = await api.call("POST", f"/v1/jobs/{job['id']}/undo")
    assert undone == {"removed": ended["shapes_created"], "restored": 0, "kept": 0}
    assert (await api.call("GET", f"/v1/tasks/{task['id']}"))["shape_count"] == 0
