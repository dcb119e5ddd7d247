// All cameras, each with its live picture.

import { ask } from "./api.js";
import { element, fill, say } from "./dom.js";
import { short, total } from "./format.js";
import { layersNow } from "./layers.js";
import { complain } from "./notice.js";
import { Screen } from "./screen.js";

const FPS = 12; // of each picture: enough to see what goes on everywhere

export function camerasView({ status }) {
  const grid = element("div", { class: "tiles", onkeydown: moveFocus });
  const root = element("div", {}, element("h1", { class: "for-readers" }, "Cameras"), grid);
  let tiles = null; // until they are loaded

  async function load() {
    try {
      const cameras = await ask("/api/cameras");
      tiles?.forEach((tile) => tile.close());
      tiles = cameras.map((camera) => tileOf(camera));
      fill(grid, ...tiles.map((tile) => tile.root));
      if (!cameras.length) fill(grid, element("p", { class: "faint" }, "There is no camera yet."));
    } catch (error) {
      complain(error);
    }
  }

  function showFigures() {
    for (const tile of tiles ?? []) tile.show(status.cameras[tile.name]);
  }

  function loadOthers() {
    if (tiles === null) return;
    const names = Object.keys(status.cameras).sort().join("\n");
    if (
      names !==
      tiles
        .map((tile) => tile.name)
        .sort()
        .join("\n")
    )
      load();
  }

  status.addEventListener("cameras", loadOthers);
  status.addEventListener("figures", showFigures);
  load();
  return {
    root,
    title: "Cameras",
    close() {
      status.removeEventListener("cameras", loadOthers);
      status.removeEventListener("figures", showFigures);
      tiles?.forEach((tile) => tile.close());
      tiles = null;
    },
  };
}

function tileOf(camera) {
  const { name } = camera;
  const look = { layers: layersNow(), score: 0, classes: null, places: camera.zones };
  const screen = new Screen(name, { look, fps: FPS });
  screen.setState(camera);
  screen.use("websocket");
  const badge = element("span", { class: "badge" });
  const figures = element("span", { class: "faint figures" });
  const root = element(
    "a",
    { class: "tile", href: `#/camera/${encodeURIComponent(name)}` },
    screen.root,
    element("span", { class: "caption" }, badge, element("strong", {}, name), figures),
  );
  return {
    name,
    root,
    close: () => screen.close(),
    show(status) {
      if (!status) return;
      look.inside = status.zones;
      screen.setState(status);
      badge.className = `badge ${status.state}`;
      badge.title = status.state;
      root.classList.toggle("recording", status.recording.on);
      const count = total(status.objects);
      const objects = count === 1 ? "1 object" : `${count} objects`;
      say(
        figures,
        status.state === "live" ? `${short(status.fps_out)} FPS · ${objects}` : status.state,
      );
    },
  };
}

/** Arrows go from picture to picture, as they lie on the page. */
function moveFocus(event) {
  const tiles = [...event.currentTarget.querySelectorAll(".tile")];
  const at = tiles.indexOf(document.activeElement);
  if (at < 0) return;
  const inRow = tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: inRow, ArrowUp: -inRow };
  const next = tiles[at + steps[event.key]];
  if (!next) return;
  event.preventDefault();
  next.focus();
}
