// A grid of cutouts that updates in place, and a viewer with before and after.
// `data.items`: [{id, name, model, state, said, advice, after, before, full, download, time, look, notes, facts, steps}].
// Everything a user may have named is set as text, never as HTML.

const galleries = new WeakMap();
const BACKDROPS = ["checker", "white", "black"];

export default function ({ data, parentElement }) {
  let gallery = galleries.get(parentElement);
  if (!gallery) {
    gallery = new Gallery(parentElement.querySelector(".pp"));
    galleries.set(parentElement, gallery);
  }
  gallery.update(data.items);
}

class Gallery {
  constructor(root) {
    this.root = root;
    this.grid = root.querySelector(".grid");
    this.cards = new Map();
    this.items = [];
    const size = root.querySelector("#size");
    size.value = remembered("photoproc-size", "13");
    const resize = () => {
      this.grid.style.setProperty("--card", `${size.value}rem`);
      remember("photoproc-size", size.value);
    };
    size.addEventListener("input", resize);
    resize();
    this.viewer = new Viewer(root.querySelector("dialog"));
  }

  update(items) {
    this.items = items;
    this.root.classList.toggle("dark", isDark(this.root));
    this.root.classList.toggle("light", !isDark(this.root));
    const wanted = new Set(items.map((item) => item.id));
    for (const [id, card] of this.cards) {
      if (!wanted.has(id)) { card.node.remove(); this.cards.delete(id); }
    }
    items.forEach((item, place) => {
      const text = JSON.stringify(item);
      let card = this.cards.get(item.id);
      if (!card || card.text !== text) {
        const node = this.card(item);
        if (card) card.node.replaceWith(node);
        card = { node, text };
        this.cards.set(item.id, card);
      }
      if (this.grid.children[place] !== card.node) {
        this.grid.insertBefore(card.node, this.grid.children[place] ?? null);
      }
    });
    this.viewer.refresh(items);
  }

  card(item) {
    const ready = Boolean(item.after);
    const card = make(ready ? "button" : "div", "card");
    if (ready) card.type = "button";
    card.dataset.state = item.state;
    const stage = make("div", "stage");
    if (ready) {
      stage.classList.add("checker");
      stage.append(picture(item.after, "after", `${item.name}, cutout by ${item.model}`), picture(item.before, "before", ""));
      card.addEventListener("pointermove", (event) => {
        if (event.pointerType !== "mouse") return;
        const box = stage.getBoundingClientRect();
        const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
        stage.style.setProperty("--cut", `${share * 100}%`);
      });
      card.addEventListener("pointerleave", () => stage.style.setProperty("--cut", "0%"));
      card.addEventListener("click", () => this.viewer.open(this.items, item.id));
    } else if (item.said) {
      const said = make("div", "said");
      said.append(make("b", "", item.said), make("span", "", item.advice));
      stage.append(said);
    } else {
      const wait = make("div", "wait", item.state);
      wait.classList.toggle("busy", item.state === "running");
      stage.append(wait);
    }
    const foot = make("div", "foot");
    const name = make("span", "name", item.name);
    name.title = item.name;
    foot.append(name, make("span", "time", item.time), make("span", "model", item.model));
    if (item.look) {
      const look = make("span", "look", item.look);
      look.title = item.look;
      foot.append(look);
    }
    card.append(stage, foot);
    return card;
  }
}

