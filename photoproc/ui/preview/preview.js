// One photo as a recipe makes it, before and after. `data`: {photo, name, small, ratio, address, looks: [{model, after,
// before, known}], clear}: what is asked for is `address` with a look's `after` or `before`. Where there are no looks
// (the options are not right yet) the last picture stays. The old picture is there until the new one is.

const previews = new WeakMap();
const BACKDROPS = ["checker", "white", "black"];
const KEPT = 16;
const AGAIN_MS = { weights_missing: 2500, superseded: 300, busy: 1500, offline: 3000 };

export default function ({ data, parentElement }) {
  let preview = previews.get(parentElement);
  if (!preview) previews.set(parentElement, (preview = new Preview(parentElement.querySelector(".pp"))));
  preview.update(data);
}

class Preview {
  constructor(root) {
    this.root = root;
    this.fit = root.querySelector(".fit");
    this.stage = root.querySelector(".stage");
    this.slider = root.querySelector(".slide input");
    this.pictures = new Pictures();
    this.asked = null;
    this.slider.addEventListener("input", () => this.cut(Number(this.slider.value)));
    root.querySelector("[data-do=before]").addEventListener("click", () => this.flip());
    root.querySelector("[data-do=backdrop]").addEventListener("click", () => {
      const now = BACKDROPS.findIndex((name) => this.fit.classList.contains(name));
      this.backdrop(BACKDROPS[(now + 1) % BACKDROPS.length]);
    });
    this.stage.addEventListener("keydown", (event) => this.key(event));
    this.stage.addEventListener("pointerdown", (event) => {
      this.stage.setPointerCapture(event.pointerId);
      this.cut(this.share(event));
    });
    this.stage.addEventListener("pointermove", (event) => event.buttons && this.cut(this.share(event)));
    root.querySelector(".tabs").addEventListener("click", (event) => this.tab(event.target.closest("button")));
    root.querySelector(".tabs").addEventListener("keydown", (event) => {
      const to = { ArrowRight: "nextElementSibling", ArrowLeft: "previousElementSibling" }[event.key];
      if (to) this.tab(event.target[to], true);
    });
    this.backdrop(remembered("photoproc-backdrop", "checker"));
    this.cut(0);
  }

  update(data) {
    const other = this.data?.photo !== data.photo;
    this.data = data;
    matchTheme(this.root);
    this.fit.querySelector(".after").alt = `${data.name}, as the options make it`;
    if (other) this.begin();
    if (!data.looks.length) return;
    if (!data.looks.some((look) => look.model === this.model)) this.model = data.looks[0].model;
    this.tabs();
    this.ask();
  }

  // Another photo: its small picture stands in for what is to come.
  begin() {
    this.root.classList.add("fresh");
    this.fit.style.setProperty("--ratio", String(this.data.ratio));
    this.show("after", this.data.small);
    this.show("before", null);
    this.opaque(true);
    this.notes([]);
    this.asked = null;
  }

  tabs() {
    const tabs = this.root.querySelector(".tabs"), models = this.data.looks.map((look) => look.model);
    tabs.hidden = models.length < 2;
    if (tabs.dataset.of !== models.join("\n")) {
      tabs.dataset.of = models.join("\n");
      tabs.replaceChildren(...models.map((model) => {
        const tab = make("button", "", model);
        tab.type = "button";
        tab.role = "tab";
        return tab;
      }));
    }
    for (const tab of tabs.children) {
      tab.setAttribute("aria-selected", String(tab.textContent === this.model));
      tab.tabIndex = tab.textContent === this.model ? 0 : -1;
    }
  }

  tab(button, focus) {
    if (!button || button.textContent === this.model) return;
    this.model = button.textContent;
    if (focus) button.focus();
    this.tabs();
    this.ask();
  }

  ask() {
    const look = this.data.looks.find((one) => one.model === this.model);
    const what = `${this.data.photo} ${look.after}`;
    if (this.asked === what) return;
    this.asked = what;
    this.fetch(look);
  }

  async fetch(look) {
    clearTimeout(this.again);
    this.control?.abort();
    const { signal } = (this.control = new AbortController());
    const { address, clear, photo } = this.data;
    this.busy(look);
    try {
      const after = await this.pictures.get(`${address}&show=after&recipe=${look.after}`, `${photo} ${look.after}`, signal);
      if (signal.aborted) return;
      this.root.classList.remove("fresh");
      this.fit.style.setProperty("--ratio", String(after.ratio));
      this.opaque(!clear);
      this.show("after", after.source);
      this.notes(after.count > 1 ? [...after.warnings, { message: `One of ${after.count} cutouts.` }] : after.warnings);
      this.rest();
      if (this.frame !== `${photo} ${look.before}`) this.show("before", null);
      const before = await this.pictures.get(
        `${address}&show=before&recipe=${look.before}`, `${photo} before ${look.before}`, signal);
      if (signal.aborted) return;
      this.frame = `${photo} ${look.before}`;
      this.show("before", before.source);
    } catch (problem) {
      if (!signal.aborted) this.failed(problem, look);
    }
  }

