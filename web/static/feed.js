// The WebSocket: says which stream is watched, hands on what comes, and connects again by itself.

const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 5000;
const CROWDED_WAIT_MS = 10000;
const QUIET_MS = 4000; // the status comes every second
const DEAD_MS = 15000; // a connection on which nothing comes for so long is one no more
const CROWDED = 1013;

export class Feed {
  // `on`: { status(message), frame(head, jpeg), lost(text), quiet(), back() }
  constructor(on) {
    this.on = on;
    this.stream = null;
    this.wait = FIRST_WAIT_MS;
    this.heard = performance.now();
    this.isQuiet = false;
    setInterval(() => this.look(), 1000);
    this.connect();
  }

  watch(stream) {
    this.stream = stream;
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ watch: stream }));
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.heard = performance.now();
    socket.onopen = () => socket.send(JSON.stringify({ watch: this.stream }));
    socket.onmessage = (event) => this.take(event.data);
    socket.onclose = (event) => this.again(event);
  }

  take(data) {
    this.heard = performance.now();
    if (this.wait !== FIRST_WAIT_MS || this.isQuiet) {
      this.wait = FIRST_WAIT_MS;
      this.isQuiet = false;
      this.on.back();
    }
    if (typeof data === "string") {
      this.on.status(JSON.parse(data));
      return;
    }
    const length = new DataView(data).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    this.on.frame(head, new Uint8Array(data, 4 + length));
  }

  async again(event) {
    const crowded = event.code === CROWDED;
    const wait = crowded ? CROWDED_WAIT_MS : this.wait * (0.8 + 0.4 * Math.random());
    this.wait = Math.min(this.wait * 1.7, LONGEST_WAIT_MS);
    this.on.lost(crowded ? `${event.reason}. Trying again…` : "Connection lost, trying again…");
    setTimeout(() => this.connect(), wait);
    if (!crowded && (await isRefused())) {
      this.on.lost("The token is not accepted any more: open the address that the service has written into its log.");
    }
  }

  look() {
    const silence = performance.now() - this.heard;
    if (this.socket.readyState !== WebSocket.OPEN) return;
    if (silence > DEAD_MS) this.socket.close();
    else if (silence > QUIET_MS && !this.isQuiet) {
      this.isQuiet = true;
      this.on.quiet();
    }
  }
}

async function isRefused() {
  try {
    return (await fetch("/api/status", { cache: "no-store" })).status === 401;
  } catch {
    return false; // nobody is there
  }
}
