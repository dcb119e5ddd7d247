// Which objects are reported: the score and the classes. An operator changes them on the server,
// for everything that hears of objects; a viewer only sees fewer of them.

import { ask, cameraPath } from "./api.js";
import { button, element, fill, say } from "./dom.js";
import { complain } from "./notice.js";

const PAUSE_MS = 200; // after the last movement of the slider, until the server is told
const MANY = 12; // classes, from which on one can search in them

/** A card with the slider and the classes; writes `score` and `classes` (a Set or null) into `look`. */
export function tuningCard(camera, look, { mayChange, onChange }) {
  let classes = camera.classes;
  let waiting = {};
  let timer = null;
  let telling = Promise.resolve(); // one after the other, so that the last one holds
  const slider = element("input", {
    type: "range",
    id: "score",
    max: 1,
    step: 0.01,
    oninput: slid,
  });
  const value = element("output", { htmlFor: "score" });
  const search = element("input", {
    type: "search",
    placeholder: "Find a class",
    "aria-label": "Find a class",
    oninput: showSearched,
  });
  const list = element("div", { class: "classes", role: "group", "aria-label": "Classes" });
  const rows = new Map();
  const shown = element("output", { class: "faint", "aria-live": "off" });
  const root = element(
    "section",
    { class: "card", "aria-label": "Objects" },
    element("header", {}, element("h2", {}, "Objects"), shown),
    element("label", { class: "slider", htmlFor: "score" }, "Score from", value),
    slider,
    element(
      "div",
      { class: "row" },
      search,
      button("All", { class: "quiet", onclick: () => choose(null) }),
      button("None", { class: "quiet", onclick: () => choose(new Set()) }),
    ),
    list,
    element("p", { class: "faint", hidden: mayChange }, "This changes what you see, nothing else."),
  );

  function slid() {
    look.score = Number(slider.value);
    changed({ score: look.score });
  }

  function choose(set) {
    look.classes = set !== null && set.size === classes.length ? null : set;
    changed({ classes: look.classes && [...look.classes] });
  }

  function toggle(name) {
    const set = new Set(look.classes ?? classes);
    if (!set.delete(name)) set.add(name);
    choose(set);
  }

  function changed(change) {
    show();
    onChange();
    if (!mayChange) return;
    Object.assign(waiting, change);
    clearTimeout(timer);
    timer = setTimeout(tellSoon, PAUSE_MS);
  }

  function tellSoon() {
    clearTimeout(timer);
    timer = null;
    telling = telling.then(tell);
  }

  async function tell() {
    const body = waiting;
    waiting = {};
    try {
      const settings = await ask(cameraPath(camera.name, "/settings"), { method: "PATCH", body });
      if (timer === null) take(settings);
    } catch (error) {
      complain(error);
    }
  }

  /** What the server has; not while one of us is changing it. */
  function take(settings) {
    if (timer !== null) return;
    look.score = settings.score;
    look.classes = settings.classes && new Set(settings.classes);
    show();
    onChange();
  }

  function show() {
    slider.value = look.score;
    say(value, Number(look.score).toFixed(2));
    for (const [name, row] of rows) row.box.checked = look.classes?.has(name) ?? true;
  }

  function showClasses() {
    search.hidden = classes.length <= MANY;
    rows.clear();
    for (const name of classes)
      rows.set(
        name,
        classRow(name, () => toggle(name)),
      );
    fill(list, ...[...rows.values()].map((row) => row.root));
    if (!classes.length) fill(list, element("p", { class: "faint" }, "The model is being loaded."));
  }

  function showSearched() {
    const text = search.value.trim().toLowerCase();
    for (const [name, row] of rows) row.root.hidden = !name.toLowerCase().includes(text);
  }

  slider.min = mayChange ? camera.lowest_score : camera.settings.score;
  showClasses();
  take(camera.settings);
  return {
    root,
    /** The camera as the server tells of it from time to time. */
    refresh(fresh) {
      if (fresh.classes.join("\n") !== classes.join("\n")) {
        classes = fresh.classes;
        showClasses();
      }
      if (mayChange) take(fresh.settings);
      else slider.min = fresh.settings.score;
    },
    /** What was not told yet is told now. */
    close: () => timer === null || tellSoon(),
    /** How many there are now. */
    count(objects) {
      const counts = new Map();
      for (const { label } of objects) counts.set(label, (counts.get(label) ?? 0) + 1);
      for (const [name, row] of rows) say(row.count, String(counts.get(name) ?? ""));
      say(shown, `${objects.length} shown`);
    },
    focusSearch: () => (search.hidden ? slider : search).focus(),
  };
}

function classRow(name, onchange) {
  const box = element("input", { type: "checkbox", onchange });
  const count = element("span", { class: "count" });
  const root = element("label", { class: "class" }, box, element("span", {}, name), count);
  return { root, box, count };
}
