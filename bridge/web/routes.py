"""Every route of the service. Dispatch, authorisation and the OpenAPI document are made from this table."""

from __future__ import annotations

from bridge.applying import ApplySpec
from bridge.domain import Scope
from bridge.job_spec import JobSpec
from bridge.web import annotation_answers as aa
from bridge.web import answers as a
from bridge.web import job_answers as ja
from bridge.web import profile_bodies as p
from bridge.web import requests as r
from bridge.web.handlers import (
    annotated,
    backends,
    connections,
    frames,
    jobs,
    matching,
    models,
    predictions,
    profiles,
    segments,
    statistics,
    system,
    tasks,
)
from bridge.web.paging import Paging
from bridge.web.route import AnyRoute, Media, Nothing, Route

OPEN, READ, ANNOTATE, ADMIN = Scope.OPEN, Scope.READ, Scope.ANNOTATE, Scope.ADMIN
HOST_ERRORS = (403, 404, 422, 429, 502, 503, 504)  # what a model and its host can answer

PICTURE = Media("image/*", "The image file, upright.")
RAW_IMAGE = Media("image/*", "The image file.")
RAW_ZIP = Media("application/zip", "A zip of images.")
RAW_BYTES = Media("application/octet-stream", "The file's bytes.")
EXPORT = Media("application/octet-stream", "The file, named by Content-Disposition.")
IMAGE_FORM = Media("multipart/form-data", "A form.", fields={"image": "The image file."})
FILES_FORM = Media(
    "multipart/form-data", "Images and zips, each a part with a filename.", fields={"files[]": "A file."}
)
FILE_FORM = Media("multipart/form-data", "A form.", fields={"file": "The annotation file."})

