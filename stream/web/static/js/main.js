// The page: who is there, what is shown, and what all views share.

import { ask, onLoggedOut } from "./api.js";
import { cameraView } from "./camera.js";
import { camerasView } from "./cameras.js";
import { button, element, fill, say } from "./dom.js";
import { eventsView } from "./events.js";
import { loginView } from "./login.js";
import { announce, complain, noticePlaces } from "./notice.js";
import { recordingsView } from "./recordings.js";
import { listenForKeys, showHelp } from "./shortcuts.js";
import { StatusStore } from "./status.js";
import { themeSwitch } from "./theme.js";

const PLACES = [
  ["#/", "Cameras"],
  ["#/recordings", "Recordings"],
  ["#/events", "Events"],
];
const RETRY_MS = 3000;

const theme = themeSwitch();
const main = element("main", { id: "main", tabIndex: -1 });
const connection = element("span", { class: "connection", role: "status" });
const who = element("span", { class: "who" });
const links = PLACES.map(([href, text]) => element("a", { href }, text));
const bar = element(
  "header",
  { class: "bar" },
  button("To the content", { class: "skip", onclick: () => main.focus() }),
  element(
    "a",
    { class: "brand", href: "#/" },
    element("img", { src: "/static/icon.svg", alt: "", width: 22, height: 22 }),
    "rcnn-live",
  ),
  element("nav", { "aria-label": "Main" }, ...links),
  connection,
  who,
  theme,
  button("Keys", { class: "quiet square", title: "Keys (?)", onclick: showHelp }, "help"),
);
document.body.append(bar, main, ...noticePlaces());

let session = null;
let status = null;
let view = null;

function go(hash) {
  if (location.hash === hash) showView();
  else location.hash = hash;
}

/** The view of an address: `#/camera/NAME`, `#/recordings/ID?at=SECONDS`, `#/events?camera=NAME`. */
function viewOf(hash) {
  const [path, search = ""] = hash.replace(/^#\/?/, "").split("?");
  const [place, name = null] = path.split("/").map(decodeURIComponent);
  const query = new URLSearchParams(search);
  const shared = { status, session, go };
  if (place === "camera" && name) return cameraView(shared, name);
  if (place === "recordings") return recordingsView(shared, name || null, query);
  if (place === "events") return eventsView(shared, query);
  return camerasView(shared);
}

function showView() {
  if (!session) return;
  put(viewOf(location.hash));
  for (const link of links) {
    const [, place] = link.hash.split("/");
    const isHere =
      place === (location.hash.split(/[/?]/)[1] ?? "") ||
      (place === "" && /^#\/camera\//.test(location.hash));
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function put(next) {
  view?.close();
  view = next;
  fill(main, next.root);
  document.title = next.title === "Cameras" ? "rcnn-live" : `${next.title} · rcnn-live`;
  announce(next.title);
  next.focus?.();
  scrollTo(0, 0);
}

function showConnection() {
  const { state, seconds } = status.connection;
  connection.className = `connection ${state}`;
  const wait = seconds < 1 ? "" : ` in ${Math.round(seconds)} s`;
  say(connection, state === "waiting" ? `No connection to the server: trying again${wait}` : "");
}

function begin(found) {
  session = found;
  status = new StatusStore();
  status.addEventListener("connection", showConnection);
  bar.classList.remove("out");
  const leave = button("Log out", { class: "quiet", onclick: logOut });
  const role = session.role === "viewer" ? " (viewer)" : "";
  fill(who, session.user ? `${session.user}${role}` : role, session.needs_login ? leave : null);
  showView();
}

function end() {
  if (session === null && view !== null) return;
  session = null;
  status?.close();
  bar.classList.add("out");
  fill(who);
  say(connection, "");
  put(loginView(begin));
}

async function logOut() {
  try {
    await ask("/api/logout", { method: "POST" });
    end();
  } catch (error) {
    complain(error);
  }
}

async function start() {
  try {
    const found = await ask("/api/session");
    if (found.needs_login && !found.role) end();
    else begin(found);
  } catch (error) {
    fill(main, element("p", { class: "hint", role: "alert" }, `${error.message} Trying again.`));
    setTimeout(start, RETRY_MS);
  }
}

listenForKeys((key) => {
  if (key === "?") return showHelp;
  if (key === "d") return () => theme.click();
  if (!session) return null;
  const name = /^[1-9]$/.test(key) ? Object.keys(status.cameras)[Number(key) - 1] : undefined;
  if (name !== undefined) return () => go(`#/camera/${encodeURIComponent(name)}`);
  return view?.keys?.[key] ?? null;
});
addEventListener("hashchange", showView);
onLoggedOut(end);
start();
