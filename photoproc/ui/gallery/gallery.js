// A grid of cutouts that updates in place, and a viewer with before and after.
// `data.items`: [{id, name, model, state, said, advice, after, before, ratio, time, notes, looks, facts, steps, cutouts}],
// where `cutouts` has all of a task's (one a face) and the item itself what its card shows of the first; the first `looks`
// of the notes need a look. Addresses of pictures go on after `data.base` and the task's number, and need `data.token`.
// `data.place`: where this page is among all (see Place in __init__.py); `data.opaque`: no backdrop shows through.
// What changed since the gallery `data.of` was drawn is told by the component beside it (news.js).
// The opened task is in the address (`task`), so that a link shows it again. A task of another page is sought
// (trigger `seek`): Python turns to its page, and the viewer opens it when it comes. It is sought again until then:
// the next click may end the run of Python that heard it.

const galleries = new WeakMap();
const BACKDROPS = ["checker", "white", "black"];
const SOUGHT_FOR_MS = 10_000, SEEK_EVERY_MS = 2_000;

export default function ({ data, parentElement, setTriggerValue }) {
  let gallery = galleries.get(parentElement);
  if (!gallery) {
    gallery = new Gallery(parentElement.querySelector(".pp"));
    galleries.set(parentElement, gallery);
    gallery.viewer.moved(gallery.viewer.step.value);
  }
  gallery.update(data, (id) => setTriggerValue("seek", id));
}

// The data with the news of them, and whole addresses.
function current(data) {
  const news = globalThis.photoprocNews, told = news?.of === data.of ? news : { items: [], place: data.place };
  const changed = new Map(told.items.map((item) => [item.id, item]));
  const items = data.items.map((item) => addressed(data, changed.get(item.id) ?? item));
  return { ...data, items, place: told.place };
}

function addressed({ base, token }, item) {
  if (!item.after) return item;
  const whole = (address) => `${base}/${item.id}${address}&token=${token}`;
  const cutouts = item.cutouts.map((cutout) => ({
    ...cutout,
    ...Object.fromEntries(["after", "before", "full", "download"].map((name) => [name, whole(cutout[name])])),
    files: cutout.files.map(([name, size, address]) => [name, size, whole(address)]),
  }));
  return { ...item, after: whole(item.after), before: whole(item.before), cutouts };
}

class Gallery {
  constructor(root) {
    this.root = root;
    this.grid = root.querySelector(".grid");
    this.cards = new Map();
    this.opaque = false;
    const size = root.querySelector("#size");
    size.value = remembered("photoproc-size", "13");
    const resize = () => {
      this.grid.style.setProperty("--card", `${size.value}rem`);
      remember("photoproc-size", size.value);
    };
    size.addEventListener("input", resize);
    resize();
    this.viewer = new Viewer(root.querySelector("dialog"), (id) => this.cards.get(id)?.node);
    const told = () => (root.isConnected ? this.draw() : document.removeEventListener("photoproc-news", told));
    document.addEventListener("photoproc-news", told);
  }

  update(data, seek) {
    Object.assign(this, { data, seek });
    this.draw();
  }

  draw() {
    const data = current(this.data);
    matchTheme(this.root);
    this.opaque = data.opaque;
    inPlace(this.grid, this.cards, data.items, (item) => this.card(item));
    this.viewer.refresh(data, this.seek);
  }

  card(item) {
    const ready = Boolean(item.after);
    const card = make(ready ? "button" : "div", "card");
    if (ready) card.type = "button";
    card.dataset.state = item.state;
    const stage = make("div", "stage");
    if (ready) this.fill(card, stage, item);
    else if (item.said) {
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
    if (item.notes.length) {
      const others = item.notes.length > 1 ? ` (+${item.notes.length - 1})` : "";
      const line = make("span", item.looks ? "look" : "note", item.notes[0] + others);
      line.title = item.notes.join(" ");
      foot.append(line);
    }
    card.append(stage, foot);
    return card;
  }

  fill(card, stage, item) {
    const fit = make("div", `fit ${this.opaque ? "opaque" : "checker"}`);
    fit.style.setProperty("--ratio", String(item.ratio));
    fit.append(picture(item.after, "after", `${item.name}, cutout by ${item.model}`), picture(item.before, "before", ""));
    stage.append(fit);
    if (item.cutouts.length > 1) stage.append(make("span", "badge", `${item.cutouts.length} faces`));
    card.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse") fit.style.setProperty("--cut", `${shareOf(fit, event)}%`);
    });
    card.addEventListener("pointerleave", () => fit.style.setProperty("--cut", "0%"));
    card.addEventListener("click", () => this.viewer.open(item.id));
  }
}

