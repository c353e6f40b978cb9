// Photos by how much their masks differ, and a viewer in which all models move together.
// `data.models`: names; `data.items`: [{id, name, ratio, small, photo, heat, disagreement, edge, apart, uncertain, looks, shots}], `shots` one
// a model: {model, time, said, full, preview, width, ratio, notes}; `data.opaque`: no backdrop shows through. The opened photo is in
// the address (`photo`). Places of the viewer are shares of a pane, so that all panes show the same part.

const comparisons = new WeakMap();
const BACKDROPS = ["checker", "white", "black", "colour", "original"];
const MODES = { s: "side", w: "swipe", f: "flick", d: "heat" };
const MOST = 4; // times the cutout's own pixels
const STEP = 1.25;

export default function ({ data, parentElement }) {
  let found = comparisons.get(parentElement);
  if (!found) comparisons.set(parentElement, (found = new Compare(parentElement.querySelector(".pp"))));
  found.update(data);
}

class Compare {
  constructor(root) {
    this.root = root;
    this.grid = root.querySelector(".grid");
    this.cards = new Map();
    this.sort = root.querySelector("select");
    this.only = root.querySelector("[data-only]");
    this.heat = root.querySelector("[data-heat]");
    this.viewer = new Viewer(root.querySelector("dialog"), () => this.shown, (id) => this.cards.get(id)?.node);
    this.heat.checked = remembered("photoproc-heat", "1") === "1";
    this.sort.addEventListener("change", () => this.draw());
    this.only.addEventListener("change", () => this.draw());
    this.heat.addEventListener("change", () => {
      remember("photoproc-heat", this.heat.checked ? "1" : "0");
      this.draw();
    });
    this.wanted = inAddress();
  }

  update(data) {
    matchTheme(this.root);
    this.data = data;
    if (this.sort.dataset.of !== data.models.join("\n")) {
      this.sort.dataset.of = data.models.join("\n");
      this.sort.replaceChildren(new Option("all models", ""), ...(data.models.length > 2
        ? data.models.map((name) => new Option(`${name} against the others`, name)) : []));
      this.root.querySelector(".sort").hidden = data.models.length < 3;
    }
    this.draw();
    if (this.wanted !== null && this.shown.some((item) => item.id === this.wanted)) {
      this.viewer.open(this.wanted);
      this.wanted = null;
    }
  }

  draw() {
    const { items } = this.data, by = this.sort.value;
    const far = (item) => (by ? item.apart[by] : item.disagreement) ?? -1;
    this.shown = items.filter((item) => !this.only.checked || item.looks).sort((one, other) => other.uncertain - one.uncertain || far(other) - far(one) || one.id - other.id);
    this.root.classList.toggle("noheat", !this.heat.checked);
    this.root.querySelector(".only").hidden = !items.some((item) => item.looks) && !this.only.checked;
    const count = this.shown.length === items.length ? `${items.length}` : `${this.shown.length} of ${items.length}`;
    this.root.querySelector(".count").textContent = `${count} ${items.length === 1 ? "photo" : "photos"}`;
    const worst = Math.max(0.02, ...items.map(far));
    inPlace(this.grid, this.cards, this.shown.map((item) => ({ ...item, far: far(item), share: far(item) / worst })), (item) => this.card(item));
    this.viewer.refresh(this.data);
  }

  card(item) {
    const card = make("button", "card");
    card.type = "button";
    const stage = make("div", "stage");
    if (item.small) {
      const fit = make("div", "fit");
      fit.style.setProperty("--ratio", String(item.ratio));
      fit.append(picture(item.small, "photo", item.name));
      if (item.heat) fit.append(picture(item.heat, "heat", ""));
      stage.append(fit);
    } else stage.append(make("div", "none", item.shots[0].said));
    const foot = make("div", "foot"), name = make("span", "name", item.name), meter = make("div", "meter"), bar = make("i");
    name.title = item.name;
    bar.style.width = `${Math.max(0, item.share) * 100}%`;
    meter.append(bar);
    foot.append(name, make("span", "far", item.far < 0 ? "not compared" : percent(item.far)), meter);
    if (item.uncertain) foot.append(make("span", "look", "needs a look: a model disagrees with itself"));
    card.append(stage, foot);
    card.addEventListener("click", () => this.viewer.open(item.id));
    return card;
  }
}

