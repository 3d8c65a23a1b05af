// A network that can be cut: of what goes through a cut connection nothing arrives any more, either way, and new
// ones fail. That is as near to a pulled plug as a page can come.

const open = new Set();
let cut = false;

class Line extends WebSocket {
  #dead = false;

  constructor(...details) {
    super(...details);
    open.add(this);
    for (const type of ["open", "message", "close"]) {
      this.addEventListener(type, (event) => this.#dead && event.isTrusted && event.stopImmediatePropagation());
    }
    this.addEventListener("close", () => open.delete(this));
    if (cut) setTimeout(() => this.die());
  }

  send(data) {
    if (!this.#dead) super.send(data);
  }

  die() {
    if (this.#dead) return;
    this.#dead = true;
    open.delete(this);
    this.close();
    this.dispatchEvent(new CloseEvent("close", { code: 1006 }));
  }
}

export function install() {
  window.WebSocket = Line;
}

export function cutAll() {
  cut = true;
  for (const line of [...open]) line.die();
}

// Browsers say so too when a network is there again.
export function mend() {
  cut = false;
  dispatchEvent(new Event("online"));
}

export function isCut() {
  return cut;
}