class Viewer {
  constructor(dialog, cardOf) {
    this.dialog = dialog;
    this.stage = dialog.querySelector(".big");
    this.fit = dialog.querySelector(".fit");
    this.slider = dialog.querySelector(".slide input");
    this.items = [];
    this.id = null;
    this.sought = null;
    this.step = new Step(dialog, "task", [], (id) => this.moved(id));
    this.slider.addEventListener("input", () => this.cut(Number(this.slider.value)));
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) return dialog.close();
      const action = event.target.closest("[data-do]")?.dataset.do;
      if (action && action !== "download") this.act(action);
    });
    dialog.addEventListener("keydown", (event) => this.key(event));
    dialog.addEventListener("close", () => {
      if (dialog.open) return; // opened again before this was told
      this.wish(NaN);
      this.step.set(null);
      cardOf(this.id)?.focus();
    });
    this.stage.addEventListener("pointerdown", (event) => {
      this.stage.setPointerCapture(event.pointerId);
      this.cut(shareOf(this.fit, event));
    });
    this.stage.addEventListener("pointermove", (event) => {
      if (event.buttons) this.cut(shareOf(this.fit, event));
    });
    this.backdrop(remembered("photoproc-backdrop", "checker"));
  }

  cut(share) {
    this.slider.value = String(share);
    this.fit.style.setProperty("--cut", `${share}%`);
  }

  // Open this task as soon as it is among the items.
  wish(id) {
    clearTimeout(this.giveUp);
    clearInterval(this.again);
    this.sought = Number.isInteger(id) ? { id, asked: false } : null;
    if (this.sought) {
      this.giveUp = setTimeout(() => this.wish(NaN), SOUGHT_FOR_MS);
      this.again = setInterval(() => this.dialog.isConnected && this.seek?.(id), SEEK_EVERY_MS);
    }
    this.dialog.classList.toggle("seeking", this.sought !== null);
  }

  // Show what the address says.
  moved(id) {
    if (id === null) return this.dialog.close();
    if (this.items.some((item) => item.id === Number(id))) this.open(Number(id));
    else this.wish(Number(id));
  }

  open(id) {
    this.wish(NaN);
    this.id = id;
    this.face = 0;
    if (!this.dialog.open) this.cut(0);
    this.show();
    if (!this.dialog.open) {
      this.dialog.showModal();
      this.stage.focus();
    }
  }

  refresh(data, seek) {
    this.items = data.items.filter((item) => item.after);
    this.where = data.place;
    this.step.note();
    this.seek = seek;
    this.dialog.querySelector("[data-do=backdrop]").hidden = data.opaque;
    this.fit.classList.toggle("opaque", data.opaque);
    if (this.sought && this.items.some((item) => item.id === this.sought.id)) this.open(this.sought.id);
    else if (this.sought && data.items.some((item) => item.id === this.sought.id)) this.wish(NaN); // nothing to see
    if (this.sought && !this.sought.asked) {
      this.sought.asked = true;
      seek(this.sought.id);
    }
    if (this.sought) return;
    if (!this.dialog.open) this.step.set(null);
    else if (this.at >= 0) this.place();
    else this.dialog.close();
  }

  get at() { return this.items.findIndex((item) => item.id === this.id); }

  // The task before (-1) or after (1) the one shown, on this page or the next.
  beside(step) {
    const item = this.items[this.at + step];
    return item ? item.id : step < 0 ? this.where.previous : this.where.next;
  }

  place() {
    this.dialog.querySelector(".place").textContent = `${this.where.first + this.at + 1} of ${this.where.total}`;
    this.dialog.querySelector("[data-do=previous]").disabled = this.beside(-1) === null;
    this.dialog.querySelector("[data-do=next]").disabled = this.beside(1) === null;
  }

  show() {
    const item = this.items[this.at];
    if (!item) return;
    this.place();
    this.step.set(item.id);
    const name = this.dialog.querySelector(".name");
    name.textContent = name.title = item.name;
    this.dialog.querySelector(".model").textContent = item.model;
    const { cutouts } = item, face = Math.min(this.face, cutouts.length - 1), cutout = cutouts[face];
    this.dialog.querySelector(".faces").hidden = cutouts.length < 2;
    this.dialog.querySelector(".face").textContent = `Face ${face + 1} of ${cutouts.length}`;
    this.dialog.querySelector("[data-do=up]").disabled = face === 0;
    this.dialog.querySelector("[data-do=down]").disabled = face === cutouts.length - 1;
    this.fit.style.setProperty("--ratio", String(cutout.ratio));
    const after = this.stage.querySelector(".after");
    after.src = cutout.after;
    after.alt = `${item.name}, cutout by ${item.model}`;
    // The small picture at once, the full one as soon as it is decoded.
    const full = new Image();
    full.src = cutout.full;
    full.decode().then(() => { if (this.id === item.id && this.face === face) after.src = cutout.full; }, () => {});
    this.stage.querySelector(".before").src = cutout.before;
    this.dialog.querySelector("[data-do=download]").href = cutout.download;
    const facts = this.dialog.querySelector(".facts");
    facts.replaceChildren();
    const notes = item.notes.map((note, place) => make("p", place < item.looks ? "note look" : "note", note));
    if (notes.length) facts.append(section("Notes", ...notes));
    facts.append(section("Cutout", list([["Size", cutout.size], ...item.facts])));
    facts.append(section("Files", files(cutout.files)), section("Time by step", list(item.steps)));
  }

  turnFace(step) {
    const last = (this.items[this.at]?.cutouts.length ?? 1) - 1;
    this.face = Math.min(last, Math.max(0, this.face + step));
    this.show();
  }

  act(action) {
    if (action === "close") this.dialog.close();
    if (action === "keys") {
      const keys = this.dialog.querySelector(".keys");
      keys.hidden = !keys.hidden;
      this.dialog.querySelector("[data-do=keys]").setAttribute("aria-expanded", String(!keys.hidden));
      if (!keys.hidden) keys.scrollIntoView({ block: "nearest" });
    }
    if (action === "backdrop") {
      const now = BACKDROPS.findIndex((name) => this.fit.classList.contains(name));
      this.backdrop(BACKDROPS[(now + 1) % BACKDROPS.length]);
    }
    const face = { up: -1, down: 1 }[action];
    if (face) this.turnFace(face);
    const step = { previous: -1, next: 1 }[action];
    if (step && !this.sought) this.turn(this.beside(step));
  }

  turn(id) {
    if (id === null) return;
    if (this.items.some((item) => item.id === id)) return this.open(id);
    this.wish(id);
    this.sought.asked = true;
    this.seek(id);
  }

  backdrop(name) {
    const chosen = BACKDROPS.includes(name) ? name : "checker";
    this.fit.classList.remove(...BACKDROPS);
    this.fit.classList.add(chosen);
    remember("photoproc-backdrop", chosen);
  }

  key(event) {
    event.stopPropagation();
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const sliding = event.target === this.slider;
    const pressing = event.target.closest?.("button, a");
    const done = {
      ArrowLeft: () => !sliding && this.act("previous"),
      ArrowRight: () => !sliding && this.act("next"),
      ArrowUp: () => !sliding && this.act("up"),
      ArrowDown: () => !sliding && this.act("down"),
      b: () => this.act("backdrop"),
      d: () => this.dialog.querySelector("[data-do=download]").click(),
      "?": () => this.act("keys"),
      " ": () => !pressing && this.cut(Number(this.slider.value) > 50 ? 0 : 100),
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (done && done() !== false) event.preventDefault();
  }
}

// How far from the left the pointer is over a node, 0 to 100.
function shareOf(node, event) {
  const box = node.getBoundingClientRect();
  return Math.min(100, Math.max(0, ((event.clientX - box.left) / box.width) * 100));
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

function files(all) {
  const found = make("div", "files");
  for (const [name, size, address] of all) {
    const link = make("a", "", name);
    link.href = address;
    link.append(make("span", "", size));
    found.append(link);
  }
  return found;
}
