// What happened, newest first; each with its picture and the way to the recording of it.

import { ask, withQuery } from "./api.js";
import { button, element, fill, refill } from "./dom.js";
import { clockTime, dayOf } from "./format.js";
import { complain } from "./notice.js";

const POLL_SECONDS = 4;
const PAGE = 50;

/** A list that follows what happens. `label` and `camera` may be null for all of them. */
export function eventFeed({ camera = null, label = null, limit = PAGE, onEvents = () => {} }) {
  const list = element("ol", { class: "events" });
  const leaving = new AbortController();
  let events = [];
  let hasOlder = true;

  async function poll() {
    const path = withQuery("/api/events", { camera, label, limit });
    try {
      const newest = await ask(path, { signal: leaving.signal });
      const oldest = newest.at(-1)?.id ?? 0;
      take([...newest, ...events.filter((event) => event.id < oldest)]);
    } catch (error) {
      if (!events.length) complain(error);
    }
  }

  /** Older ones than there are. */
  async function more() {
    const path = withQuery("/api/events", {
      camera,
      label,
      limit,
      before: events.at(-1)?.id ?? null,
    });
    const older = await ask(path, { signal: leaving.signal });
    hasOlder = older.length === limit;
    take([...events, ...older]);
  }

  function take(all) {
    const isSame = (event, i) => JSON.stringify(event) === JSON.stringify(events[i]);
    if (list.childElementCount && all.length === events.length && all.every(isSame)) return;
    events = limit < PAGE ? all.slice(0, limit) : all;
    refill(list, ...events.map(eventRow));
    if (!events.length) fill(list, element("li", { class: "faint" }, "Nothing has happened yet."));
    onEvents(events, hasOlder && events.length >= limit);
  }

  const timer = setInterval(() => document.hidden || poll(), POLL_SECONDS * 1000);
  poll();
  return {
    root: list,
    more,
    close() {
      clearInterval(timer);
      leaving.abort();
    },
  };
}

function eventRow(event) {
  const picture = event.thumbnail
    ? element("img", { src: event.thumbnail, alt: "", loading: "lazy" })
    : element("span", { class: "no-picture" });
  const words = element(
    "span",
    { class: "words" },
    element("span", { class: "text" }, event.text),
    element(
      "span",
      { class: "faint" },
      element("time", { dateTime: event.time, title: dayOf(event.time) }, clockTime(event.time)),
      ` · ${event.camera}`,
      event.score === null ? null : ` · ${event.score.toFixed(2)}`,
    ),
  );
  const href = recordingOf(event);
  if (href === null) return element("li", {}, element("div", { class: "event" }, picture, words));
  const play = element("span", { class: "faint" }, "▶");
  play.setAttribute("aria-label", "see the recording");
  return element("li", {}, element("a", { class: "event", href }, picture, words, play));
}

/** Where to see it: in a clip of its own, else where the recording shows it. */
function recordingOf({ clip, recording }) {
  if (clip !== null) return `#/recordings/${encodeURIComponent(clip)}`;
  if (recording === null) return null;
  return `#/recordings/${encodeURIComponent(recording.id)}?at=${recording.at_seconds}`;
}

/** The page of all events. */
export function eventsView({ status, go }, query) {
  const camera = query.get("camera");
  const label = query.get("label");
  const list = element("div", {});
  const labels = new Set(label ? [label] : []);
  const cameraChoice = choice("Camera", Object.keys(status.cameras), camera, (value) =>
    to(value, label),
  );
  const labelChoice = choice("Class", [...labels], label, (value) => to(camera, value));
  const older = button("Load older ones", { class: "quiet", onclick: loadOlder });
  const feed = eventFeed({ camera, label, onEvents });
  const root = element(
    "div",
    { class: "view narrow" },
    element(
      "header",
      { class: "headline" },
      element("h1", {}, "Events"),
      cameraChoice.root,
      labelChoice.root,
    ),
    list,
    older,
  );
  list.append(feed.root);

  function to(newCamera, newLabel) {
    go(withQuery("#/events", { camera: newCamera || null, label: newLabel || null }));
  }

  function onEvents(events, hasOlder) {
    older.hidden = !hasOlder;
    for (const event of events) if (event.label) labels.add(event.label);
    labelChoice.offer([...labels].sort());
  }

  async function loadOlder() {
    await feed.more().catch(complain);
  }

  const showCameras = () => cameraChoice.offer(Object.keys(status.cameras));
  status.addEventListener("cameras", showCameras);
  return {
    root,
    title: "Events",
    close() {
      status.removeEventListener("cameras", showCameras);
      feed.close();
    },
  };
}

/** A choice of one or all. */
export function choice(text, offered, chosen, onChange) {
  const select = element("select", { onchange: () => onChange(select.value), "aria-label": text });

  function offer(names) {
    const all = chosen && !names.includes(chosen) ? [chosen, ...names] : names;
    const options = all.map((name) => element("option", { value: name }, name));
    fill(select, element("option", { value: "" }, `${text}: all`), ...options);
    select.value = chosen ?? "";
  }
  offer(offered);
  return { root: select, offer };
}
