// The viewer: two to four models of a photo, side by side or one over the other, which are panned and zoomed together.
// Places are shares of a pane, so that all panes show the same part.

const BACKDROPS = ["checker", "white", "black", "colour", "original"];
const MODES = { s: "side", w: "swipe", f: "flick", d: "heat" };
const MOST = 4; // times the cutout's own pixels
const MOST_PANES = 4;
const STEP = 1.25;
const ENOUGH = 0.97; // of the pixels a picture is shown with: nobody sees the rest

class Viewer {
  constructor(dialog, page) {
    Object.assign(this, { dialog, page, id: null, ids: [], alone: null, cutAt: 50, view: { x: 0, y: 0, z: 1 }, touches: new Map() });
    this.panes = dialog.querySelector(".panes");
    this.slide = dialog.querySelector(".slide");
    this.mode = remembered("photoproc-compare", "side");
    this.lanes = (inAddress("panes") ?? "").split(".").filter((part) => /^\d+$/.test(part)).map(Number);
    this.which = dialog.querySelector(".which");
    this.backdrops = dialog.querySelector("[data-backdrop]");
    this.colour = dialog.querySelector("[data-colour]");
    this.colour.value = remembered("photoproc-colour", "#1fbf5b");
    this.backdrop = remembered("photoproc-backdrop", "checker");
    this.backdrops.addEventListener("change", () => { this.put(this.backdrops.value); this.panes.focus(); });
    this.colour.addEventListener("input", () => { remember("photoproc-colour", this.colour.value); this.put("colour"); });
    this.tags = new TagRow(dialog.querySelector(".tagrow"), dialog.querySelector("[data-do=tags]"), {
      edit: () => this.data.edit,
      known: () => page.known(),
      item: () => this.item,
      tagged: page.tagged,
      left: () => this.panes.focus(),
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) return dialog.close();
      const button = event.target.closest("button");
      if (button?.dataset.mode === "flick" && this.mode === "flick") this.other();
      else if (button?.dataset.mode) this.turnTo(button.dataset.mode);
      else if (button?.dataset.lane) this.toggle(Number(button.dataset.lane));
      else if (button?.dataset.do) this.act(button.dataset.do);
    });
    dialog.addEventListener("keydown", (event) => this.key(event));
    dialog.addEventListener("close", () => {
      if (dialog.open) return; // opened again before this was told
      page.step.set(null);
      page.card(this.id)?.focus();
    });
    new ResizeObserver(() => this.sharpen()).observe(this.panes);
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

  // The photos that were shown when it was opened: what is filtered or sorted anew meanwhile moves nothing here.
  get items() {
    const now = new Map(this.page.items().map((item) => [item.id, item]));
    return this.ids.map((id) => now.get(id)).filter(Boolean);
  }
  get at() { return this.items.findIndex((item) => item.id === this.id); }
  get item() { return this.items[this.at]; }

  // What the shown models made of the open photo, in the models' order.
  get shots() {
    const { shots } = this.item, chosen = this.lanes.filter((lane) => lane < shots.length);
    const shown = chosen.length ? chosen.slice(0, MOST_PANES) : [...shots.keys()].slice(0, MOST_PANES);
    return [...shown].sort((one, other) => one - other).map((lane) => shots[lane]);
  }

  refresh(data) {
    this.data = data;
    if (!this.dialog.open) return;
    if (!this.item) return this.dialog.close();
    // Panes are drawn anew only where their pictures are others, or who has zoomed in would lose them.
    if (this.pictures(this.item) !== this.pictured) this.show();
    else this.tell(this.item);
  }

  // What the panes show of a photo.
  pictures(item) {
    const shots = item.shots.map(({ model, full, said, time, notes }) => [model, full, said, time, notes]);
    return JSON.stringify([item.id, shots, this.mode === "heat" ? [item.heat, item.photo] : item.small]);
  }

  open(id) {
    this.id = id;
    this.view = { x: 0, y: 0, z: 1 };
    const shown = this.page.shown();
    this.ids = (shown.some((item) => item.id === id) ? shown : this.page.items()).map((item) => item.id);
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
    this.pictured = this.pictures(item);
    this.page.step.set(item.id);
    this.tell(item);
    const { shots } = this;
    if (this.alone >= shots.length) this.alone = null;
    for (const button of this.dialog.querySelectorAll("[data-mode]")) button.setAttribute("aria-pressed", String(button.dataset.mode === this.mode));
    this.backdrops.hidden = this.data.opaque;
    this.put(this.backdrop);
    const good = shots.filter((shot) => shot.full);
    const panes = { side: () => this.side(shots), swipe: () => this.swipe(good), flick: () => this.flick(shots), heat: () => [this.difference(item)] }[this.mode]();
    this.panes.replaceChildren(...panes);
    const sliding = this.slide.contains(this.slide.getRootNode().activeElement);
    this.slide.hidden = this.mode !== "swipe" || good.length < 2;
    if (sliding && this.slide.hidden) this.panes.focus(); // or keys would go nowhere
    this.cut(this.cutAt);
    this.move();
    this.sharpen();
  }

