// What was recorded: a list by day, and a player with the events of the recording.

import { ask, withQuery } from "./api.js";
import { button, element, fill, refill } from "./dom.js";
import { choice } from "./events.js";
import { clockTime, dayOf, duration, fileSize } from "./format.js";
import { complain, note } from "./notice.js";

const POLL_SECONDS = 5;
const MOST_MARKS = 200; // events beside the player

export function recordingsView({ status, session, go }, id, query) {
  const camera = query.get("camera");
  const player = element("div", {});
  const list = element("div", { class: "recordings" });
  const cameraChoice = choice("Camera", Object.keys(status.cameras), camera, (value) =>
    go(withQuery("#/recordings", { camera: value })),
  );
  const root = element(
    "div",
    { class: "view" },
    element("header", { class: "headline" }, element("h1", {}, "Recordings"), cameraChoice.root),
    element(
      "div",
      { class: "columns" },
      element("div", { class: "main-column" }, player),
      element("div", { class: "side-column" }, list),
    ),
  );
  root.classList.toggle("playing", id !== null);
  let recordings = null;
  const leaving = new AbortController();

  async function load() {
    try {
      const found = await ask(withQuery("/api/recordings", { camera }), { signal: leaving.signal });
      if (JSON.stringify(found) === JSON.stringify(recordings)) return;
      const isFirst = recordings === null;
      recordings = found;
      showList();
      if (isFirst) play();
    } catch (error) {
      complain(error);
    }
  }

  function showList() {
    if (!recordings.length) {
      fill(
        list,
        element(
          "p",
          { class: "faint" },
          "There is no recording yet: start one beside a camera's picture.",
        ),
      );
      return;
    }
    const days = Map.groupBy(recordings, (one) => dayOf(one.started));
    const rows = [...days].map(([day, ofDay]) => [
      element("h2", { class: "faint" }, day),
      element("ul", {}, ...ofDay.map((one) => recordingRow(one, one.id === id, session, remove))),
    ]);
    refill(list, ...rows.flat());
  }

  function play() {
    const recording = recordings.find((one) => one.id === id);
    if (recording) fill(player, playerOf(recording, Number(query.get("at") ?? 0), leaving.signal));
    else
      fill(
        player,
        element(
          "p",
          { class: "faint hint" },
          id ? "This recording is not there any more." : "Choose a recording to see it.",
        ),
      );
  }

  async function remove(recording) {
    if (!confirm(`Delete ${recording.file} for good?`)) return;
    try {
      await ask(`/api/recordings/${encodeURIComponent(recording.id)}`, { method: "DELETE" });
      note(`${recording.file} is deleted.`);
      if (recording.id === id) go("#/recordings");
      else load();
    } catch (error) {
      complain(error);
    }
  }

  const timer = setInterval(() => document.hidden || load(), POLL_SECONDS * 1000);
  load();
  return {
    root,
    title: "Recordings",
    keys: id === null ? {} : { Escape: () => go("#/recordings") },
    close() {
      clearInterval(timer);
      leaving.abort();
      const video = player.querySelector("video");
      if (video) {
        video.removeAttribute("src"); // or the browser goes on loading
        video.load();
      }
    },
  };
}

function recordingRow(recording, isCurrent, session, remove) {
  const { id, file, url } = recording;
  const mayDelete = session.role === "operator" && !recording.is_growing;
  const size = recording.is_growing ? "being written" : fileSize(recording.bytes);
  const link = element(
    "a",
    {
      class: "recording",
      href: `#/recordings/${encodeURIComponent(id)}`,
      "aria-current": isCurrent ? "true" : null,
    },
    element("strong", {}, clockTime(recording.started), " ", recording.camera),
    element("span", { class: "faint" }, `${duration(recording.seconds)} · ${size} · ${file}`),
  );
  return element(
    "li",
    { class: recording.is_growing ? "growing" : "" },
    link,
    element(
      "a",
      { class: "button quiet", href: url, download: file, "aria-label": `Download ${file}` },
      "Download",
    ),
    mayDelete &&
      button("Delete", {
        class: "quiet",
        onclick: () => remove(recording),
        "aria-label": `Delete ${file}`,
      }),
  );
}

function playerOf(recording, at, signal) {
  const marks = element("ol", { class: "marks" });
  const caption = `${recording.camera}, ${dayOf(recording.started)} ${clockTime(recording.started)}`;
  if (!/\.mp4$/i.test(recording.file)) {
    return element(
      "p",
      { class: "hint" },
      `${caption}. Browsers do not play this kind of file: `,
      element("a", { href: recording.url, download: recording.file }, "download it"),
      ".",
    );
  }
  const video = element("video", {
    controls: true,
    autoplay: true,
    muted: true,
    playsInline: true,
    preload: "auto",
  });
  video.setAttribute("aria-label", `Recording of ${caption}`);
  const problem = element("p", { class: "problem", role: "alert" });
  video.addEventListener("loadedmetadata", () => seek(at), { once: true });
  video.addEventListener("error", () => {
    if (video.hasAttribute("src"))
      fill(problem, "This recording cannot be played here: download it to see it.");
  });
  video.src = recording.url;

  function seek(seconds) {
    video.currentTime = Math.min(seconds, video.duration || seconds);
  }

  findMarks(recording, signal)
    .then((events) => fill(marks, ...events.map((event) => mark(event, seek))))
    .catch(complain);
  return element(
    "figure",
    { class: "player" },
    video,
    problem,
    element("figcaption", {}, caption),
    marks,
  );
}

async function findMarks({ id, camera }, signal) {
  const path = withQuery("/api/events", { camera, limit: MOST_MARKS });
  const events = await ask(path, { signal });
  const here = events.filter((event) => event.recording?.id === id);
  return here.sort((one, other) => one.recording.at_seconds - other.recording.at_seconds);
}

function mark(event, seek) {
  const at = event.recording.at_seconds;
  return element(
    "li",
    {},
    button(`${duration(at)} ${event.text}`, { class: "quiet", onclick: () => seek(at) }),
  );
}