ROUTES: tuple[AnyRoute, ...] = (
    # Models
    Route("GET", "/v1/models", "listModels", READ, "Models", "List the registered models",
          models.list_models, Paging, Nothing, {200: a.ModelPage}),
    Route("GET", "/v1/catalogue", "listCatalogue", READ, "Models", "List ready models, to be added by name",
          models.list_catalogue, Nothing, Nothing, {200: a.CatalogueAnswer},
          description="References only: what a model is, its host says when it is added (POST /v1/models with its name "
          "as the reference)."),
    Route("POST", "/v1/models", "addModel", ADMIN, "Models", "Register a model by its URL",
          models.add_model, Nothing, r.AddModel, {201: a.ModelAnswer, 200: a.ModelAnswer},
          errors=(409, *HOST_ERRORS), idempotent=True,
          description="The same model and revision a second time is answered with 200 and changes nothing but its "
          "engine, where one is named. A key in the URL is stored as a connection, and never shown.",
          example={"reference": "https://huggingface.co/onnx-community/rfdetr_nano-ONNX"}),
    Route("POST", "/v1/models/resolve", "resolveModel", READ, "Models", "Say what a pasted URL is, and store nothing",
          models.resolve_model, Nothing, r.ResolveModel, {200: a.Card}, errors=HOST_ERRORS,
          description="Files that nothing else describes are not downloaded for it, but only when they are registered: "
          "files on the web, single ONNX files of the hub.",
          example={"reference": "PekingU/rtdetr_r18vd"}),
    Route("POST", "/v1/models/understand", "understandReference", READ, "Models",
          "Say what a pasted text names, and ask nobody",
          models.understand_reference, Nothing, r.UnderstandReference, {200: a.UnderstoodAnswer},
          description="Quick enough for every keystroke. It also says whether a key is needed, and is there already.",
          example={"reference": "PekingU/rtdetr_r18vd"}),
    Route("GET", "/v1/models/{model_id}/download", "getDownload", READ, "Models",
          "How far the download of a model's files is",
          models.get_download, Nothing, Nothing, {200: a.DownloadAnswer}, errors=(404,),
          description="As this server sees it. A download that a job has begun counts."),
    Route("POST", "/v1/models/{model_id}/download", "startDownload", ADMIN, "Models",
          "Download a model's files in the background",
          models.start_download, Nothing, Nothing, {202: a.DownloadAnswer}, errors=(404,),
          description="Changes nothing where they are here or on their way. A download that broke off goes on."),
    Route("GET", "/v1/models/{model_id}", "getModel", READ, "Models", "Show a model",
          models.get_model, Nothing, Nothing, {200: a.ModelAnswer}, errors=(404,),
          description="`loaded` says what it computes with (engine, device, precision) while it is in this server's "
          "memory."),
    Route("PATCH", "/v1/models/{model_id}", "changeModel", ADMIN, "Models", "Change a model's name or threshold",
          models.change_model, Nothing, r.ChangeModel, {200: a.ModelAnswer}, errors=(404, 409),
          example={"threshold": 0.4}),
    Route("DELETE", "/v1/models/{model_id}", "removeModel", ADMIN, "Models", "Forget a model",
          models.remove_model, Nothing, Nothing, {204: None}, errors=(404, 409),
          description="Refused while annotation jobs name it. Its downloaded files stay in the cache."),
    Route("POST", "/v1/models/{model_id}/predict", "predict", ANNOTATE, "Models", "Ask a model about one image",
          predictions.predict, r.PredictQuery, Nothing, {200: aa.PredictionAnswer}, errors=(413, 415, *HOST_ERRORS),
          uploads=(RAW_IMAGE, RAW_BYTES, IMAGE_FORM),
          description="Shapes come under the model's own labels, or those of the prompts, best first. "
          "Nothing is stored. `roi` and `prompts` are JSON in the query."),
    Route("POST", "/v1/models/{model_id}/segment", "segment", ANNOTATE, "Models", "Ask a model for one object",
          segments.segment, r.SegmentQuery, Nothing, {200: aa.SegmentAnswer}, errors=(413, 415, *HOST_ERRORS),
          uploads=(RAW_IMAGE, RAW_BYTES, IMAGE_FORM),
          description="Of a model for mask-generation, such as SAM: the object at points or in a box, one of them "
          "at least; both are JSON in the query. The image is looked at once: further clicks on it answer fast."),
    # Profiles
    Route("GET", "/v1/profiles", "listProfiles", READ, "Profiles", "List the profiles",
          profiles.list_profiles, Paging, Nothing, {200: p.ProfilePage}),
    Route("POST", "/v1/profiles", "addProfile", ADMIN, "Profiles", "Put a model under a task's own words",
          profiles.add_profile, Nothing, p.AddProfile, {201: p.ProfileAnswer}, errors=(404, 409), idempotent=True,
          description="Labels are matched as those of a job are; what is certain, chosen or accepted is pinned. "
          "In CVAT the profile stands as a model of its own whose labels are the task's.",
          example={"name": "street-traffic", "model_id": 1, "labels": [{"name": "car", "type": "rectangle"}]}),
    Route("GET", "/v1/profiles/{profile_id}", "getProfile", READ, "Profiles", "Show a profile",
          profiles.get_profile, Nothing, Nothing, {200: p.ProfileAnswer}, errors=(404,),
          description="A job over it takes its model_id, mapping_id or prompts, and threshold."),
    Route("DELETE", "/v1/profiles/{profile_id}", "removeProfile", ADMIN, "Profiles", "Forget a profile",
          profiles.remove_profile, Nothing, Nothing, {204: None}, errors=(404,), description="Its model stays."),
    Route("POST", "/v1/profiles/{profile_id}/predict", "predictProfile", ANNOTATE, "Profiles",
          "Ask a profile about one image",
          predictions.predict_profile, p.ProfilePredictQuery, Nothing, {200: aa.PredictionAnswer},
          errors=(413, 415, *HOST_ERRORS), uploads=(RAW_IMAGE, RAW_BYTES, IMAGE_FORM),
          description="As `predict` of its model, with shapes under the profile's labels and of their types."),
    # Connections
    Route("GET", "/v1/connections", "listConnections", ADMIN, "Connections", "List the accounts, without their secrets",
          connections.list_connections, Paging, Nothing, {200: a.ConnectionPage}),
    Route("POST", "/v1/connections", "addConnection", ADMIN, "Connections", "Store an account's secret",
          connections.add_connection, Nothing, r.AddConnection, {201: a.ConnectionAnswer},
          description="An earlier secret for the same kind and host is replaced.",
          example={"kind": "huggingface", "secret": "hf_your_token"}),
    Route("DELETE", "/v1/connections/{connection_id}", "removeConnection", ADMIN, "Connections",
          "Forget an account and its secret",
          connections.remove_connection, Nothing, Nothing, {204: None}, errors=(404,)),
    # Label matching
    Route("POST", "/v1/label-matches", "matchLabels", READ, "Label matching", "Suggest task labels for model labels",
          matching.match_labels, Nothing, r.MatchLabels, {200: a.LabelMatches}, errors=(404,),
          description="The best task label of each model label, in the model's order; the rest under alternatives. "
          "Only accepted ones are used by a job without being asked to. Labels are names, or objects with CVAT's type, "
          "attributes and sublabels, which are matched too.",
          example={"model_labels": ["sofa", "car"], "task_labels": ["couch", "vehicle"]}),
    Route("GET", "/v1/mappings", "listMappings", READ, "Label matching", "List accepted mappings",
          matching.list_mappings, r.MappingsQuery, Nothing, {200: a.MappingPage}),
    Route("POST", "/v1/mappings", "addMapping", ANNOTATE, "Label matching", "Accept a mapping",
          matching.add_mapping, Nothing, r.AddMapping, {201: a.MappingAnswer}, errors=(404, 409), idempotent=True,
          description="A new version for this model and task; the latest one itself where its pairs are the same. "
          "Later suggestions learn from it.",
          example={"model_id": 1, "task_id": 1, "pairs": {"sofa": "couch"}}),
    Route("GET", "/v1/mappings/{mapping_id}", "getMapping", READ, "Label matching", "Show a mapping",
          matching.get_mapping, Nothing, Nothing, {200: a.MappingAnswer}, errors=(404,)),
    Route("GET", "/v1/label-studio/backends", "listLabelStudioBackends", READ, "Label Studio",
          "List the projects that use our ML backends, with their labels",
          backends.list_backends, Nothing, Nothing, {200: a.LabelStudioBackends},
          description="The one that was asked last first. Suggestions are accepted by POST /v1/mappings with the "
          "project's task_id."),
    # Tasks
    Route("GET", "/v1/tasks", "listTasks", READ, "Tasks", "List the tasks",
          tasks.list_tasks, Paging, Nothing, {200: a.TaskPage}),
    Route("POST", "/v1/tasks", "createTask", ANNOTATE, "Tasks", "Create a task without frames",
          tasks.create_task, Nothing, r.CreateTask, {201: a.TaskAnswer}, errors=(409, *HOST_ERRORS), idempotent=True,
          description="With `remote` it is a task of CVAT or a project of Label Studio: frames and annotations stay "
          "there, and the one that is known is answered.",
          example={"name": "street", "labels": [{"name": "vehicle", "type": "rectangle"}, {"name": "person"}]}),
    Route("GET", "/v1/tasks/{task_id}", "getTask", READ, "Tasks", "Show a task",
          tasks.get_task, Nothing, Nothing, {200: a.TaskAnswer}, errors=(404,)),
    Route("DELETE", "/v1/tasks/{task_id}", "removeTask", ANNOTATE, "Tasks",
          "Remove a task with its annotations, jobs and uploaded files",
          tasks.remove_task, Nothing, Nothing, {204: None}, errors=(404, 409),
          description="Refused while a job of it is queued or running."),
    # Frames
    Route("GET", "/v1/tasks/{task_id}/frames", "listFrames", READ, "Frames", "List a task's frames",
          frames.list_frames, r.FramesQuery, Nothing, {200: aa.FramePage}, errors=(404,)),
    Route("POST", "/v1/tasks/{task_id}/frames", "addFrames", ANNOTATE, "Frames", "Upload images, zips and videos",
          frames.add_frames, r.UploadQuery, r.ServerPaths, {201: aa.FramesAdded}, errors=(404, 409, 413, 415),
          uploads=(FILES_FORM, RAW_IMAGE, RAW_ZIP, RAW_BYTES),
          description="Streamed to disk. Files that are no images are named in the answer, and the rest is added; "
          "where a frame's name is taken, nothing is. JSON names files that are on the server already.",
          example={"server_paths": ["/data/street"]}),
    Route("GET", "/v1/tasks/{task_id}/frames/{number}", "getFrame", READ, "Frames", "Show a frame with its shapes",
          frames.get_frame, Nothing, Nothing, {200: aa.AnnotatedFrame}, errors=(404,)),
    Route("GET", "/v1/tasks/{task_id}/frames/{number}/image", "getFrameImage", READ, "Frames", "A frame's picture",
          frames.get_image, r.ImageQuery, Nothing, {200: PICTURE, 304: None}, errors=(404, 422),
          description="Smaller with `width`. Its ETag is that of the file."),
    Route("GET", "/v1/tasks/{task_id}/frames/{number}/preview", "getFramePreview", READ, "Frames",
          "A frame's picture with its shapes drawn",
          frames.get_preview, Nothing, Nothing, {200: Media("image/jpeg", "A JPEG.")}, errors=(404, 422)),
    # Statistics
    Route("GET", "/v1/tasks/{task_id}/coverage", "getCoverage", READ, "Statistics",
          "How many frames of a task have shapes",
          statistics.get_coverage, Nothing, Nothing, {200: aa.CoverageAnswer}, errors=(404,)),
    Route("GET", "/v1/tasks/{task_id}/statistics", "getTaskStatistics", READ, "Statistics",
          "A task's shapes by label, type, source and score",
          statistics.get_task_statistics, Nothing, Nothing, {200: aa.StatisticsAnswer}, errors=(404,)),
    Route("GET", "/v1/tasks/{task_id}/cleanable", "getCleanable", READ, "Statistics",
          "What a job would clean",
          statistics.get_cleanable, r.CleanableQuery, Nothing, {200: aa.CleanableAnswer}, errors=(404,),
          description="For each choice of `clean`, the shapes that a job of this model takes away from these "
                      "frames; with `roi`, JSON in the query, one that looks there alone."),
    Route("GET", "/v1/jobs/{job_id}/statistics", "getJobStatistics", READ, "Statistics",
          "A job's shapes by label, type, source and score",
          statistics.get_job_statistics, Nothing, Nothing, {200: aa.StatisticsAnswer}, errors=(404,),
          description="Of those that are still there; its frames are those that the job has done."),
    Route("GET", "/v1/jobs/{job_id}/scores", "getJobScores", READ, "Statistics",
          "A job's raw scores by model label",
          statistics.get_job_scores, Nothing, Nothing, {200: aa.RawScoresAnswer}, errors=(404,),
          description="What another threshold would keep, before NMS. Made from the stored raw results."),
    Route("GET", "/v1/jobs/{job_id}/frames/{number}", "compareJobFrame", READ, "Statistics",
          "A frame before and after a job",
          statistics.compare_frame, Nothing, Nothing, {200: ja.ComparedFrame}, errors=(404,)),
    # Annotations
    Route("GET", "/v1/tasks/{task_id}/annotations", "listAnnotations", READ, "Annotations",
          "List frames with their shapes",
          annotated.list_annotations, Paging, Nothing, {200: aa.AnnotationPage}, errors=(404,)),
    Route("GET", "/v1/formats", "listFormats", READ, "Annotations", "List the annotation file formats",
          annotated.list_formats, Nothing, Nothing, {200: aa.FormatList}),
    Route("GET", "/v1/tasks/{task_id}/export", "exportTask", READ, "Annotations", "A task's annotations as a file",
          annotated.export, r.ExportQuery, Nothing, {200: EXPORT},
          errors=(404,)),
    Route("POST", "/v1/tasks/{task_id}/import", "importAnnotations", ANNOTATE, "Annotations",
          "Add the annotations of a file",
          annotated.import_annotations, r.ImportQuery, Nothing, {200: aa.ImportAnswer}, errors=(404, 413, 415),
          uploads=(RAW_BYTES, FILE_FORM),
          description="To the frames of the same names, all or nothing. What finds no place is named in the answer."),
    # Jobs
    Route("GET", "/v1/jobs", "listJobs", READ, "Jobs", "List annotation jobs",
          jobs.list_jobs, r.JobsQuery, Nothing, {200: ja.JobPage}),
    Route("POST", "/v1/jobs", "createJob", ANNOTATE, "Jobs", "Annotate a task with a model",
          jobs.create_job, Nothing, JobSpec, {201: ja.JobAnswer}, errors=(404, 409), idempotent=True,
          description="The job is queued, and its mapping, threshold and model revision are pinned.",
          example={"target": 1, "model_id": 1, "accept_suggestions": 0.8, "clean": "automatic"}),
    Route("POST", "/v1/jobs/preview", "previewJob", ANNOTATE, "Jobs", "Try a job on some of its frames",
          jobs.preview_job, r.PreviewQuery, JobSpec, {200: ja.PreviewAnswer}, errors=HOST_ERRORS,
          description="`frames` in the query says on how many. Nothing is stored.",
          example={"target": 1, "model_id": 1, "accept_suggestions": 0.8,
                   "tiling": {"width": 1024, "height": 1024}, "nms": {"iou": 0.6}}),
    Route("POST", "/v1/jobs/{job_id}/apply", "applyJob", ANNOTATE, "Jobs",
          "Make shapes anew from a job's stored raw results",
          jobs.apply_job, Nothing, ApplySpec, {201: ja.JobAnswer}, errors=(404, 409), idempotent=True,
          description="Another threshold, mapping or suppression as a new job of its own, which asks no model; what is "
          "not given is as it was.",
          example={"threshold": 0.6, "nms": {"iou": 0.5}}),
    Route("GET", "/v1/jobs/{job_id}", "getJob", READ, "Jobs", "Show a job",
          jobs.get_job, Nothing, Nothing, {200: ja.JobAnswer}, errors=(404,)),
    Route("POST", "/v1/jobs/{job_id}/cancel", "cancelJob", ANNOTATE, "Jobs", "Cancel a job",
          jobs.cancel_job, Nothing, Nothing, {200: ja.JobAnswer}, errors=(404, 409),
          description="Batches in flight are finished; what is done stays."),
    Route("POST", "/v1/jobs/{job_id}/resume", "resumeJob", ANNOTATE, "Jobs", "Go on with an ended job",
          jobs.resume_job, Nothing, Nothing, {200: ja.JobAnswer}, errors=(404, 409)),
    Route("POST", "/v1/jobs/{job_id}/retry", "retryJob", ANNOTATE, "Jobs", "Try failed frames again",
          jobs.retry_job, Nothing, Nothing, {200: ja.JobAnswer}, errors=(404, 409)),
    Route("POST", "/v1/jobs/{job_id}/undo", "undoJob", ANNOTATE, "Jobs",
          "Take away what a job made, and bring back what it replaced",
          jobs.undo_job, Nothing, Nothing, {200: ja.UndoneAnswer}, errors=(404, 409)),
    Route("GET", "/v1/jobs/{job_id}/events", "jobEvents", READ, "Jobs", "Follow a job's progress",
          jobs.job_events, Nothing, Nothing,
          {200: Media("text/event-stream", "Server-sent events `state` and `progress`.", binary=False), 204: None},
          errors=(404,),
          description="Ends when the job ends. Last-Event-ID goes on where a stream broke off; 204 where the end was "
          "already seen."),
    Route("GET", "/v1/jobs/{job_id}/frames", "listJobFrames", READ, "Jobs", "List a job's ledger: each frame's state",
          jobs.list_ledger, r.LedgerQuery, Nothing, {200: ja.LedgerPage}, errors=(404,)),
    # System
    Route("GET", "/healthz", "healthz", OPEN, "System", "Whether the process lives",
          system.healthz, Nothing, Nothing, {200: a.Health}),
    Route("GET", "/readyz", "readyz", OPEN, "System", "Whether the database answers and jobs are claimed",
          system.readyz, Nothing, Nothing, {200: a.Readiness}),
    Route("GET", "/metrics", "metrics", READ, "System", "Metrics for Prometheus",
          system.metrics, Nothing, Nothing, {200: Media("text/plain", "Prometheus' text format.", binary=False)}),
    Route("GET", "/v1/openapi.json", "openapi", READ, "System", "This description",
          system.openapi, Nothing, Nothing, {200: Media("application/json", "OpenAPI 3.1.", binary=False)}),
    Route("GET", "/v1/docs", "docs", READ, "System", "This description, to read",
          system.docs, Nothing, Nothing, {200: Media("text/html", "A page.", binary=False)}),
)  # fmt: skip
