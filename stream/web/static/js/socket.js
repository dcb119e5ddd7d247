// A WebSocket that comes back: after 0.5 s, then after twice as long each time, up to 15 s; in a
// hidden tab, when it is looked at again.

const FIRST_SECONDS = 0.5;
const LONGEST_SECONDS = 15;
const SILENT_SECONDS = 10; // a connection that takes longer to open is given up

/** Keeps a connection. `onState` is told "open", or "waiting" with the seconds until the next try. */
export class Socket {
  constructor(path, { onMessage, onState = () => {} }) {
    Object.assign(this, { path, onMessage, onState, failures: 0, isClosed: false });
    this.retryNow = () => {
      if (this.timer) this.#connect();
    };
    addEventListener("online", this.retryNow);
    this.#connect();
  }

  send(text) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(text);
  }

  close() {
    this.isClosed = true;
    removeEventListener("online", this.retryNow);
    clearTimeout(this.timer);
    clearTimeout(this.opening);
    this.socket.close();
  }

  #connect() {
    if (this.isClosed) return;
    clearTimeout(this.timer);
    this.timer = null;
    const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}${this.path}`);
    socket.binaryType = "arraybuffer";
    this.opening = setTimeout(() => socket.close(), SILENT_SECONDS * 1000);
    socket.onopen = () => {
      clearTimeout(this.opening);
      this.failures = 0;
      this.onState("open", 0, 0);
    };
    socket.onmessage = (event) => {
      if (!this.isClosed) this.onMessage(event.data);
    };
    socket.onclose = () => this.#wait();
    this.socket = socket;
  }

  #wait() {
    clearTimeout(this.opening);
    if (this.isClosed) return;
    if (document.hidden) {
      document.addEventListener("visibilitychange", () => this.#connect(), { once: true });
      return;
    }
    const seconds = Math.min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** this.failures);
    this.failures += 1;
    this.timer = setTimeout(() => this.#connect(), seconds * 1000 * (0.8 + 0.4 * Math.random()));
    this.onState("waiting", seconds, this.failures);
  }
}
