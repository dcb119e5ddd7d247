// Where one camera is seen: the picture, what is drawn over it, and why there is none.

import { element, fill, say } from "./dom.js";
import { withQuery } from "./api.js";
import { LiveFeed } from "./live.js";
import { note } from "./notice.js";
import { chosen, drawOverlay } from "./overlay.js";
import { playWebRtc } from "./webrtc.js";

const WIDTHS = [320, 480, 640, 960, 1280, 1920]; // asked for, so that viewers share encodings
const SETTLE_MS = 400; // after a change of size, until another one is asked for
const FAILURES = 3; // of the WebSocket, until the picture comes as MJPEG
const RETRY_SECONDS = 30; // then the WebSocket is tried again
const NOT_LIVE = ["connecting", "stalled", "reconnecting", "failed", "ended"];

/**
 * A picture that follows a camera.
 *
 * `look` says what is drawn: `layers`, `score`, `classes`, `places`, `inside`, `crossed`; change it
 * and call `redraw`. `onDrawn` gets each frame's header and the objects that are shown. `onTransport`
 * is told which way the picture comes: "websocket", "mjpeg" or "webrtc".
 */
export class Screen {
  constructor(name, { look, fps = null, onDrawn = () => {}, onTransport = () => {} }) {
    Object.assign(this, { name, look, fps, onDrawn, onTransport });
    this.canvas = element("canvas", { class: "picture", role: "img" });
    this.canvas.setAttribute("aria-label", `Live picture of ${name}`);
    this.message = element("p", { class: "message" });
    this.other = element("div", { class: "other" });
    this.root = element("div", { class: "screen empty" }, this.canvas, this.other, this.message);
    this.context = this.canvas.getContext("2d");
    this.state = { state: "connecting", sentence: "" };
    this.wanted = null;
    this.observer = new ResizeObserver(() => this.#resized());
    this.observer.observe(this.root);
    this.#showMessage();
  }

  /**
   * Take the picture over that way, as soon as it is known how large it is shown; "websocket" falls
   * back to MJPEG where it has to.
   */
  use(transport) {
    this.wanted = transport;
    if (this.root.clientWidth) this.#start(transport);
  }

  /** The camera's state, from whoever hears of it first. */
  setState(state) {
    this.state = state;
    this.#showMessage();
  }

  /** Draw the newest frame again, with what `look` says now. */
  redraw() {
    if (!this.picture) return;
    const { context, canvas, header } = this;
    context.drawImage(this.picture, 0, 0, canvas.width, canvas.height);
    const objects = chosen(header.objects, this.look);
    drawOverlay(context, header, { ...this.look, objects });
    this.onDrawn(header, objects);
  }

  close() {
    this.observer.disconnect();
    this.#stop();
    this.picture?.close();
    this.picture = null;
    this.isClosed = true;
    clearTimeout(this.settling);
  }

  // ── the ways the picture can come ──

  #start(transport) {
    this.#stop();
    if (transport !== this.transport) this.onTransport(transport);
    this.transport = transport;
    this.root.dataset.transport = transport;
    this.width = this.#suitableWidth();
    if (transport === "websocket") this.#startFeed();
    else if (transport === "mjpeg") this.#startMjpeg();
    else this.#startWebRtc();
  }

  #stop() {
    this.feed?.close();
    this.feed = null;
    this.stopOther?.();
    this.stopOther = null;
    clearTimeout(this.retry);
    fill(this.other);
  }

  #startFeed() {
    this.feed = new LiveFeed(this.name, {
      width: this.width,
      fps: this.fps,
      onFrame: (header, picture) => this.#show(header, picture),
      onState: (state) => this.setState(state),
      onConnection: (state, seconds, failures) => {
        this.connection = state;
        if (failures >= FAILURES && this.wanted === "websocket") this.#start("mjpeg");
        else this.#showMessage();
      },
    });
  }

  #startMjpeg() {
    const path = withQuery(`/stream/${encodeURIComponent(this.name)}.mjpg`, { width: this.width });
    const image = element("img", { alt: `Live picture of ${this.name}`, src: path });
    image.onload = () => this.#seen();
    this.stopOther = () => image.removeAttribute("src"); // or the browser goes on loading
    fill(this.other, image);
    if (this.wanted === "mjpeg") return;
    this.retry = setTimeout(() => this.#start("websocket"), RETRY_SECONDS * 1000);
  }

  #startWebRtc() {
    const video = element("video", { autoplay: true, muted: true, playsInline: true });
    video.setAttribute("aria-label", `Live picture of ${this.name}`);
    video.onplaying = () => this.#seen();
    fill(this.other, video);
    this.stopOther = playWebRtc(this.name, video, (sentence) => {
      note(sentence, "bad");
      this.use("websocket");
    });
  }

  // ── what is seen ──

  #show(header, picture) {
    this.picture?.close();
    const isNew =
      !this.header || this.header.width !== header.width || this.header.height !== header.height;
    Object.assign(this, { picture, header });
    this.#seen();
    if (isNew) {
      this.root.style.setProperty("--ratio", header.width / header.height);
      this.#fit();
    }
    this.redraw();
  }

  #seen() {
    if (!this.root.classList.contains("empty")) return;
    this.root.classList.remove("empty");
    this.#showMessage();
  }

  #resized() {
    if (this.isClosed) return;
    this.#fit();
    this.redraw();
    if (!this.transport && this.wanted && this.root.clientWidth) this.#start(this.wanted);
    clearTimeout(this.settling);
    this.settling = setTimeout(() => {
      const isLarger = (this.#suitableWidth() || Infinity) > (this.width || Infinity);
      if (this.feed && isLarger) this.#start(this.transport);
    }, SETTLE_MS);
  }

  /** As many dots as the screen has, so that lines and letters are sharp. */
  #fit() {
    const { canvas, header } = this;
    if (!header) return;
    const width = Math.round(this.root.clientWidth * devicePixelRatio);
    const height = Math.round((width * header.height) / header.width);
    if (width > 0 && (canvas.width !== width || canvas.height !== height)) {
      Object.assign(canvas, { width, height });
    }
  }

  #suitableWidth() {
    const dots = this.root.clientWidth * devicePixelRatio;
    return WIDTHS.find((width) => width >= dots * 0.9) ?? 0;
  }

  #showMessage() {
    const isLost = this.transport === "websocket" && this.connection === "waiting";
    const isOut = NOT_LIVE.includes(this.state.state);
    this.root.classList.toggle("dim", isLost || isOut);
    const isWaiting = this.root.classList.contains("empty");
    let sentence = isWaiting ? "The first picture is on its way." : "";
    if (isOut) sentence = stateSentence(this.state);
    if (isLost) sentence = "Connecting to the server again.";
    say(this.message, sentence);
  }
}

/** "Reconnecting, attempt 3: …" */
export function stateSentence({ state, sentence, attempt }) {
  const attempts = attempt > 0 ? `, attempt ${attempt}` : "";
  if (!sentence) return `${capitalised(state)}${attempts}.`;
  if (sentence.toLowerCase().includes(state)) return capitalised(sentence);
  return `${capitalised(state)}${attempts}: ${sentence}`;
}

function capitalised(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