class Viewer {
  constructor(dialog) {
    this.dialog = dialog;
    this.stage = dialog.querySelector(".big");
    this.slider = dialog.querySelector(".slide input");
    this.items = [];
    this.id = null;
    this.slider.addEventListener("input", () => this.cut(Number(this.slider.value)));
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) return dialog.close();
      const action = event.target.closest("[data-do]")?.dataset.do;
      if (action && action !== "download") this.act(action);
    });
    dialog.addEventListener("keydown", (event) => this.key(event));
    this.stage.addEventListener("pointerdown", (event) => {
      this.stage.setPointerCapture(event.pointerId);
      this.drag(event);
    });
    this.stage.addEventListener("pointermove", (event) => { if (event.buttons) this.drag(event); });
    this.backdrop(remembered("photoproc-backdrop", "checker"));
  }

  drag(event) {
    const box = this.stage.getBoundingClientRect();
    this.cut(Math.min(100, Math.max(0, ((event.clientX - box.left) / box.width) * 100)));
  }

  cut(share) {
    this.slider.value = String(share);
    this.stage.style.setProperty("--cut", `${share}%`);
  }

  open(items, id) {
    this.items = items.filter((item) => item.after);
    this.id = id;
    this.cut(0);
    this.show();
    if (!this.dialog.open) this.dialog.showModal();
    this.stage.focus();
  }

  refresh(items) {
    if (!this.dialog.open) return;
    this.items = items.filter((item) => item.after);
    if (this.items.some((item) => item.id === this.id)) this.place();
    else this.dialog.close();
  }

  get at() { return this.items.findIndex((item) => item.id === this.id); }

  place() {
    const at = this.at;
    this.dialog.querySelector(".place").textContent = `${at + 1} of ${this.items.length}`;
    this.dialog.querySelector("[data-do=previous]").disabled = at <= 0;
    this.dialog.querySelector("[data-do=next]").disabled = at >= this.items.length - 1;
  }

  show() {
    const item = this.items[this.at];
    if (!item) return;
    this.place();
    this.dialog.querySelector(".name").textContent = item.name;
    const after = this.stage.querySelector(".after");
    after.src = item.after;
    after.alt = `${item.name}, cutout by ${item.model}`;
    // The small picture at once, the full one as soon as it is decoded.
    const full = new Image();
    full.src = item.full;
    full.decode().then(() => { if (this.id === item.id) after.src = item.full; }, () => {});
    this.stage.querySelector(".before").src = item.before;
    this.dialog.querySelector("[data-do=download]").href = item.download;
    const facts = this.dialog.querySelector(".facts");
    facts.replaceChildren();
    if (item.notes.length) facts.append(section("Notes", ...item.notes.map((note) => make("p", "note", note))));
    facts.append(section("Cutout", list(item.facts)), section("Time by step", list(item.steps)));
  }

  act(action) {
    if (action === "close") this.dialog.close();
    if (action === "backdrop") {
      const now = BACKDROPS.findIndex((name) => this.stage.classList.contains(name));
      this.backdrop(BACKDROPS[(now + 1) % BACKDROPS.length]);
    }
    const step = { previous: -1, next: 1 }[action];
    const next = step && this.items[this.at + step];
    if (next) { this.id = next.id; this.show(); }
  }

  backdrop(name) {
    this.stage.classList.remove(...BACKDROPS);
    this.stage.classList.add(BACKDROPS.includes(name) ? name : "checker");
    remember("photoproc-backdrop", name);
  }

  key(event) {
    event.stopPropagation();
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const sliding = event.target === this.slider;
    const pressing = event.target.closest?.("button, a");
    const done = {
      ArrowLeft: () => !sliding && this.act("previous"),
      ArrowRight: () => !sliding && this.act("next"),
      b: () => this.act("backdrop"),
      d: () => this.dialog.querySelector("[data-do=download]").click(),
      " ": () => !pressing && this.cut(Number(this.slider.value) > 50 ? 0 : 100),
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (done && done() !== false) event.preventDefault();
  }
}

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function picture(source, className, text) {
  const image = make("img", className);
  image.loading = "lazy";
  image.decoding = "async";
  image.src = source;
  image.alt = text;
  return image;
}

function section(title, ...nodes) {
  const part = make("section");
  part.append(make("h4", "", title), ...nodes);
  return part;
}

function list(pairs) {
  const found = make("dl");
  for (const [name, value] of pairs) found.append(make("dt", "", name), make("dd", "", value));
  return found;
}

function isDark(node) {
  const found = getComputedStyle(node).color.match(/\d+/g)?.slice(0, 3).map(Number) ?? [0, 0, 0];
  return found.reduce((sum, part) => sum + part, 0) > 382;
}

function remembered(key, otherwise) {
  try { return localStorage.getItem(key) ?? otherwise; } catch { return otherwise; }
}

function remember(key, value) {
  try { localStorage.setItem(key, value); } catch { /* private window: forgotten, no harm */ }
}
