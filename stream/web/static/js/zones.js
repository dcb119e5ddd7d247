// The zones and lines of a camera: who is in them, and where they are.

import { ask, cameraPath } from "./api.js";
import { LINE_COLOUR, colourOfZone } from "./colours.js";
import { button, element, fill, say } from "./dom.js";
import { tally } from "./format.js";
import { complain, note } from "./notice.js";
import { ShapeEditor, read, written } from "./shape.js";

/** A card with the list of them; for an operator with an editor over the picture. */
export function zonesCard(camera, look, { mayChange, screen }) {
  const body = element("div", {});
  const root = element(
    "section",
    { class: "card", "aria-label": "Zones and lines" },
    element("header", {}, element("h2", {}, "Zones and lines")),
    body,
  );
  let editing = null; // what is being drawn: its form
  let rows = [];

  function showList() {
    editing?.close();
    editing = null;
    const { zones, lines } = look.places;
    rows = [
      ...zones.map((zone, i) => placeRow("zone", zone, i)),
      ...lines.map((line, i) => placeRow("line", line, i)),
    ];
    const empty = element("p", { class: "faint" }, "Draw one to count who is inside or passes.");
    const buttons = element(
      "div",
      { class: "row" },
      button("Draw zone", { onclick: () => edit("zone", null) }, "zone"),
      button("Draw line", { onclick: () => edit("line", null) }, "line"),
    );
    fill(
      body,
      element("ul", { class: "places" }, ...rows.map((row) => row.root)),
      rows.length ? null : empty,
      mayChange ? buttons : null,
    );
    screen.redraw();
  }

  function placeRow(kind, place, at) {
    const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = kind === "zone" ? colourOfZone(at) : LINE_COLOUR;
    const count = element("span", { class: "faint count" });
    const label = (verb) => ({ class: "quiet", "aria-label": `${verb} ${place.name}` });
    const row = element(
      "li",
      {},
      swatch,
      element("span", { class: "words" }, element("strong", {}, place.name), count),
      mayChange && button("Edit", { ...label("Edit"), onclick: () => edit(kind, place) }),
      mayChange && button("Delete", { ...label("Delete"), onclick: () => remove(place) }),
    );
    return { root: row, kind, name: place.name, count };
  }

  function edit(kind, place) {
    const all = look.places;
    // what is being drawn is drawn by the editor alone
    look.places = without(all, place);
    editing = placeForm(kind, place, {
      onSave: (made) =>
        save(added(without(all, place), kind, made), `${made.name} is stored and counts.`),
      onCancel: () => {
        look.places = all;
        showList();
      },
    });
    rows = [];
    screen.root.append(editing.editor.root);
    fill(body, editing.root);
    screen.redraw();
    editing.focus();
  }

  async function remove(place) {
    await save(without(look.places, place), `${place.name} is gone.`).catch(complain);
  }

  async function save(places, sentence) {
    look.places = await ask(cameraPath(camera.name, "/zones"), { method: "PUT", body: places });
    showList();
    note(sentence);
  }

  showList();
  return {
    root,
    /** Who is where now. */
    show({ zones, lines }) {
      for (const row of rows) say(row.count, placeCount(row, zones, lines));
    },
    /** The places as the server tells of them from time to time. */
    refresh(places) {
      if (editing || JSON.stringify(places) === JSON.stringify(look.places)) return;
      look.places = places;
      showList();
    },
    /** Ends drawing; gives whether there was anything to end. */
    cancel() {
      const wasEditing = editing !== null;
      editing?.cancel();
      return wasEditing;
    },
    close: () => editing?.close(),
  };
}

function placeForm(kind, place, { onSave, onCancel }) {
  const points = place ? pointsOf(kind, place) : [];
  const name = element("input", {
    id: "place-name",
    required: true,
    maxLength: 64,
    value: place?.name ?? "",
  });
  const corners = element("input", {
    id: "place-points",
    value: written(points),
    spellcheck: false,
    oninput: typed,
  });
  const problem = element("p", { class: "problem", role: "alert" });
  const editor = new ShapeEditor(kind, points, {
    onChange: (moved) => {
      corners.value = written(moved);
    },
    onDone: () => root.requestSubmit(),
  });
  const how =
    kind === "zone"
      ? "Click the corners in the picture. Drag a corner to move it; double-click stores the zone."
      : "Drag from start to end in the picture. What passes to the line's right is counted as in.";
  const root = element(
    "form",
    { class: "place", onsubmit: submit },
    element("p", { class: "faint" }, how),
    element("label", { htmlFor: "place-name" }, "Name"),
    name,
    element("label", { htmlFor: "place-points" }, "Points, parts of width and height"),
    corners,
    problem,
    element(
      "div",
      { class: "row" },
      element("button", { class: "main" }, "Store"),
      button(kind === "zone" ? "Add corner" : "Put in the middle", {
        onclick: () => editor.addCorner(),
      }),
      button("Cancel", { class: "quiet", onclick: onCancel }),
    ),
  );

  function typed() {
    const given = read(corners.value);
    if (given) editor.set(given);
  }

  async function submit(event) {
    event.preventDefault();
    const given = read(corners.value);
    const needed = kind === "zone" ? 3 : 2;
    if (!name.value.trim()) return say(problem, "Give it a name.");
    if (!given)
      return say(problem, "Points are pairs of numbers from 0 to 1, such as 0.1,0.6 0.9,0.6.");
    if (given.length < needed || (kind === "line" && given.length > 2)) {
      return say(
        problem,
        kind === "zone" ? "A zone needs at least 3 corners." : "A line needs a start and an end.",
      );
    }
    try {
      await onSave(placeOf(kind, name.value.trim(), given, place?.classes ?? null));
    } catch (error) {
      say(problem, error.message);
    }
  }
  return {
    root,
    editor,
    cancel: onCancel,
    close: () => editor.root.remove(),
    focus: () => name.focus(),
  };
}

function placeCount({ kind, name }, zones, lines) {
  if (kind === "zone") return zones[name] ? `${tally(zones[name])} inside` : "";
  return lines[name] ? `${tally(lines[name].in)} in, ${tally(lines[name].out)} out` : "";
}

function pointsOf(kind, place) {
  return kind === "zone" ? place.polygon : [place.from, place.to];
}

function placeOf(kind, name, points, classes) {
  if (kind === "zone") return { name, polygon: points, classes };
  return { name, from: points[0], to: points[1], classes };
}

function added(places, kind, made) {
  const key = kind === "zone" ? "zones" : "lines";
  return { ...places, [key]: [...places[key], made] };
}

function without({ zones, lines }, place) {
  return {
    zones: zones.filter((one) => one !== place),
    lines: lines.filter((one) => one !== place),
  };
}