class Viewer {
  constructor(dialog, itemsOf, cardOf) {
    Object.assign(this, { dialog, itemsOf, id: null, alone: null, cutAt: 50, view: { x: 0, y: 0, z: 1 }, touches: new Map() });
    this.panes = dialog.querySelector(".panes");
    this.slide = dialog.querySelector(".slide");
    this.mode = remembered("photoproc-compare", "side");
    this.backdrop = remembered("photoproc-backdrop", "checker");
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) return dialog.close();
      const button = event.target.closest("button");
      if (button?.dataset.mode) this.turnTo(button.dataset.mode);
      else if (button) this.act(button.dataset.do);
    });
    dialog.addEventListener("keydown", (event) => this.key(event));
    dialog.addEventListener("close", () => { address(null); cardOf(this.id)?.focus(); });
    this.slide.querySelector("input").addEventListener("input", (event) => this.cut(Number(event.target.value)));
    this.panes.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? STEP : 1 / STEP, this.spot(event));
    }, { passive: false });
    this.panes.addEventListener("dblclick", (event) => this.act("fit", this.spot(event)));
    this.panes.addEventListener("pointerdown", (event) => this.down(event));
    this.panes.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) this.panes.addEventListener(end, (event) => this.up(event));
  }

  get items() { return this.itemsOf(); }
  get at() { return this.items.findIndex((item) => item.id === this.id); }
  get item() { return this.items[this.at]; }

  refresh(data) {
    this.data = data;
    if (!this.dialog.open) return;
    if (!this.item) return this.dialog.close();
    const now = JSON.stringify(this.item);
    if (now !== this.drawn) this.show();
    else this.place();
  }

  open(id) {
    this.id = id;
    this.view = { x: 0, y: 0, z: 1 };
    this.show();
    if (!this.dialog.open) {
      this.dialog.showModal();
      this.panes.focus();
    }
    this.move();
  }

  place() {
    this.dialog.querySelector(".place").textContent = `${this.at + 1} of ${this.items.length}`;
    this.dialog.querySelector("[data-do=previous]").disabled = this.at <= 0;
    this.dialog.querySelector("[data-do=next]").disabled = this.at >= this.items.length - 1;
  }

  // Draw the photo that is open, as the mode has it.
  show() {
    const { item } = this;
    this.drawn = JSON.stringify(item);
    address(item.id);
    this.place();
    const name = this.dialog.querySelector(".what .name");
    name.textContent = name.title = item.name;
    this.dialog.querySelector(".what .far").textContent = item.disagreement === null ? ""
      : `disagreement ${percent(item.disagreement)}, at the edges ${percent(item.edge)}`;
    if (this.alone >= item.shots.length) this.alone = null;
    for (const button of this.dialog.querySelectorAll("[data-mode]")) button.setAttribute("aria-pressed", String(button.dataset.mode === this.mode));
    this.dialog.querySelector("[data-do=backdrop]").hidden = this.data.opaque;
    const good = item.shots.filter((shot) => shot.full);
    const panes = { side: () => this.side(item), swipe: () => this.swipe(good), flick: () => this.flick(item), heat: () => [this.difference(item)] }[this.mode]();
    this.panes.replaceChildren(...panes);
    const sliding = this.slide.contains(this.slide.getRootNode().activeElement);
    this.slide.hidden = this.mode !== "swipe" || good.length < 2;
    if (sliding && this.slide.hidden) this.panes.focus(); // or keys would go nowhere
    this.cut(this.cutAt);
    this.move();
  }

  side(item) {
    const chosen = this.alone === null ? item.shots : [item.shots[this.alone]];
    return chosen.map((shot) => this.pane([shot], item.shots.indexOf(shot)));
  }

  swipe(good) {
    const first = good[this.alone ?? 0] ?? good[0], second = good.find((shot) => shot !== first);
    if (!first || !second) return this.side(this.item);
    this.slide.querySelector(".left").textContent = first.model;
    this.slide.querySelector(".right").textContent = second.model;
    return [this.pane([second, first])];
  }

  flick(item) {
    const at = this.alone ?? 0;
    return [this.pane([item.shots[at]], at)];
  }

  difference(item) {
    const pane = make("div", "pane"), fit = this.hold(pane, item.ratio);
    if (item.photo) fit.append(picture(item.photo, "photo", item.name));
    if (item.heat) fit.append(picture(item.heat, "heat", "Where the masks differ"));
    pane.append(make("span", "label", item.heat ? "Where masks differ: yellow a little, red much" : "There are not two masks to compare"));
    return pane;
  }

  hold(pane, ratio) {
    const hold = make("div", "hold"), fit = make("div", "fit");
    fit.style.setProperty("--ratio", String(ratio));
    hold.append(fit);
    pane.append(hold);
    return fit;
  }

  // A pane with one shot, or with the second over the first, cut where the slider is.
  pane(shots, number) {
    const pane = make("div", "pane"), { item } = this;
    if (!shots[0].full) {
      pane.append(make("div", "none", `${shots[0].model}: ${shots[0].said}`));
      return pane;
    }
    shots.forEach((shot, layer) => {
      const fit = this.hold(pane, shot.ratio);
      fit.classList.add(this.data.opaque ? "opaque" : this.backdrop);
      if (layer) fit.parentElement.classList.add("cut");
      fit.append(picture(item.small, "under", ""), this.image(shot));
    });
    if (shots.length > 1) pane.append(make("div", "edge"));
    const label = make("span", "label"), shot = shots[0];
    if (shots.length === 1) {
      label.append(make("b", "", `${number + 1}  ${shot.model}`), shot.time ? `  ${shot.time}` : "");
      label.title = shot.notes.join(" ");
      pane.append(label);
    }
    return pane;
  }

  // The small picture at once, the full one as soon as it is decoded.
  image(shot) {
    const image = picture(shot.preview, "after", `${this.item.name}, cutout by ${shot.model}`);
    image.loading = "eager";
    image.dataset.model = shot.model;
    const full = new Image();
    full.src = shot.full;
    full.decode().then(() => { image.src = shot.full; image.dataset.full = "1"; }, () => {});
    return image;
  }

  cut(at) {
    this.cutAt = Math.min(100, Math.max(0, at));
    this.slide.querySelector("input").value = String(this.cutAt);
    this.panes.style.setProperty("--cut", `${this.cutAt}%`);
  }

  // Zoom 1 fits the pane; this is what shows the cutout's own pixels.
  get whole() {
    const box = this.panes.firstElementChild?.getBoundingClientRect(), shot = this.item.shots.find((one) => one.full);
    if (!box || !shot) return 1;
    return shot.width / Math.min(box.width, box.height * shot.ratio);
  }

  zoom(by, spot = { x: 0, y: 0 }) { this.zoomTo(this.view.z * by, spot); }

  zoomTo(wanted, spot = { x: 0, y: 0 }) {
    const z = Math.min(Math.max(1, MOST * this.whole), Math.max(1, wanted)), by = z / this.view.z;
    // What is under the pointer stays there.
    this.view = { z, x: spot.x - (spot.x - this.view.x) * by, y: spot.y - (spot.y - this.view.y) * by };
    this.move();
  }

  // Where an event is in its pane, from the middle, as shares of it.
  spot(event) {
    const pane = [...this.panes.children].find((one) => { const box = one.getBoundingClientRect(); return event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom; }) ?? this.panes.firstElementChild;
    const box = pane.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width - 0.5, y: (event.clientY - box.top) / box.height - 0.5 };
  }

  move() {
    const { z } = this.view, most = z / 2;
    this.view.x = z === 1 ? 0 : Math.min(most, Math.max(-most, this.view.x));
    this.view.y = z === 1 ? 0 : Math.min(most, Math.max(-most, this.view.y));
    this.panes.style.setProperty("--x", String(this.view.x));
    this.panes.style.setProperty("--y", String(this.view.y));
    this.panes.style.setProperty("--z", String(z));
    const share = z / this.whole;
    this.panes.classList.toggle("crisp", share > 2);
    this.dialog.querySelector(".zoom").textContent = z === 1 ? "Fit" : `${Math.round(share * 100)} %`;
  }

  down(event) {
    this.panes.setPointerCapture(event.pointerId);
    this.touches.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.panes.classList.add("moving");
  }

  drag(event) {
    const before = this.touches.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY }, box = this.panes.firstElementChild.getBoundingClientRect();
    const other = [...this.touches].find(([id]) => id !== event.pointerId)?.[1];
    this.touches.set(event.pointerId, now);
    if (other) {
      const apart = (one) => Math.hypot(one.x - other.x, one.y - other.y);
      const middle = { clientX: (now.x + other.x) / 2, clientY: (now.y + other.y) / 2 };
      this.zoom(apart(now) / Math.max(1, apart(before)), this.spot(middle));
    }
    const share = other ? 0.5 : 1;
    this.view.x += share * (now.x - before.x) / box.width;
    this.view.y += share * (now.y - before.y) / box.height;
    this.move();
  }

  up(event) {
    this.touches.delete(event.pointerId);
    if (!this.touches.size) this.panes.classList.remove("moving");
  }

  turnTo(mode) {
    this.mode = mode;
    remember("photoproc-compare", mode);
    this.show();
  }

  act(action, spot) {
    const step = { previous: -1, next: 1 }[action];
    if (step && this.items[this.at + step]) {
      this.id = this.items[this.at + step].id; // the same part stays in sight
      this.show();
    }
    if (action === "in") this.zoom(STEP * STEP);
    if (action === "out") this.zoom(1 / (STEP * STEP));
    if (action === "fit") this.zoomTo(this.view.z > 1 ? 1 : Math.max(this.whole, 1.5), spot);
    if (action === "backdrop") {
      this.backdrop = BACKDROPS[(BACKDROPS.indexOf(this.backdrop) + 1) % BACKDROPS.length];
      remember("photoproc-backdrop", this.backdrop);
      for (const fit of this.panes.querySelectorAll(".hold .fit:not(:has(.heat))")) {
        fit.classList.remove(...BACKDROPS);
        fit.classList.add(this.backdrop);
      }
    }
    if (action === "keys") {
      const keys = this.dialog.querySelector(".keys");
      keys.hidden = !keys.hidden;
      this.dialog.querySelector("[data-do=keys]").setAttribute("aria-expanded", String(!keys.hidden));
    }
    if (action === "close") this.dialog.close();
  }

  other() {
    if (this.mode === "swipe") return this.cut(this.cutAt > 50 ? 0 : 100);
    this.alone = ((this.alone ?? 0) + 1) % this.item.shots.length;
    if (this.mode !== "flick") this.turnTo("flick");
    else this.show();
  }

  key(event) {
    event.stopPropagation();
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const sliding = event.target.matches?.("input"), pressing = event.target.closest?.("button");
    const arrow = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
    const letter = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (arrow && event.shiftKey) {
      this.view.x += arrow[0];
      this.view.y += arrow[1];
      this.move();
    } else if ((event.key === "ArrowLeft" || event.key === "ArrowRight") && !sliding) this.act(event.key === "ArrowLeft" ? "previous" : "next");
    else if (letter in MODES) this.turnTo(MODES[letter]);
    else if (letter >= "1" && letter <= "4" && this.item.shots[letter - 1]) {
      this.alone = this.alone === letter - 1 ? null : letter - 1;
      this.show();
    } else if (letter === "+" || letter === "=") this.act("in");
    else if (letter === "-") this.act("out");
    else if (letter === "0") this.zoomTo(1);
    else if (letter === "b") this.act("backdrop");
    else if (letter === "?") this.act("keys");
    else if (letter === " " && !pressing) this.other();
    else return;
    event.preventDefault();
  }
}

function percent(share) {
  return share < 0.0995 ? `${(share * 100).toFixed(1)} %` : `${Math.round(share * 100)} %`;
}

function picture(source, className, text) {
  const image = make("img", className);
  image.loading = "lazy";
  image.decoding = "async";
  image.draggable = false;
  image.src = source;
  image.alt = text;
  return image;
}

function inAddress() {
  const found = new URLSearchParams(location.search).get("photo");
  return found === null || found === "" ? null : Number(found);
}

function address(id) {
  const url = new URL(location.href);
  if (id === null) url.searchParams.delete("photo");
  else url.searchParams.set("photo", String(id));
  if (url.href !== location.href) history.replaceState(history.state, "", url);
}