  failed(problem, look) {
    const wait = AGAIN_MS[problem.code] ?? (problem.status >= 503 ? AGAIN_MS.busy : 0);
    if (wait) {
      this.again = setTimeout(() => this.root.isConnected && this.fetch(look), wait);
      if (problem.code === "superseded") return;
    } else this.rest();
    this.say(problem.title, problem.detail);
  }

  busy(look) {
    this.root.classList.add("busy");
    this.root.querySelector(".line").hidden = false;
    this.root.setAttribute("aria-busy", "true");
    const known = look.known || this.pictures.seen.has(`${this.data.photo} ${look.model}`);
    if (known) this.say("");
    else this.say("Finding the subject …", "The first look takes a few seconds.");
  }

  rest() {
    this.pictures.seen.add(`${this.data.photo} ${this.model}`);
    this.root.classList.remove("busy");
    this.root.querySelector(".line").hidden = true;
    this.root.setAttribute("aria-busy", "false");
    this.say("");
  }

  say(title, detail = "") {
    const said = this.root.querySelector(".said");
    said.hidden = !title;
    if (title) said.replaceChildren(make("b", "", title), " ", make("span", "", detail));
  }

  notes(warnings) {
    this.root.querySelector(".notes").replaceChildren(...warnings.map((one) => make("li", "", one.message)));
  }

  show(which, source) {
    const image = this.fit.querySelector(`.${which}`);
    if (source) image.src = source;
    else image.removeAttribute("src");
  }

  opaque(yes) {
    this.fit.classList.toggle("opaque", yes);
    this.root.querySelector("[data-do=backdrop]").style.visibility = yes ? "hidden" : "";
  }

  backdrop(name) {
    const chosen = BACKDROPS.includes(name) ? name : "checker";
    this.fit.classList.remove(...BACKDROPS);
    this.fit.classList.add(chosen);
    remember("photoproc-backdrop", chosen);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const by = { ArrowLeft: -5, ArrowRight: 5 }[event.key];
    if (by) this.cut(Number(this.slider.value) + by);
    else if (event.key === " ") this.flip();
    else return;
    event.preventDefault();
  }

  flip() { this.cut(Number(this.slider.value) > 50 ? 0 : 100); }

  cut(share) {
    const to = Math.min(100, Math.max(0, share));
    this.slider.value = String(to);
    this.fit.style.setProperty("--cut", `${to}%`);
    this.fit.classList.toggle("cut", to > 0 && to < 100);
    this.root.querySelector("[data-do=before]").setAttribute("aria-pressed", String(to > 50));
  }

  share(event) {
    const box = this.fit.getBoundingClientRect();
    return ((event.clientX - box.left) / box.width) * 100;
  }
}

// Pictures that were fetched, the last ones kept; each is decoded before it is given.
class Pictures {
  constructor() {
    this.kept = new Map();
    this.seen = new Set();
  }

  async get(address, name, signal) {
    const kept = this.kept.get(name);
    if (kept) return kept;
    const answer = await fetch(address, { signal }).catch(() => {
      throw { code: "offline", title: "The server does not answer.", detail: "Trying again …" };
    });
    if (!answer.ok) throw { status: answer.status, ...(await problemOf(answer)) };
    const warnings = JSON.parse(decodeURIComponent(answer.headers.get("X-Warnings") ?? "%5B%5D"));
    const source = URL.createObjectURL(await answer.blob());
    const image = new Image();
    image.src = source;
    await image.decode();
    const count = Number(answer.headers.get("X-Cutouts") ?? 1);
    const made = { source, warnings, count, ratio: image.naturalWidth / image.naturalHeight };
    this.kept.set(name, made);
    for (const [old, { source: gone }] of this.kept) {
      if (this.kept.size <= KEPT) break;
      this.kept.delete(old);
      URL.revokeObjectURL(gone);
    }
    return made;
  }
}

async function problemOf(answer) {
  try {
    return await answer.json();
  } catch {
    return { title: "There is no preview of this photo.", detail: "" };
  }
}
