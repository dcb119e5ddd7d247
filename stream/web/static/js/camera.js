// One camera: its picture, what may be changed of it, and its figures.

import { ask, cameraPath } from "./api.js";
import { CHARTS, Chart } from "./charts.js";
import { button, element, fill, icon, say } from "./dom.js";
import { eventFeed } from "./events.js";
import { short, total } from "./format.js";
import { layerSwitches, layersNow } from "./layers.js";
import { complain } from "./notice.js";
import { LAYERS } from "./overlay.js";
import { recorder } from "./recorder.js";
import { Screen, stateSentence } from "./screen.js";
import { tuningCard } from "./tuning.js";
import { zonesCard } from "./zones.js";

const REFRESH_SECONDS = 5; // others may change the camera, too
const TRANSPORTS = { websocket: "WebSocket", mjpeg: "MJPEG", webrtc: "WebRTC" };

export function cameraView({ status, session, go }, name) {
  const root = element("div", { class: "view" });
  const leaving = new AbortController();
  const view = { root, title: name, keys: {}, close: () => leaving.abort() };
  ask(cameraPath(name), { signal: leaving.signal })
    .then((camera) => show(view, camera, { status, session, go, leaving }))
    .catch((error) => {
      if (error.status !== 404) return complain(error);
      fill(root, element("p", {}, error.message, " ", element("a", { href: "#/" }, "All cameras")));
    });
  return view;
}

function show(view, camera, { status, session, go, leaving }) {
  const { name } = camera;
  const mayChange = session.role === "operator";
  const look = { layers: layersNow(), score: 0, classes: null, places: camera.zones };
  const screen = new Screen(name, {
    look,
    onDrawn: (header, objects) => tuning.count(objects),
    onTransport: (transport) => {
      way.value = transport;
      layers.setEnabled(transport === "websocket");
    },
  });
  const layers = layerSwitches((on) => {
    look.layers = on;
    screen.redraw();
  });
  const buttons = recorder(name, { mayChange, layers: () => look.layers });
  const tuning = tuningCard(camera, look, { mayChange, onChange: () => screen.redraw() });
  const zones = zonesCard(camera, look, { mayChange, screen });
  const events = eventFeed({ camera: name, limit: 6 });
  const charts = CHARTS.map((spec) => new Chart(spec));
  const headline = heading(camera);
  const way = wayChoice(session, screen);
  const full = button(
    "Full screen",
    { class: "quiet square", title: "Full screen (f)", onclick: toggleFull },
    "expand",
  );

  fill(
    view.root,
    headline.root,
    element(
      "div",
      { class: "columns" },
      element(
        "div",
        { class: "main-column" },
        screen.root,
        element(
          "div",
          { class: "toolbar" },
          buttons.root,
          layers.root,
          element("div", { class: "row" }, way, full),
        ),
      ),
      element("div", { class: "side-column" }, tuning.root, zones.root, eventsCard(name, events)),
      element("div", { class: "charts" }, ...charts.map((chart) => chart.root)),
    ),
  );

  function toggleFull() {
    if (document.fullscreenElement) document.exitFullscreen();
    else screen.root.requestFullscreen().catch(complain);
  }

  function showFigures() {
    const now = status.cameras[name];
    if (!now) return;
    Object.assign(look, { inside: now.zones, crossed: now.lines });
    screen.setState(now);
    headline.show(now);
    buttons.show(now.recording);
    zones.show(now);
    for (const chart of charts) chart.show(status.history(name));
  }

  async function refresh() {
    try {
      const fresh = await ask(cameraPath(name), { signal: leaving.signal });
      tuning.refresh(fresh);
      zones.refresh(fresh.zones);
      headline.refresh(fresh);
    } catch (error) {
      if (error.status === 404) go("#/");
    }
  }

  const timer = setInterval(() => document.hidden || refresh(), REFRESH_SECONDS * 1000);
  status.addEventListener("figures", showFigures, { signal: leaving.signal });
  Object.assign(view.keys, {
    r: buttons.toggle,
    s: buttons.snapshot,
    f: toggleFull,
    c: tuning.focusSearch,
    Escape: () => zones.cancel() || go("#/"),
  });
  for (const layer of LAYERS) view.keys[layer.key] = () => layers.toggle(layer.name);
  leaving.signal.addEventListener("abort", () => {
    clearInterval(timer);
    screen.close();
    tuning.close();
    zones.close();
    events.close();
    charts.forEach((chart) => chart.close());
  });
  screen.setState(camera);
  buttons.show(camera.recording);
  screen.use("websocket");
  showFigures();
}

/** Name, state and the figures that matter most. */
function heading(camera) {
  const badge = element("span", { class: "badge" });
  const state = element("span", { class: "state" });
  const facts = element("p", { class: "faint facts" });
  const figures = Object.fromEntries(
    ["FPS in", "FPS out", "age, ms", "dropped", "objects"].map((label) => [
      label,
      element("dd", {}, "–"),
    ]),
  );
  const cells = Object.entries(figures).map(([label, cell]) =>
    element("div", {}, element("dt", {}, label), cell),
  );
  const root = element(
    "header",
    { class: "headline" },
    element(
      "a",
      {
        class: "button quiet square",
        href: "#/",
        title: "All cameras (Esc)",
        "aria-label": "All cameras",
      },
      icon("back"),
    ),
    element("div", { class: "names" }, element("h1", {}, camera.name, " ", badge, state), facts),
    element("dl", { class: "numbers" }, ...cells),
  );

  function refresh({ source, model, width, height }) {
    const size = width ? `${width}×${height}` : "no picture yet";
    say(facts, [source, model, size].filter(Boolean).join(" · "));
  }

  function show(status) {
    badge.className = `badge ${status.state}`;
    say(state, status.state === "live" ? "live" : stateSentence(status));
    say(figures["FPS in"], short(status.fps_in));
    say(figures["FPS out"], short(status.fps_out));
    say(figures["age, ms"], short(status.age_ms.p50));
    say(figures.dropped, String(total(status.drops)));
    say(figures.objects, String(total(status.objects)));
  }
  refresh(camera);
  return { root, refresh, show };
}

function wayChoice(session, screen) {
  const offered = Object.entries(TRANSPORTS).filter(([way]) => way !== "webrtc" || session.webrtc);
  const options = offered.map(([value, text]) => element("option", { value }, text));
  const choose = (event) => screen.use(event.target.value);
  return element("select", { onchange: choose, "aria-label": "How the picture comes" }, ...options);
}

function eventsCard(name, events) {
  const all = element("a", { href: `#/events?camera=${encodeURIComponent(name)}` }, "All");
  return element(
    "section",
    { class: "card", "aria-label": "Events" },
    element("header", {}, element("h2", {}, "Events"), all),
    events.root,
  );
}