  // Say in words what is known of a photo.
  tell(item) {
    this.place();
    const name = this.dialog.querySelector(".what .name");
    name.textContent = name.title = item.name;
    this.dialog.querySelector(".what .far").textContent = item.disagreement === null ? ""
      : `disagreement ${percent(item.disagreement)}, at the edges ${percent(item.edge)}`;
    this.offer(item);
    this.tags.show(item);
  }

  side(shots) {
    const chosen = this.alone === null ? shots : [shots[this.alone]];
    return chosen.map((shot) => this.pane([shot], shots.indexOf(shot)));
  }

  swipe(good) {
    const first = good[this.alone ?? 0] ?? good[0], second = good.find((shot) => shot !== first);
    if (!first || !second) return this.side(this.shots);
    this.slide.querySelector(".left").textContent = first.model;
    this.slide.querySelector(".right").textContent = second.model;
    return [this.pane([second, first])];
  }

  flick(shots) {
    const at = this.alone ?? 0;
    return [this.pane([shots[at]], at)];
  }

  // More models than panes: which of them are shown.
  offer(item) {
    const { shots } = this, many = item.shots.length;
    this.which.hidden = many <= MOST_PANES;
    const now = JSON.stringify(item.shots.map((shot) => [shot.model, shots.includes(shot)]));
    if (this.which.hidden || this.which.dataset.of === now) return;
    this.which.dataset.of = now;
    item.shots.forEach((shot, lane) => {
      const button = this.which.children[lane + 1] ?? this.which.appendChild(make("button", "tool", shot.model));
      button.type = "button";
      button.dataset.lane = lane;
      button.setAttribute("aria-pressed", String(shots.includes(shot)));
    });
  }

  // Show a model or not; with one too many, the one that was chosen first goes.
  toggle(lane) {
    const shots = this.item.shots, shown = this.lanes.length ? this.lanes : [...shots.keys()].slice(0, MOST_PANES);
    if (shown.includes(lane) && shown.length === 1) return;
    this.lanes = shown.includes(lane) ? shown.filter((one) => one !== lane) : [...shown, lane].slice(-MOST_PANES);
    this.alone = null;
    address({ panes: this.lanes.join(".") });
    this.show();
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
    const label = make("span", "label"), shot = shots[0];
    if (shots.length > 1) {
      pane.append(make("div", "edge"), make("span", "label", shots[1].model), make("span", "label right", shot.model));
    }
    if (shots.length === 1) {
      label.append(make("b", "", `${number + 1}  ${shot.model}`), shot.time ? `  ${shot.time}` : "");
      label.title = shot.notes.join(" ");
      pane.append(label);
    }
    return pane;
  }

  // The small picture at once, a better one as soon as it is decoded.
  image(shot) {
    const image = picture(shot.preview, "after", `${this.item.name}, cutout by ${shot.model}`);
    image.loading = "eager";
    image.dataset.model = shot.model;
    image.shot = shot;
    image.addEventListener("load", () => this.better(image));
    return image;
  }

  sharpen() {
    for (const image of this.panes.querySelectorAll("img.after")) this.better(image);
  }

  // See that a picture has the pixels it is shown with: the smallest level that has them, or the full one.
  // `data-sharp` says that it has; `data-full` that these are the cutout's own.
  async better(image) {
    const { shot } = image, need = image.parentElement.offsetWidth * this.view.z * devicePixelRatio;
    if (!image.naturalWidth || !need) return;
    if (image.dataset.full || image.naturalWidth >= ENOUGH * need) {
      image.dataset.sharp = "1";
      if (![...this.panes.querySelectorAll("img.after")].every((one) => one.dataset.sharp)) return;
      for (const near of [this.items[this.at + 1], this.items[this.at - 1]]) { // what is looked at next
        for (const one of near?.shots ?? []) if (one.preview) new Image().src = one.preview;
      }
      return;
    }
    delete image.dataset.sharp;
    const [, source] = (image.levels ?? shot.levels).find(([wide]) => wide >= ENOUGH * need) ?? [0, shot.full];
    if (image.coming === source) return;
    image.coming = source;
    const coming = new Image();
    coming.src = source;
    const good = await coming.decode().then(() => true, () => false);
    if (image.coming !== source) return; // another is wanted meanwhile
    if (good) {
      if (source === shot.full) image.dataset.full = "1";
      image.src = source;
    } else if (source === shot.full) image.dataset.full = "0"; // this browser cannot show it: the best there is
    else image.levels = [];
    this.better(image);
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
    this.sharpen();
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
    // The line of a swipe is taken anywhere where the picture cannot be moved, else near it.
    const swiping = this.mode === "swipe" && this.touches.size === 1 && this.panes.querySelector(".edge");
    this.cutting = Boolean(swiping) && (this.view.z === 1 || Math.abs(this.across(event) - this.cutAt) < 4);
    this.tapped = this.touches.size === 1 ? { x: event.clientX, y: event.clientY } : null;
    this.panes.classList.toggle("moving", !this.cutting);
  }

