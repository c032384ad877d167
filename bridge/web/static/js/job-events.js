// A job's progress as server-sent events, through restarts of the server: the stream is opened again until the job ends.
import { get } from "./api.js";

const ENDED = ["succeeded", "failed", "cancelled"];
const AGAIN_MS = 1500;

// onProgress is told each event's data; onConnection whether the stream stands. Answers a function that stops it.
export function watch(jobId, { onProgress, onConnection = () => {} }) {
  let source = null;
  let timer = 0;
  let stopped = false;

  const stop = () => {
    stopped = true;
    clearTimeout(timer);
    source?.close();
  };
  const open = () => {
    source = new EventSource(`/v1/jobs/${jobId}/events`);
    source.onopen = () => onConnection(true);
    const tell = (event) => {
      const data = JSON.parse(event.data);
      if (ENDED.includes(data.state)) stop();
      onProgress(data);
    };
    source.addEventListener("state", tell);
    source.addEventListener("progress", tell);
    source.addEventListener("error", () => {
      if (stopped) return;
      onConnection(false);
      // A browser comes back by itself after a broken connection, and gives up after an answer that is no stream.
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, AGAIN_MS);
    });
  };
  open();
  addEventListener("pagehide", stop);
  return stop;
}

// The job as it is when it has ended.
export async function follow(jobId) {
  await new Promise((resolve) => watch(jobId, { onProgress: (data) => ENDED.includes(data.state) && resolve() }));
  return get(`/v1/jobs/${jobId}`);
}