  // Where an event is in its pane, from the left, in per cent.
  across(event) { return 100 * (this.spot(event).x + 0.5); }

  drag(event) {
    const before = this.touches.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY }, box = this.panes.firstElementChild.getBoundingClientRect();
    const other = [...this.touches].find(([id]) => id !== event.pointerId)?.[1];
    this.touches.set(event.pointerId, now);
    if (this.tapped && Math.hypot(now.x - this.tapped.x, now.y - this.tapped.y) > 6) this.tapped = null;
    if (this.cutting && !other) return this.cut(this.across(event));
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

  // A tap shows the next model of a flick, and brings the line of a swipe.
  up(event) {
    if (this.touches.size === 1 && this.tapped && event.type === "pointerup" && !event.button) {
      if (this.mode === "flick") this.other();
      else if (this.cutting) this.cut(this.across(event));
    }
    this.tapped = null;
    this.touches.delete(event.pointerId);
    if (!this.touches.size) this.panes.classList.remove("moving");
  }

  turnTo(mode) {
    if (mode === "side" || (mode === "swipe" && this.mode !== "swipe")) this.alone = null; // all of them again
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
    if (action === "backdrop") this.put(BACKDROPS[(BACKDROPS.indexOf(this.backdrop) + 1) % BACKDROPS.length]);
    if (action === "tags" && !this.dialog.querySelector("[data-do=tags]").hidden) this.tags.toggle();
    if (action === "keys") {
      const keys = this.dialog.querySelector(".keys");
      keys.hidden = !keys.hidden;
      this.dialog.querySelector("[data-do=keys]").setAttribute("aria-expanded", String(!keys.hidden));
    }
    if (action === "close") this.dialog.close();
  }

  // Put the cutouts on a backdrop.
  put(backdrop) {
    this.backdrop = BACKDROPS.includes(backdrop) ? backdrop : BACKDROPS[0];
    remember("photoproc-backdrop", this.backdrop);
    this.backdrops.value = this.backdrop;
    this.colour.hidden = this.data.opaque || this.backdrop !== "colour";
    this.panes.style.setProperty("--own", this.colour.value);
    for (const fit of this.panes.querySelectorAll(".hold .fit:not(:has(.heat), .opaque)")) {
      fit.classList.remove(...BACKDROPS);
      fit.classList.add(this.backdrop);
    }
  }

  other() {
    if (this.mode === "swipe") return this.cut(this.cutAt > 50 ? 0 : 100);
    this.alone = ((this.alone ?? 0) + 1) % this.shots.length;
    if (this.mode !== "flick") this.turnTo("flick");
    else this.show();
  }

  key(event) {
    event.stopPropagation();
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("select, [type=text], [type=color]")) return;
    const sliding = event.target.matches?.("input"), pressing = event.target.closest?.("button");
    const arrow = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
    const letter = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (arrow && event.shiftKey) {
      this.view.x += arrow[0];
      this.view.y += arrow[1];
      this.move();
    } else if ((event.key === "ArrowLeft" || event.key === "ArrowRight") && !sliding) this.act(event.key === "ArrowLeft" ? "previous" : "next");
    else if (letter in MODES) this.turnTo(MODES[letter]);
    else if (letter >= "1" && letter <= "4" && this.shots[letter - 1]) {
      this.alone = this.alone === letter - 1 ? null : letter - 1;
      this.show();
    } else if (letter === "+" || letter === "=") this.act("in");
    else if (letter === "-") this.act("out");
    else if (letter === "0") this.zoomTo(1);
    else if (letter === "b" && !this.data.opaque) this.act("backdrop");
    else if (letter === "t") this.act("tags");
    else if (letter === "?") this.act("keys");
    else if (letter === " " && !pressing) this.other();
    else return;
    event.preventDefault();
  }
}
