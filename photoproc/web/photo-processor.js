/**
 * <photo-processor>: photos in, cutouts out, in any web page. One file, no dependencies.
 *
 *   <script type="module" src="https://photos.example/api/client/photo-processor.js"></script>
 *   <photo-processor endpoint="https://photos.example/api/v1"></photo-processor>
 *
 * Attributes (each also a property of the same name)
 *   endpoint   where the API is; default "/api/v1"
 *   key        the API key; without one the element asks for it where the server wants one
 *   models     the models to offer, "u2net, u2netp" (as a property also an array); default all
 *   theme      "light" or "dark"; default what the reader's system prefers
 *   job        id of a job to show; set by the element when it starts one, so that it can be kept
 *
 * Read-only properties
 *   phase      "choosing" | "uploading" | "running" | "finished"
 *   transport  how progress arrives: "socket" | "polling" | "" (not at the moment)
 *   result     the job as the API last told it, or null
 *
 * Methods
 *   add(files)  take an array or FileList of photos and ZIPs; returns how many were new
 *   start()     upload and process what was added, with the options chosen
 *   cancel()    stop the upload, or cancel the job (what is finished is kept)
 *   reset()     forget photos and job, and begin again
 *
 * Events (none bubbles)
 *   progress   detail {phase, uploaded, total, job, transport}: bytes while uploading, the job afterwards
 *   done       detail {job}: the job is done, failed or cancelled
 *   error      detail {code, message, advice, files}
 *   job        detail {id}: a job was started or opened; null after reset
 *
 * Looks: --pp-accent, --pp-on-accent, --pp-bg, --pp-surface, --pp-text, --pp-line, --pp-warn, --pp-radius,
 * --pp-font, --pp-card (width of a result), and ::part(root | dropzone | options | button | primary |
 * progress | card | viewer).
 *
 * Taken off the page, the element ends an upload (the photos stay) and stops asking about its job; put back, it
 * opens the job again. Moving it changes nothing.
 *
 * File names come from strangers: everything is set as text, nothing that varies is parsed as HTML.
 */

const PAGE_SIZE = 100;
const THUMBNAIL_PX = 320;
const POLL_MS = 1000;
const CONNECT_MS = 5000;
const SILENCE_MS = 20_000;
const PASSING = new Set([0, 429, 502, 503, 504]);
const MODELS_MS = 3000;
const COMING_MS = 3000; // so long a step of the viewer waits for a picture that is on its way
const LINKS_MS = 5000; // links live for a minute at least, and are signed anew after half of it
const CONNECTION_LOST = "Connection lost, trying again. The job goes on meanwhile.";
const FINAL = new Set(["done", "failed", "cancelled"]);
const STATE_OF_CODE = { q: "queued", r: "running", d: "done", D: "done", f: "failed", s: "skipped", c: "cancelled" };
const RANK = { queued: 0, running: 1, done: 2, failed: 2, skipped: 2, cancelled: 2 };
const BARE = new Set(["queued", "running", "cancelled"]); // of such a task there is no more to know
const WAIT_WORDS = { queued: "Waiting", running: "Working", cancelled: "Cancelled", skipped: "Skipped" };
const QUIET_WARNINGS = new Set(["renamed", "name_mismatch", "name_shown_otherwise", "no_face"]);
const PICTURES = "image/*,.heic,.heif,.avif,.tif,.tiff,.bmp,.zip,application/zip";
const LITTER = /(^|\/)(\.[^/]*|thumbs\.db|desktop\.ini|__MACOSX\/.*)$/i;

/** What went wrong, in the words of the reader: what happened and what to do. */
class Problem extends Error {
  constructor({ code, message, advice = "", status = null, retryAfter_s = null, refused = [], files = [] }) {
    super(message);
    Object.assign(this, { code, advice, status, retryAfter_s, refused, files });
  }

  /** Whether trying again later may help. */
  get passing() { return PASSING.has(this.status); }

  static lost() {
    return new Problem({ status: 0, code: "connection_lost", message: "Connection lost.", advice: "Try again when the network is back." });
  }

  static of(status, body, retryAfter) {
    const fields = (body?.errors ?? []).map((one) => `${one.field}: ${one.message}`).join(" ");
    return new Problem({
      status,
      code: body?.code ?? `http_${status}`,
      message: body?.title ?? `The server answered with an error (${status}).`,
      advice: [body?.detail, fields].filter(Boolean).join(" ") || "Try again; if it happens again, tell whoever runs the server.",
      retryAfter_s: Number(retryAfter) || null,
      refused: body?.refused ?? [],
    });
  }
}

/** The server's HTTP side. */
class Api {
  constructor(endpoint, key) {
    this.base = new URL(endpoint.replace(/\/*$/, "/"), document.baseURI);
    this.key = key;
  }

  /** The address of a path below the endpoint, or of a link the server gave. */
  url(link) {
    // Links are absolute paths; behind a proxy that adds a prefix only the part below the endpoint is true.
    return new URL(link.replace(/^.*?\/api\/v1\//, ""), this.base);
  }

  get headers() { return this.key ? { Authorization: `Bearer ${this.key}` } : {}; }

  async json(link, { method = "GET", query = {}, signal } = {}) {
    const url = this.url(link);
    for (const [name, value] of Object.entries(query)) if (value !== null) url.searchParams.set(name, value);
    let answer;
    try {
      answer = await fetch(url, { method, headers: this.headers, signal, cache: "no-store" });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw Problem.lost();
    }
    const body = await answer.json().catch(() => null);
    if (!answer.ok) throw Problem.of(answer.status, body, answer.headers.get("Retry-After"));
    return body;
  }

  /** Whether the server answers at all, whatever it says. */
  reachable() { return fetch(this.url("models"), { headers: this.headers }).then(() => true, () => false); }

  /** Post the form; `onProgress(sent, total)` counts bytes. fetch cannot tell them, so XMLHttpRequest. */
  upload(form, { idempotencyKey, onProgress, signal }) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", this.url("jobs"));
      for (const [name, value] of Object.entries(this.headers)) request.setRequestHeader(name, value);
      request.setRequestHeader("Idempotency-Key", idempotencyKey);
      request.responseType = "json";
      request.upload.onprogress = (event) => onProgress(event.loaded, event.total);
      request.onload = () => {
        const { status, response } = request;
        if (status >= 200 && status < 300) resolve(response);
        else reject(Problem.of(status, response, request.getResponseHeader("Retry-After")));
      };
      request.onerror = () => reject(Problem.lost());
      request.onabort = () => reject(signal.reason);
      signal.addEventListener("abort", () => request.abort(), { once: true });
      request.send(form);
    });
  }
}

/**
 * A job's events by WebSocket; while that is cut, by polling the same log. Both go through one cursor,
 * so an event that arrives by both is taken once and one that the socket missed is polled.
 */
class Feed {
  constructor(api, { onEvent, onTransport, onFinal, onGone, renewLinks }) {
    Object.assign(this, { api, onEvent, onTransport, onFinal, onGone, renewLinks });
    this.transport = "";
  }

  follow(links) {
    this.stop();
    this.links = links;
    this.cursor = null;
    this.cuts = 0;
    this.over = new AbortController();
    addEventListener("online", () => this.#hurry(), { signal: this.over.signal });
    this.#connect();
  }

  stop() {
    this.over?.abort();
    this.polls?.abort();
    clearTimeout(this.timer);
    clearTimeout(this.watch);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    this.#report("");
  }

  #connect() {
    const url = this.api.url(this.links.socket);
    url.protocol = url.protocol.replace("http", "ws");
    if (this.cursor !== null) url.searchParams.set("after", this.cursor);
    const socket = new WebSocket(url);
    this.socket = socket;
    this.#listen(CONNECT_MS);
    socket.onopen = () => {
      if (socket !== this.socket) return;
      this.polls?.abort();
      this.#report("socket");
      this.#listen(SILENCE_MS);
    };
    socket.onmessage = (message) => {
      if (socket !== this.socket) return;
      this.cuts = 0;
      this.#listen(SILENCE_MS);
      this.#take(JSON.parse(message.data));
    };
    socket.onclose = () => { if (socket === this.socket) this.#cut(); };
  }

  #cut() {
    clearTimeout(this.watch);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    if (!this.polls || this.polls.signal.aborted) this.#poll();
    this.timer = setTimeout(() => this.#connect(), backoff(this.cuts));
    this.cuts += 1;
  }

  #hurry() {
    if (this.socket) return;
    clearTimeout(this.timer);
    this.cuts = 0;
    this.#connect();
  }

  /** A dead connection can stay open for minutes: after a silence, ask whether anything was missed. */
  #listen(silence_ms) {
    clearTimeout(this.watch);
    this.watch = setTimeout(async () => {
      const { socket, cursor } = this;
      if (socket?.readyState !== WebSocket.OPEN) return this.#cut();
      const missed = await this.#ask(this.over.signal).catch(() => null);
      if (socket !== this.socket || this.over.signal.aborted) return;
      if (!missed || (this.cursor === cursor && missed.cursor > cursor)) this.#cut();
      else this.#listen(SILENCE_MS);
    }, silence_ms);
  }

  #ask(signal) {
    return this.api.json(this.links.events, { query: { after: this.cursor, limit: 500 }, signal });
  }

  async #poll() {
    this.polls = new AbortController();
    const { signal } = this.polls;
    const { signal: over } = this.over;
    for (let failures = 0; !signal.aborted && !over.aborted;) {
      let pause_ms = POLL_MS;
      try {
        const answer = await this.#ask(signal);
        if (signal.aborted || over.aborted) return;
        failures = 0;
        this.#report("polling");
        for (const event of answer.events) if (!over.aborted) this.#take(event);
        if (over.aborted) return;
        if (answer.events.length >= 500) pause_ms = 0;
        else if (answer.final) return this.#finish();
      } catch (problem) {
        if (signal.aborted || over.aborted) return;
        if (!(problem instanceof Problem)) throw problem;
        this.#report("");
        if (!problem.passing && !(await this.#renew(over))) return;
        pause_ms = problem.retryAfter_s ? problem.retryAfter_s * 1000 : backoff(failures);
        failures += 1;
      }
      await pause(pause_ms);
    }
  }

  /** The link expired or the log is another: begin again from a snapshot. False where the job is gone. */
  async #renew(over) {
    try {
      this.links = await this.renewLinks();
      this.cursor = null;
    } catch (problem) {
      if (over.aborted) return false;
      if (!problem.passing) { this.stop(); this.onGone(problem); return false; }
    }
    return !over.aborted;
  }

  #take(event) {
    const whole = event.type === "snapshot";
    if (!whole && this.cursor !== null && event.cursor <= this.cursor) return;
    this.cursor = event.cursor;
    this.onEvent(event);
    if (FINAL.has(event.job.state)) this.#finish();
  }

  #finish() {
    if (this.over.signal.aborted) return;
    this.stop();
    this.onFinal();
  }

  #report(transport) {
    if (transport === this.transport) return;
    this.transport = transport;
    this.onTransport(transport);
  }
}

/** Small pictures of local photos, made two at a time and only for what is looked at. */
class Thumbnails {
  constructor() {
    this.made = new Map();
    this.waiting = [];
    this.busy = 0;
    this.seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        this.seen.unobserve(target);
        this.waiting.push(target);
      }
      this.#next();
    }, { rootMargin: "300px" });
  }

  /** An image that shows the file once it is near the screen. */
  of(file) {
    const made = this.made.get(file);
    if (made === null) return this.#blank(file);
    const image = h("img", { alt: "", decoding: "async", file });
    if (made) image.src = made;
    else this.seen.observe(image);
    return image;
  }

  clear() {
    for (const url of this.made.values()) if (url) URL.revokeObjectURL(url);
    this.made.clear();
    this.waiting = [];
  }

  async #next() {
    if (this.busy >= 2 || !this.waiting.length) return;
    const image = this.waiting.shift();
    this.busy += 1;
    if (image.isConnected) {
      if (!this.made.has(image.file)) this.made.set(image.file, await this.#make(image.file));
      this.#show(image, this.made.get(image.file));
    }
    this.busy -= 1;
    this.#next();
  }

  async #make(file) {
    try {
      const small = await createImageBitmap(file, { resizeWidth: THUMBNAIL_PX, resizeQuality: "medium" });
      const canvas = h("canvas", { width: small.width, height: small.height });
      canvas.getContext("2d").drawImage(small, 0, 0);
      small.close();
      return URL.createObjectURL(await new Promise((resolve) => canvas.toBlob(resolve, "image/webp", 0.8)));
    } catch {
      return null; // HEIC, TIFF and the like, which the server reads and this browser does not
    }
  }

  #show(image, url) {
    if (url) image.src = url;
    else image.replaceWith(this.#blank(image.file));
  }

  #blank(file) { return h("span", { className: "blank", textContent: suffix(file.name) }); }
}

/** A list that grows when its end comes near the screen. `more()` appends and says whether there is more. */
class Growing {
  constructor(node, more) {
    this.more = more;
    this.end = h("div", { className: "end" });
    node.after(this.end);
    this.near = new IntersectionObserver(([entry]) => { if (entry.isIntersecting) this.grow(); }, { rootMargin: "800px" });
  }

  async grow() {
    if (this.growing) return this.growing;
    this.near.unobserve(this.end);
    this.growing = Promise.resolve(this.more());
    const again = await this.growing.finally(() => { this.growing = null; });
    if (again) this.near.observe(this.end); // asks at once if the end is still in view
    return again;
  }
}

/** The photos chosen here, before they are sent. */
class Chosen {
  constructor(list, thumbnails, onChange) {
    Object.assign(this, { list, thumbnails, onChange, files: new Map(), left: [] });
    this.growing = new Growing(list, () => this.#append());
  }

  get count() { return this.files.size; }
  get bytes() { return sum([...this.files.values()].map((file) => file.size)); }

  /** Take [name, file] pairs (no file where it cannot be read); returns how many are new. */
  add(pairs) {
    const before = this.count;
    for (const [given, file] of pairs) {
      if (LITTER.test(given)) continue;
      const why = whyNot(file);
      if (why) { this.left.push({ name: given, ...why }); continue; }
      let name = given;
      for (let n = 2; this.files.has(name) && !same(this.files.get(name), file); n += 1) name = numbered(given, n);
      this.files.set(name, file);
    }
    this.growing.grow();
    this.onChange();
    return this.count - before;
  }

  remove(names) {
    if (!names.length) return;
    for (const name of names) this.files.delete(name);
    this.list.replaceChildren();
    this.growing.grow();
    this.onChange();
  }

  clear() {
    this.files.clear();
    this.left = [];
    this.list.replaceChildren();
    this.onChange();
  }

  #append() {
    const shown = this.list.children.length;
    const next = [...this.files].slice(shown, shown + 60);
    this.list.append(...next.map(([name, file]) => this.#tile(name, file)));
    return shown + next.length < this.count;
  }

  #tile(name, file) {
    const picture = isZip(file) ? h("span", { className: "blank", textContent: "ZIP" }) : this.thumbnails.of(file);
    const remove = h("button", { type: "button", className: "remove", ariaLabel: `Remove ${name}`, textContent: "×" });
    const tile = h("li", {}, picture, h("span", { className: "name", title: `${name}, ${bytes(file.size)}`, textContent: name }), remove);
    remove.onclick = () => {
      const near = (tile.nextElementSibling ?? tile.previousElementSibling)?.querySelector("button");
      tile.remove();
      this.files.delete(name);
      this.growing.grow();
      this.onChange();
      near?.focus();
    };
    return tile;
  }
}

/** Models, background and crop: the recipe of the next job. */
class Options {
  constructor(form, onChange) {
    Object.assign(this, { form, onChange, items: [] });
    this.list = form.querySelector(".models");
    this.more = form.querySelector("[data-do=more-models]");
    this.recipes = new Map();
    form.addEventListener("input", ({ target }) => {
      if (target.name === "recipe") this.#check(this.picked?.models ?? []);
      this.#show();
      onChange();
    });
    this.more.onclick = () => { this.all = true; this.#show(); this.list.querySelector(".extra input")?.focus(); };
  }

  /** Show the server's models, those `offered` (all where that is empty). */
  update({ items, default: preferred }, offered) {
    const known = items.filter((model) => !offered.length || offered.includes(model.name));
    const names = known.map((model) => model.name);
    if (names.join() !== this.items.map((model) => model.name).join()) {
      const before = this.models.filter((name) => names.includes(name));
      const chosen = before.length ? before : [names.includes(preferred) ? preferred : names[0]];
      this.list.replaceChildren(...known.map((model) => {
        const row = this.#row(model, chosen.includes(model.name));
        row.classList.toggle("extra", !offered.length && !chosen.includes(model.name));
        return row;
      }));
    }
    this.items = known;
    known.forEach((model, place) => {
      const row = this.list.children[place];
      if (model.state === "ready") row.classList.remove("extra");
      const aside = model.state === "not downloaded";
      const speed = model.seconds_per_photo ? `${duration(model.seconds_per_photo)} a photo` : "";
      row.querySelector(".speed").textContent = aside ? modelWords(model) : speed;
      row.querySelector(".state").textContent = aside ? "" : modelWords(model);
      row.querySelector(".state").classList.toggle("warn", model.state === "failed");
    });
    this.#show();
    this.onChange();
  }

  /** Offer the server's recipes by name; those that come with it are for any model. */
  offer({ built_in, saved }) {
    const groups = [["Saved", saved], ["Ready-made", built_in.map(({ name, recipe }) => ({ name, recipe: { ...recipe, models: [] } }))]];
    const list = this.form.elements.recipe;
    const { value } = list;
    this.recipes = new Map(groups.flatMap(([, some]) => some.map(({ name, recipe }) => [name, recipe])));
    list.replaceChildren(list.options[0], ...groups.filter(([, some]) => some.length).map(([label, some]) =>
      h("optgroup", { label }, ...some.map(({ name }) => h("option", { value: name, textContent: name })))));
    list.value = this.recipes.has(value) ? value : "";
    list.parentElement.hidden = !this.recipes.size;
    this.#show();
    this.onChange();
  }

  get value() { return Object.fromEntries(new FormData(this.form)); }
  get picked() { return this.recipes.get(this.value.recipe); }
  get models() { return [...this.list.querySelectorAll("input:checked")].map((box) => box.value); }
  get keeps() { return (this.picked?.background.kind ?? this.value.background) === "keep"; }
  get ready() { return this.keeps || this.models.length > 0; }

  get recipe() {
    const { background, colour, crop, head, no_face } = this.value;
    return {
      ...(this.picked ?? {
        background: background === "colour" ? { kind: "colour", colour } : { kind: background },
        framing: crop === "face" ? { kind: "face", head: Number(head), no_face } : { kind: "none" },
      }),
      models: this.keeps ? [] : this.models,
    };
  }

  /** Tick these models, as far as they are offered. */
  #check(names) {
    const boxes = [...this.list.querySelectorAll("input")];
    if (!boxes.some((box) => names.includes(box.value))) return;
    for (const box of boxes) {
      box.checked = names.includes(box.value);
      if (box.checked) box.closest("li").classList.remove("extra");
    }
  }

  #row(model, checked) {
    const box = h("input", { type: "checkbox", value: model.name, checked });
    const licence = model.commercial ? model.licence : `Not for commercial use: ${model.licence.replace(/ *\(.*\)/, "")}`;
    return h("li", {}, h("label", { className: "model" }, box,
      h("b", { textContent: model.name }),
      h("span", { className: "speed" }),
      h("span", { className: "about", textContent: model.good_at }),
      h("span", { className: model.commercial ? "licence" : "licence warn", textContent: licence }),
      h("span", { className: "state" })));
  }

  #show() {
    const { background, crop, head } = this.value;
    const q = (selector) => this.form.querySelector(selector);
    q(".own").hidden = Boolean(this.picked);
    const extra = this.list.querySelectorAll(".extra").length;
    this.list.classList.toggle("all", Boolean(this.all));
    this.more.hidden = this.all || !extra || this.keeps;
    this.more.textContent = plural(extra, "more model");
    q(".model-choice").disabled = this.keeps;
    q(".kept").hidden = !this.keeps;
    q(".colour").hidden = background !== "colour";
    q(".face").hidden = crop !== "face";
    q(".face .figure").textContent = `${Math.round(head * 100)} % of the height`;
  }
}

/** The tasks of a job as a grid of cards: pages are fetched when looked at, and again when their tasks change. */
class Results {
  constructor(list, { fetchPage, card, onChange, onProblem }) {
    Object.assign(this, { list, fetchPage, card, onChange, onProblem });
    this.growing = new Growing(list, () => this.#more());
    this.clear();
  }

  clear() {
    this.filter = "";
    this.cards = new Map(); // by task number: {task, node, page}
    this.pages = []; // {cursor, first}: how each was asked for, and its first task
    this.told = new Map(); // states by event, which may be ahead of a page that is on its way
    this.stale = new Set();
    this.next = null;
    this.ended = true;
    this.era = {}; // answers to what was asked before are not for this list
    this.list.replaceChildren();
  }

  show(filter = "") {
    this.clear();
    this.filter = filter;
    this.ended = false;
    this.grow();
  }

  grow() { return this.ended ? false : this.growing.grow(); }

  /** The finished pictures, in order. */
  get pictures() {
    return [...this.cards.values()].map(({ task }) => task).filter((task) => task.links.cutout).sort((one, other) => one.number - other.number);
  }

  /** The finished picture before (-1) or after (1) one, if there is any in this list. */
  async beside(number, step) {
    const { era } = this;
    let found = await this.#awaited(number, step, era);
    if (!found && step > 0 && era === this.era) {
      await this.grow();
      found = await this.#awaited(number, step, era);
    }
    return era === this.era ? found : undefined;
  }

  /** The same of those that are here; one that is told to be done is waited for, for a while, and not passed over. */
  async #awaited(number, step, era) {
    const find = () => {
      const { pictures } = this, at = pictures.findIndex((task) => task.number === number);
      return at < 0 ? undefined : pictures[at + step];
    };
    const passesOver = () => {
      const to = find()?.number ?? step * Infinity;
      return [...this.cards.values()].some(({ task }) => (task.number - number) * step > 0 && (to - task.number) * step > 0
        && this.told.get(task.number) === "done" && !task.links.cutout);
    };
    const until = performance.now() + COMING_MS;
    while (era === this.era && performance.now() < until && passesOver()) await pause(100);
    return find();
  }

  /** Tasks went to a state: show it, or fetch what belongs to it. */
  changed(numbers, state) {
    for (const number of numbers) {
      this.told.set(number, state);
      const card = this.cards.get(number);
      if (card?.task.state === state) continue;
      if (card && BARE.has(state)) this.#put({ ...card.task, state, problem: null }, card.page);
      else if (card) this.#again(card.page);
      else if (this.filter === state) this.#again(Math.max(0, this.pages.findLastIndex(({ first }) => first <= number)));
    }
  }

  /** Everything is known again: what is not as it was has changed. */
  snapshot(states) {
    for (const [place, code] of [...states].entries()) this.changed([place], STATE_OF_CODE[code]);
  }

  async #more() {
    const { era } = this;
    for (let failures = 0; !this.ended && era === this.era; failures += 1) {
      try {
        const cursor = this.next;
        const answer = await this.#fetch(cursor);
        if (era !== this.era) break;
        this.#take(answer, this.pages.push({ cursor, first: answer.tasks[0]?.number ?? Infinity }) - 1);
        break;
      } catch (problem) {
        if (!problem.passing) { this.onProblem(problem); return false; }
        await pause(backoff(failures));
      }
    }
    return !this.ended;
  }

  #fetch(cursor) { return this.fetchPage({ cursor, state: this.filter || null, limit: PAGE_SIZE }); }

  #take(answer, page) {
    for (const task of answer.tasks) this.#put(task, page);
    if (page === this.pages.length - 1) {
      this.next = answer.next;
      this.ended = answer.next === null;
    }
    this.onChange();
  }

  #again(page) {
    if (!this.pages[page]) return;
    this.stale.add(page);
    this.freshening ??= this.#freshen().finally(() => { this.freshening = null; });
  }

  async #freshen() {
    for (let failures = 0; this.stale.size;) {
      await pause(failures ? backoff(failures) : 150);
      const { era } = this;
      const [page] = this.stale;
      if (page === undefined) return;
      this.stale.delete(page);
      try {
        const answer = await this.#fetch(this.pages[page].cursor);
        if (era === this.era) this.#take(answer, page);
        failures = 0;
      } catch (problem) {
        if (era !== this.era) continue;
        if (!problem.passing) return this.onProblem(problem);
        this.stale.add(page);
        failures += 1;
      }
    }
  }

  #put(task, page) {
    const had = this.cards.get(task.number);
    const told = this.told.get(task.number);
    if (RANK[told] > RANK[task.state]) this.#again(page);
    // A finished task does not change, but its links are signed anew each time, and its picture would load again.
    if (had && had.task.state === task.state) return;
    const node = this.card(task);
    if (had) had.node.replaceWith(node);
    else this.list.insertBefore(node, this.#after(task.number));
    this.cards.set(task.number, { task, node, page });
  }

  /** The card before which a task belongs, or null for the end, where nearly all go. */
  #after(number) {
    const last = this.list.lastElementChild;
    if (!last || Number(last.dataset.number) < number) return null;
    return [...this.list.children].find((node) => Number(node.dataset.number) > number) ?? null;
  }
}

/** Before and after, large: a slider between the two, the next and the previous. */
class Viewer {
  constructor(dialog, { results, total, url, mend }) {
    Object.assign(this, { dialog, results, total, url, mend });
    const q = (selector) => dialog.querySelector(selector);
    this.stage = q(".stage");
    this.slider = q(".slide input");
    this.slider.oninput = () => this.cut(Number(this.slider.value));
    dialog.onclick = (event) => {
      if (event.target === dialog) return dialog.close();
      const what = event.target.closest("[data-view]")?.dataset.view;
      if (what) this.act(what);
    };
    dialog.onkeydown = (event) => this.key(event);
    dialog.onclose = () => {
      this.turn = null; // a step that still waits is not wanted any more
      this.results.cards.get(this.number)?.node.querySelector("button")?.focus();
    };
    const drag = (event) => this.cut(shareAt(this.stage, event));
    this.stage.onpointerdown = (event) => { this.stage.setPointerCapture(event.pointerId); drag(event); };
    this.stage.onpointermove = (event) => { if (event.buttons) drag(event); };
  }

  open(task) {
    this.cut(0);
    this.show(task);
    this.dialog.showModal();
    this.stage.focus();
  }

  close() { if (this.dialog.open) this.dialog.close(); }

  cut(share) {
    this.slider.value = share;
    this.stage.style.setProperty("--cut", `${share}%`);
  }

  show(task) {
    this.number = task.number;
    this.turn = null;
    const q = (selector) => this.dialog.querySelector(selector);
    q(".name").textContent = task.photo;
    const after = q(".after");
    after.src = this.url(task.links.preview);
    after.alt = `${task.photo}, cutout by ${task.model}`;
    // The small picture at once, the whole one as soon as it is decoded.
    const whole = new Image();
    whole.onload = () => whole.decode().then(() => { if (this.number === task.number) after.src = whole.src; }, () => {});
    whole.onerror = () => this.mend(whole);
    if (!task.output.endsWith(".tif")) whole.src = this.url(task.links.cutout); // no browser shows one
    q(".before").src = this.url(task.links.before);
    const download = this.url(task.links.cutout);
    download.searchParams.set("download", "1");
    q(".save").href = download;
    const facts = [task.model === "none" ? "" : task.model, task.size_wh.join(" × "), bytes(task.byte_count), duration(sum(Object.values(task.seconds)))];
    q(".facts").textContent = facts.filter(Boolean).join(" · ");
    q(".notes").replaceChildren(...task.warnings.map(({ code, message }) => h("p", { className: QUIET_WARNINGS.has(code) ? "" : "warn", textContent: message })));
    this.place();
  }

  place() {
    if (this.number === undefined) return;
    const { pictures } = this.results;
    const at = pictures.findIndex((task) => task.number === this.number);
    const total = Math.max(this.total(), pictures.length);
    this.dialog.querySelector(".place").textContent = `${at + 1} of ${total}`;
    this.dialog.querySelector("[data-view=previous]").disabled = at <= 0;
    this.dialog.querySelector("[data-view=next]").disabled = at >= total - 1;
  }

  async act(what) {
    if (what === "close") this.close();
    if (what === "keys") { const keys = this.dialog.querySelector(".keys"); keys.hidden = !keys.hidden; }
    const step = { previous: -1, next: 1 }[what];
    if (!step) return;
    const turn = this.turn = {};
    const task = await this.results.beside(this.number, step);
    if (task && this.turn === turn) this.show(task);
  }

  key(event) {
    event.stopPropagation();
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const sliding = event.composedPath()[0] === this.slider;
    const pressing = event.composedPath()[0].closest?.("button, a");
    const actions = {
      ArrowLeft: () => !sliding && this.act("previous"),
      ArrowRight: () => !sliding && this.act("next"),
      " ": () => !pressing && !sliding && this.cut(Number(this.slider.value) > 50 ? 0 : 100),
      d: () => this.dialog.querySelector(".save").click(),
      "?": () => this.act("keys"),
    };
    const act = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (act && act() !== false) event.preventDefault();
  }
}

const SHELL = `
<div class="root" part="root">
  <div class="notice" role="alert" hidden><p></p><button type="button" data-do="notice">Close</button></div>
  <form class="key" hidden>
    <h2>This server needs a key</h2>
    <p class="why"></p>
    <label for="key">Key</label>
    <div class="row"><input id="key" type="password" autocomplete="current-password" required>
      <button class="primary" part="button primary">Use key</button></div>
  </form>
  <section class="choose">
    <div class="photos">
      <div class="drop" part="dropzone">
        <svg viewBox="0 0 24 24" width="40" height="40" aria-hidden="true"><path fill="none" stroke="currentColor"
          stroke-width="1.3" stroke-linecap="round" stroke-linejoin="round"
          d="M4 5.5h11M4 5.5v13h16v-8M4 15.5l4.5-4.5 4 4 2-2 5.500 5.500M19.500 2v6M16.500 5h6"/></svg>
        <p class="lead"><span class="mouse">Drop photos, folders or a ZIP here</span><span class="touch">Add photos or a ZIP</span></p>
        <p class="row"><button type="button" data-do="files" part="button">Choose photos</button>
          <button type="button" data-do="folder" part="button">Choose a folder</button></p>
        <p class="hint mouse">A copied picture can be pasted.</p>
      </div>
      <input type="file" class="files" multiple accept="${PICTURES}" aria-label="Photos or ZIPs" hidden>
      <input type="file" class="folder" webkitdirectory aria-label="Folder" hidden>
      <div class="bar"><p class="total"></p><button type="button" class="plain" data-do="clear">Remove all</button></div>
      <ul class="thumbs" aria-label="Chosen photos"></ul>
    </div>
    <form class="options" part="options">
      <fieldset class="model-choice"><legend>Models</legend>
        <ul class="models"></ul>
        <button type="button" class="plain" data-do="more-models" hidden></button></fieldset>
      <p class="kept hint" hidden>The background stays, so no model runs.</p>
      <label class="recipes" hidden>Recipe <select name="recipe"><option value="">Chosen below</option></select></label>
      <div class="own"><fieldset><legend>Background</legend>
        <div class="segments">
          <label><input type="radio" name="background" value="transparent" checked><span>Transparent</span></label>
          <label><input type="radio" name="background" value="colour"><span>Colour</span></label>
          <label><input type="radio" name="background" value="keep"><span>Keep</span></label></div>
        <label class="colour row" hidden>Colour <input type="color" name="colour" value="#ffffff"></label></fieldset>
      <fieldset><legend>Crop</legend>
        <div class="segments">
          <label><input type="radio" name="crop" value="none" checked><span>None</span></label>
          <label><input type="radio" name="crop" value="face"><span>Face</span></label></div>
        <div class="face" hidden>
          <label>Head <span class="figure"></span><input type="range" name="head" min="0.2" max="0.8" step="0.05" value="0.5"></label>
          <label>Where there is no face <select name="no_face"><option value="keep">Keep the whole picture</option>
            <option value="skip">Skip the photo</option><option value="fail">Fail the photo</option></select></label></div></fieldset></div>
      <div class="go"><button class="primary" part="button primary" disabled>Process photos</button><p class="hint"></p></div>
    </form>
  </section>
  <section class="run" hidden>
    <div class="status">
      <h2 tabindex="-1"></h2>
      <div class="actions">
        <a class="primary archive" part="button primary" download hidden>Download ZIP</a>
        <button type="button" data-do="retry" part="button" hidden></button>
        <button type="button" data-do="fetch" part="button" hidden>Fetch the model again</button>
        <button type="button" data-do="again" part="button" hidden>Process more photos</button>
        <button type="button" data-do="cancel" part="button"></button>
      </div>
      <div class="progress" part="progress" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100"><i></i></div>
      <p class="meta"></p>
    </div>
    <div class="filters segments" role="radiogroup" aria-label="Show" hidden></div>
    <ul class="grid" aria-label="Cutouts"></ul>
  </section>
  <details class="refused" hidden><summary></summary><ul></ul></details>
  <dialog class="viewer" part="viewer" aria-label="Before and after">
    <div class="head"><span class="name"></span><span class="place"></span>
      <button type="button" data-view="previous" aria-label="Previous">←</button>
      <button type="button" data-view="next" aria-label="Next">→</button>
      <a class="save" download>Download</a>
      <button type="button" data-view="keys" aria-label="Keys">?</button>
      <button type="button" data-view="close">Close</button></div>
    <div class="stage" tabindex="-1"><img class="after" alt=""><img class="before" alt=""><i class="edge"></i>
      <p class="keys" hidden><kbd>←</kbd> <kbd>→</kbd> previous, next<br><kbd>Space</kbd> before or after<br>
        <kbd>D</kbd> download<br><kbd>Esc</kbd> close<br><kbd>?</kbd> these keys</p></div>
    <label class="slide"><span>After</span><input type="range" min="0" max="100" value="0"
      aria-label="How much of the photo before to show"><span>Before</span></label>
    <div class="foot"><p class="facts"></p><div class="notes"></div></div>
  </dialog>
  <p class="sr" role="status" aria-live="polite"></p>
</div>`;

const STYLE = `
:host { display: block; color-scheme: light dark; container-type: inline-size;
  --accent: var(--pp-accent, light-dark(#0b6e6e, #16827e)); --on-accent: var(--pp-on-accent, #fff);
  --bg: var(--pp-bg, light-dark(#fff, #141717)); --surface: var(--pp-surface, light-dark(#f3f4f4, #1e2222));
  --text: var(--pp-text, light-dark(#1b1f1f, #e8ecec)); --line: var(--pp-line, light-dark(#d6dada, #363c3c));
  --warn: var(--pp-warn, light-dark(#8a5a00, #e5b567)); --radius: var(--pp-radius, 6px);
  --muted: color-mix(in srgb, var(--text) 66%, var(--bg)); --ink: color-mix(in srgb, var(--accent) 68%, var(--text)); }
:host([theme=light]) { color-scheme: light; }
:host([theme=dark]) { color-scheme: dark; }
:host([hidden]), [hidden] { display: none !important; }
* { box-sizing: border-box; }
.root { background: var(--bg); color: var(--text); min-height: inherit; padding: 24px; line-height: 1.45;
  font: 15px/1.45 var(--pp-font, system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif); }
h2, p, ul, fieldset { margin: 0; padding: 0; border: 0; min-width: 0; }
ul { list-style: none; }
h2 { font-size: 24px; line-height: 1.25; font-weight: 600; outline: none; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
button, a, input, select { font: inherit; color: inherit; accent-color: var(--accent); }
:focus-visible:not(.stage, h2) { outline: 2px solid var(--ink); outline-offset: 2px; }
.hint, .meta, .facts { color: var(--muted); font-size: 14px; }
.row { display: flex; flex-wrap: wrap; align-items: center; gap: 10px; }
.sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
button, a { display: inline-flex; align-items: center; justify-content: center; min-height: 40px; padding: 0 16px;
  background: none; border: 1px solid var(--line); border-radius: var(--radius); cursor: pointer; text-decoration: none; white-space: nowrap; }
button:hover:not(:disabled), a:hover { border-color: var(--ink); }
button:disabled { opacity: .45; cursor: default; }
.primary { background: var(--accent); border-color: var(--accent); color: var(--on-accent); font-weight: 600; }
.primary:hover:not(:disabled) { filter: brightness(1.08); }
.primary:disabled { background: var(--surface); border-color: var(--line); color: var(--muted); opacity: 1; }
.plain { min-height: 32px; padding: 0 8px; border-color: transparent; color: var(--ink); }
.warn { color: var(--warn); font-weight: 500; }

.notice { display: flex; align-items: center; gap: 12px; margin-bottom: 20px; padding: 10px 14px; background: var(--surface);
  border-left: 3px solid var(--warn); border-radius: var(--radius); }
.notice p { flex: 1; overflow-wrap: anywhere; }
.key { display: grid; gap: 8px; max-width: 440px; margin: 8vh auto; }
.key .why { color: var(--muted); margin-bottom: 12px; }
.key input { flex: 1; min-width: 12rem; min-height: 40px; padding: 0 12px; background: var(--surface); border: 1px solid var(--line); border-radius: var(--radius); }

.choose { display: grid; grid-template-columns: minmax(0, 1fr) 380px; gap: 24px 40px; align-items: start; }
.photos { display: grid; gap: 14px; min-width: 0; }
.drop { display: grid; justify-items: center; align-content: center; gap: 12px; min-height: min(56vh, 460px); padding: 24px;
  border: 1.5px dashed color-mix(in srgb, var(--text) 28%, var(--bg)); border-radius: calc(var(--radius) * 1.6); text-align: center; }
.drop svg { color: var(--muted); }
.drop .lead { font-size: 19px; }
.drop .row { justify-content: center; }
.full .drop { grid-template-columns: 1fr auto; justify-items: start; align-items: center; min-height: 0; padding: 12px 12px 12px 18px; text-align: left; }
.full .drop svg, .full .drop .hint { display: none; }
.full .drop .lead { font-size: inherit; color: var(--muted); }
.over .drop { border-color: var(--ink); background: color-mix(in srgb, var(--accent) 10%, var(--bg)); }
.bar { display: flex; justify-content: space-between; align-items: center; min-height: 32px; }
.thumbs { display: grid; grid-template-columns: repeat(auto-fill, minmax(116px, 1fr)); gap: 12px; }
.thumbs li { position: relative; min-width: 0; }
.thumbs img, .blank { display: grid; place-items: center; width: 100%; aspect-ratio: 4 / 3; object-fit: cover; color: var(--muted);
  background: var(--surface); border-radius: var(--radius); font-size: 13px; font-weight: 600; letter-spacing: .04em; text-transform: uppercase; }
.name { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.thumbs .name { padding-top: 4px; font-size: 13px; color: var(--muted); }
.remove { position: absolute; top: 4px; right: 4px; width: 28px; min-height: 28px; padding: 0; border: 0; border-radius: 50%;
  background: rgb(0 0 0 / 62%); color: #fff; font-size: 17px; line-height: 1; opacity: 0; }
li:hover > .remove, .remove:focus-visible { opacity: 1; }
@media (hover: none) { .remove { opacity: 1; } .mouse { display: none; } }
@media (hover: hover) { .touch { display: none; } }

.options { display: grid; grid-template-columns: minmax(0, 1fr); gap: 20px; }
[type=range] { appearance: none; height: 22px; background: none; cursor: pointer; }
[type=range]::-webkit-slider-runnable-track { height: 4px; background: var(--line); border-radius: 2px; }
[type=range]::-moz-range-track { height: 4px; background: var(--line); border-radius: 2px; }
[type=range]::-webkit-slider-thumb { appearance: none; width: 18px; height: 18px; margin-top: -7px; background: var(--accent); border: 2px solid var(--bg); border-radius: 50%; }
[type=range]::-moz-range-thumb { width: 14px; height: 14px; background: var(--accent); border: 2px solid var(--bg); border-radius: 50%; }
legend { padding: 0; margin-bottom: 8px; font-weight: 600; }
.models { display: grid; gap: 6px; }
.models:not(.all) .extra { display: none; }
.model { display: grid; grid-template-columns: auto 1fr auto; gap: 1px 10px; align-items: baseline; padding: 8px 12px; cursor: pointer;
  border: 1px solid var(--line); border-radius: var(--radius); }
.model:has(:checked) { border-color: var(--ink); background: color-mix(in srgb, var(--accent) 8%, var(--bg)); }
.model:has(:focus-visible) { outline: 2px solid var(--ink); outline-offset: 2px; }
.model input { margin: 0; align-self: center; outline: none; }
.speed, .about, .state, .licence { color: var(--muted); font-size: 13px; }
.model b { font-weight: 600; overflow-wrap: anywhere; }
.about { grid-column: 2; }
.licence { text-align: right; }
.licence.warn, .model .state { grid-column: 2 / -1; text-align: left; }
.licence.warn, .state.warn { color: var(--warn); }
.state:empty { display: none; }
fieldset:disabled { opacity: .45; }
.segments { display: flex; flex-wrap: wrap; width: fit-content; border: 1px solid var(--line); border-radius: var(--radius); }
.segments label { position: relative; display: grid; cursor: pointer; }
.segments input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: inherit; }
.segments span { padding: 8px 14px; }
.segments label + label { border-left: 1px solid var(--line); }
.segments label:first-child span { border-radius: calc(var(--radius) - 1px) 0 0 calc(var(--radius) - 1px); }
.segments label:last-child span { border-radius: 0 calc(var(--radius) - 1px) calc(var(--radius) - 1px) 0; }
.segments :checked + span { background: color-mix(in srgb, var(--accent) 14%, var(--bg)); color: var(--ink); font-weight: 600; }
.segments :focus-visible + span { outline: 2px solid var(--ink); outline-offset: 2px; }
.recipes { display: grid; grid-template-columns: minmax(0, 1fr); gap: 8px; font-weight: 600; }
.recipes select { font-weight: 400; }
.own { display: grid; grid-template-columns: minmax(0, 1fr); gap: inherit; }
.colour { margin-top: 10px; }
.colour input { width: 56px; height: 34px; padding: 2px; background: none; border: 1px solid var(--line); border-radius: var(--radius); }
.face { display: grid; gap: 12px; margin-top: 12px; }
.face label { display: grid; grid-template-columns: 1fr auto; gap: 6px; }
.face .figure { color: var(--muted); }
.face input, .face select { grid-column: 1 / -1; width: 100%; margin: 0; }
select { min-height: 40px; padding: 0 8px; background: var(--bg); border: 1px solid var(--line); border-radius: var(--radius); }
.go { position: sticky; bottom: 0; display: grid; gap: 8px; padding: 10px 0 12px; background: var(--bg); }
.go .primary { width: 100%; min-height: 46px; }

.status { display: grid; grid-template-columns: 1fr auto; gap: 10px 24px; align-items: center; margin-bottom: 22px; min-height: 84px; }
.status > .progress, .status > .meta { grid-column: 1 / -1; }
.progress { height: 6px; overflow: hidden; background: color-mix(in srgb, var(--text) 11%, var(--bg)); border-radius: 3px; }
.progress i { display: block; height: 100%; width: 100%; background: var(--accent); border-radius: inherit; transform-origin: left;
  transform: scaleX(var(--share, 0)); transition: transform .4s ease-out; }
.progress.busy i { animation: pulse 1.4s ease-in-out infinite alternate; }
@keyframes pulse { from { opacity: .45; } }
.meta { min-height: 1.45em; font-variant-numeric: tabular-nums; }
.meta.lost { color: var(--warn); }
.actions { display: flex; flex-wrap: wrap; gap: 10px; }
.filters { margin-bottom: 14px; }
.grid { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(min(var(--pp-card, 210px), 46%), 1fr)); }
.grid li { display: grid; min-width: 0; content-visibility: auto; contain-intrinsic-size: auto 220px; }
.card { display: grid; grid-template: auto 1fr / minmax(0, 1fr); align-items: start; width: 100%; padding: 0; min-height: 0; text-align: left; border-radius: var(--radius); overflow: hidden; white-space: normal; border: 1px solid var(--line); }
.pic { position: relative; display: block; aspect-ratio: 4 / 3; overflow: hidden; background: var(--surface); }
.pic img, .pic .blank { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; border-radius: 0; background: none; aspect-ratio: auto; }
.pic .dim { object-fit: cover; opacity: .38; }
.checker, .stage { background: repeating-conic-gradient(light-dark(#dde0e0, #343a3a) 0 25%, light-dark(#f7f8f8, #272c2c) 0 50%) 0 0 / 18px 18px; }
.pic .before, .stage .before { clip-path: inset(0 calc(100% - var(--cut, 0%)) 0 0); }
.wait { position: absolute; left: 8px; bottom: 8px; padding: 2px 8px; border-radius: 999px; font-size: 12px; color: var(--text);
  background: color-mix(in srgb, var(--bg) 84%, transparent); }
.busy.pic::after { content: ""; position: absolute; inset: 0; background: linear-gradient(100deg, transparent 30%,
  color-mix(in srgb, var(--text) 13%, transparent) 50%, transparent 70%) 0 0 / 250% 100%; animation: sweep 1.6s linear infinite; }
@keyframes sweep { from { background-position: 150% 0; } to { background-position: -100% 0; } }
.said { position: absolute; inset: 0; display: grid; align-content: center; gap: 4px; padding: 12px; overflow: auto; font-size: 13px; }
.said b { font-weight: 600; }
.said span { color: var(--muted); }
.label { display: grid; grid-template-columns: 1fr auto; gap: 0 8px; padding: 8px 10px; font-size: 14px; }
.label .by { color: var(--muted); font-size: 13px; }
.label .look { grid-column: 1 / -1; font-size: 13px; font-weight: 400; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.end { height: 1px; }
.refused { margin-top: 24px; }
.refused summary { cursor: pointer; width: fit-content; font-weight: 600; }
.refused ul { display: grid; gap: 10px; margin-top: 10px; max-height: 22rem; overflow: auto; }
.refused li { overflow-wrap: anywhere; }
.refused span { display: block; color: var(--muted); font-size: 14px; }

.viewer { width: min(1180px, 96vw); height: min(860px, 94vh); max-width: none; max-height: none; padding: 0; color: inherit;
  background: var(--bg); border: 1px solid var(--line); border-radius: calc(var(--radius) * 1.6); overflow: hidden; }
.viewer[open] { display: grid; grid-template-rows: auto minmax(0, 1fr) auto auto; }
.viewer::backdrop { background: rgb(0 0 0 / 60%); }
.head { display: flex; align-items: center; gap: 8px; padding: 10px 14px; min-width: 0; }
.head .name { flex: 1; font-weight: 600; }
.head button, .head a { min-height: 36px; padding: 0 12px; }
.place { color: var(--muted); white-space: nowrap; font-variant-numeric: tabular-nums; margin-right: 4px; }
.stage { position: relative; outline: none; touch-action: pan-y; cursor: ew-resize; overflow: hidden; }
.stage img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; pointer-events: none; user-select: none; }
.edge { position: absolute; top: 0; bottom: 0; left: var(--cut, 0%); width: 2px; margin-left: -1px; background: var(--accent); box-shadow: 0 0 0 1px rgb(255 255 255 / 60%); pointer-events: none; }
.keys { position: absolute; right: 14px; top: 14px; padding: 12px 16px; background: var(--bg); border: 1px solid var(--line); border-radius: var(--radius); line-height: 2; font-size: 14px; }
kbd { font: inherit; padding: 1px 7px; border: 1px solid var(--line); border-radius: 4px; }
.slide { display: grid; grid-template-columns: auto 1fr auto; gap: 12px; align-items: center; padding: 10px 14px 4px; color: var(--muted); font-size: 14px; }
.slide input { width: 100%; margin: 0; }
.foot { display: grid; gap: 4px; padding: 0 14px 12px; font-size: 14px; min-height: 34px; }
.notes { color: var(--muted); }

@container (max-width: 760px) {
  .root { padding: 16px; }
  .choose { grid-template-columns: minmax(0, 1fr); }
  .drop { min-height: 300px; }
  .full .drop { grid-template-columns: 1fr; justify-items: stretch; padding: 10px; }
  .full .drop .lead { display: none; }
  .full .drop .row button { flex: 1; padding: 0 8px; }
  .thumbs { grid-template-columns: repeat(auto-fill, minmax(96px, 1fr)); gap: 8px; }
  .root:not(.full) .go { position: static; }
  .full .go .hint { display: none; }
  .grid { gap: 10px; }
  .status { grid-template-columns: minmax(0, 1fr); }
  .actions { order: 3; }
  .actions > * { flex: 1 1 auto; min-height: 44px; }
  .archive { flex-basis: 100%; }
  .label { padding: 6px 8px; }
}
@media (max-width: 640px) {
  .viewer { width: 100vw; height: 100dvh; border: 0; border-radius: 0; }
  .head { flex-wrap: wrap; }
  .head .name { flex: 1 0 100%; }
  .head .place { flex: 1; }
  [data-view=keys] { display: none; }
}
@media (prefers-reduced-motion: reduce) { *, ::after { animation: none !important; transition: none !important; } }
`;

/** Sends photos and a recipe; the same photos and recipe are the same job, however often it takes. */
class Uploader {
  constructor({ onProgress, onWait }) { Object.assign(this, { onProgress, onWait }); }

  /** The job that the server made. Tries again while the connection is broken or the server busy. */
  async send(api, files, recipe, signal) {
    this.stamp(files, recipe);
    const form = new FormData();
    form.append("recipe", recipe);
    for (const [name, file] of files) form.append("files", file, name);
    for (let failures = 0, broken = 0; ; failures += 1) {
      try {
        const job = await api.upload(form, { idempotencyKey: this.key, onProgress: this.onProgress, signal });
        this.what = null;
        return job;
      } catch (problem) {
        if (signal.aborted || !problem.passing) throw problem;
        if (problem.status === 0) broken = await this.check(api, files, broken);
        else if (failures > 5) throw problem;
        await this.wait(problem, problem.retryAfter_s ?? backoff(failures) / 1000, signal);
      }
    }
  }

  stamp(files, recipe) {
    const what = JSON.stringify([recipe, ...[...files].map(([name, file]) => [name, file.size, file.lastModified])]);
    if (what !== this.what) this.key = randomId();
    this.what = what;
  }

  /** Why the connection broke: a file that changed, a server that will not, or the network. */
  async check(api, files, broken) {
    const gone = [];
    for (const [name, file] of files) await file.slice(0, 1).arrayBuffer().catch(() => gone.push(name));
    if (gone.length) {
      throw new Problem({ code: "file_changed", files: gone, message: `${listed(gone)} cannot be read any more.`,
        advice: "What was changed or moved is out of the list now; add it again." });
    }
    if (!(await api.reachable())) return 0;
    if (broken >= 3) {
      throw new Problem({ code: "upload_broken", message: "The server breaks off the upload.",
        advice: "It may be more than it takes at once: try fewer photos." });
    }
    return broken + 1;
  }

  async wait(problem, seconds, signal) {
    for (let left_s = Math.ceil(seconds); left_s > 0; left_s -= 1) {
      this.onWait(`${problem.message} Trying again in ${duration(left_s)}.`);
      await pause(1000);
      signal.throwIfAborted();
    }
  }
}

/** What a task, or a photo on its way, looks like in the grid. */
class Cards {
  constructor({ thumbnails, url, open }) { Object.assign(this, { thumbnails, url, open }); }

  of(task, { local, several }) {
    const label = this.#label(task.photo);
    if (several) label.append(h("span", { className: "by", textContent: task.model }));
    if (task.cutouts?.length > 1) label.append(h("span", { className: "by", textContent: plural(task.cutouts.length, "face") }));
    const look = task.warnings.filter((warning) => !QUIET_WARNINGS.has(warning.code)).map((warning) => warning.message).join(" ");
    if (look) label.append(h("span", { className: "look warn", title: look, textContent: look }));
    const item = h("li", {}, task.links.cutout ? this.#finished(task, label) : task.problem ? this.#failed(task, label) : this.#waiting(task, local, label));
    item.dataset.number = task.number;
    item.dataset.state = task.state;
    return item;
  }

  /** A photo that is being sent. */
  sending(name, file) { return h("li", {}, this.#frame("", this.#local(file), this.#label(name))); }

  #finished(task, label) {
    const picture = h("span", { className: "pic checker" }, image(this.url(task.links.preview), "after"));
    const card = h("button", { type: "button", className: "card", part: "card", ariaLabel: `${task.photo}, cutout by ${task.model}: before and after` }, picture, label);
    card.onclick = () => this.open(task);
    // With a mouse, moving over the cutout uncovers the photo.
    card.onpointermove = (event) => {
      if (event.pointerType !== "mouse" || !task.links.before) return;
      if (picture.children.length < 2) picture.append(image(this.url(task.links.before), "before"));
      picture.style.setProperty("--cut", `${shareAt(picture, event)}%`);
    };
    card.onpointerleave = () => picture.style.setProperty("--cut", "0%");
    return card;
  }

  #failed({ problem }, label) {
    const said = h("span", { className: "said" }, h("b", { className: "warn", textContent: problem.message }), h("span", { textContent: problem.advice }));
    return this.#frame("", said, label);
  }

  #waiting(task, local, label) {
    const badge = h("span", { className: "wait", textContent: WAIT_WORDS[task.state] ?? "" });
    return this.#frame(task.state === "running" ? "busy" : "", local && !isZip(local) ? this.#local(local) : "", label, badge);
  }

  #local(file) {
    if (isZip(file)) return h("span", { className: "blank", textContent: "ZIP" });
    const picture = this.thumbnails.of(file);
    picture.classList.add("dim");
    return picture;
  }

  #frame(className, shown, label, badge = "") {
    return h("div", { className: "card", part: "card" }, h("span", { className: `pic ${className}` }, shown, badge), label);
  }

  #label(name) { return h("span", { className: "label" }, h("span", { className: "name", title: name, textContent: name })); }
}

class PhotoProcessor extends (globalThis.HTMLElement ?? class {}) {
  static observedAttributes = ["endpoint", "key", "models", "job"];

  #phase = "choosing";
  #job = null;
  #refused = [];
  #typedKey = "";
  #lost = 0;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    root.innerHTML = SHELL; // a constant
    this.$ = (selector) => root.querySelector(selector);
    const url = (link) => this.#url(link);
    this.thumbnails = new Thumbnails();
    this.chosen = new Chosen(this.$(".thumbs"), this.thumbnails, () => this.#showChosen());
    this.options = new Options(this.$(".options"), () => this.#showChosen());
    this.uploader = new Uploader({
      onProgress: (uploaded, total) => this.#showUpload(uploaded, total),
      onWait: (words) => this.#meta(words, true),
    });
    this.cards = new Cards({ thumbnails: this.thumbnails, url, open: (task) => this.viewer.open(task) });
    this.results = new Results(this.$(".grid"), {
      fetchPage: (query) => this.#fetchPage(this.#job.id, query),
      card: (task) => this.cards.of(task, { local: this.chosen.files.get(task.photo), several: this.#job.recipe.models?.length > 1 }),
      onChange: () => this.viewer.place(),
      onProblem: (problem) => this.#failed(problem),
    });
    this.viewer = new Viewer(this.$(".viewer"), { results: this.results, total: () => this.#job?.counts.done ?? 0, url, mend: (image) => this.#mend(image) });
    this.#listen(root);
  }

  // What a page may set, read and call

  get endpoint() { return this.getAttribute("endpoint") || "/api/v1"; }
  set endpoint(value) { this.#reflect("endpoint", value); }
  get key() { return this.getAttribute("key") || ""; }
  set key(value) { this.#reflect("key", value); }
  get models() { return this.getAttribute("models") || ""; }
  set models(value) { this.#reflect("models", Array.isArray(value) ? value.join(",") : value); }
  get theme() { return this.getAttribute("theme") || ""; }
  set theme(value) { this.#reflect("theme", value); }
  get job() { return this.getAttribute("job") || ""; }
  set job(value) { this.#reflect("job", value); }
  get phase() { return this.#phase; }
  get transport() { return this.feed?.transport ?? ""; }
  get result() { return this.#job; }

  add(files) { return this.#take(Array.from(files, (file) => [file.webkitRelativePath || file.name, file])); }

  async start() {
    if (!this.isConnected || this.#phase !== "choosing" || !this.chosen.count || !this.options.ready) return;
    this.#notice("");
    this.#refused = [];
    this.#setPhase("uploading");
    this.$(".run h2").focus();
    this.results.clear();
    this.$(".grid").append(...[...this.chosen.files].slice(0, 60).map(([name, file]) => this.cards.sending(name, file)));
    this.uploading = new AbortController();
    const { signal } = this.uploading;
    this.began = performance.now();
    this.#showUpload(0, this.chosen.bytes);
    try {
      const job = await this.uploader.send(this.api, this.chosen.files, JSON.stringify(this.options.recipe), signal);
      if (!signal.aborted) this.#follow(job);
    } catch (problem) {
      this.#setPhase("choosing");
      this.$(".go button").focus();
      if (signal.aborted) return this.#tell("Upload cancelled. The photos are still here.");
      this.#refused = problem.refused ?? [];
      this.chosen.remove(problem.files ?? []);
      this.#showRefused();
      this.#failed(problem);
    }
  }

  async cancel() {
    if (this.#phase === "uploading") this.uploading.abort();
    if (this.#phase === "running") await this.#post(this.#job.links.cancel, this.$("[data-do=cancel]"));
  }

  reset() {
    this.uploading?.abort();
    this.feed?.stop();
    this.viewer.close();
    this.#job = null;
    this.#refused = [];
    this.results.clear();
    this.thumbnails.clear();
    this.#notice("");
    this.#setPhase("choosing");
    this.chosen.clear();
    this.#remember(null);
  }

  connectedCallback() {
    this.connection = new AbortController();
    const { signal } = this.connection;
    document.addEventListener("paste", (event) => this.#pasted(event), { signal });
    addEventListener("beforeunload", (event) => { if (this.#phase === "uploading") event.preventDefault(); }, { signal });
    this.#restart();
  }

  disconnectedCallback() {
    this.connection.abort();
    this.feed?.stop();
    queueMicrotask(() => { if (!this.isConnected) this.#leave(); }); // else it was only moved
  }

  attributeChangedCallback(name, before, now) {
    if (!this.isConnected || before === now || (name === "job" && (now ?? "") === (this.#job?.id ?? ""))) return;
    this.#restart();
  }

  /** Off the page nothing goes on unseen. What asks again and again looks by itself whether it still may. */
  #leave() {
    this.left = true;
    this.uploading?.abort();
    this.feed?.stop();
    this.viewer.close();
    this.results.clear();
    clearTimeout(this.modelsTimer);
  }

  /** Whether what began with this API is still wanted. */
  #current(api) { return api === this.api && this.isConnected; }

  // Beginning: models, key, an earlier job

  /** Once, however many attributes a framework sets one after the other. */
  #restart() {
    if (this.starting) return;
    this.starting = true;
    queueMicrotask(() => {
      this.starting = false;
      if (!this.isConnected) return;
      this.api = new Api(this.endpoint, this.key || this.#typedKey);
      this.#loadModels();
      const { left } = this;
      this.left = false;
      if (this.job && (left || this.job !== this.#job?.id)) this.#openJob(this.job);
      else if (!this.job && (this.#job || this.#phase === "running")) this.reset();
      else if (this.#phase === "running") this.#follow(this.#job);
    });
  }

  async #loadModels() {
    clearTimeout(this.modelsTimer);
    const { api } = this;
    let again_ms = 0;
    try {
      const found = await api.json("models");
      if (!this.#current(api)) return;
      this.#askKey(null);
      if (this.#lost) this.#notice("");
      this.#lost = 0;
      this.options.update(found, this.models.split(/[\s,]+/).filter(Boolean));
      if (this.recipesOf !== api) {
        this.recipesOf = api;
        api.json("recipes").then((recipes) => { if (this.#current(api)) this.options.offer(recipes); }, () => { this.recipesOf = null; });
      }
      this.#draw();
      const coming = found.items.some((model) => model.state === "downloading" || model.state === "checking");
      if (coming || this.#waits) again_ms = MODELS_MS;
    } catch (problem) {
      if (!this.#current(api)) return;
      this.#lost += 1;
      if (problem.passing) problem.advice = "Trying again.";
      if (this.#lost > 1 && problem.status === 0 && api.base.origin !== location.origin) {
        problem.advice += ` The server may not allow pages of ${location.origin} (PHOTOPROC_ALLOWED_ORIGINS).`;
      }
      if (this.#lost < 3) this.#failed(problem);
      again_ms = problem.passing ? backoff(this.#lost) : 0;
    }
    if (again_ms) this.modelsTimer = setTimeout(() => this.#loadModels(), again_ms);
  }

  async #openJob(id) {
    this.feed?.stop();
    this.results.clear();
    this.#job = null;
    this.#setPhase("running");
    this.$(".run h2").textContent = "Opening the job";
    this.#meta("");
    const { api } = this;
    const wanted = () => this.job === id && this.#current(api);
    for (let failures = 0; wanted(); failures += 1) {
      try {
        const job = await this.#fetchJob(id);
        if (wanted()) this.#follow(job);
        return;
      } catch (problem) {
        if (!wanted() || this.#keyIsWrong(problem)) return;
        if (!problem.passing) { this.reset(); this.#failed(problem); return; }
        this.#meta(CONNECTION_LOST, true);
        await pause(backoff(failures));
      }
    }
  }

  /** Ask for a key where that is what is missing; says whether it was. */
  #keyIsWrong(problem) {
    if (problem.status !== 401 && !problem.code?.startsWith("key_")) return false;
    if (this.key) this.#notice("The key of this page is not accepted. Tell whoever runs the page.");
    else this.#askKey(this.#typedKey ? "That key is not accepted. Check it, or ask whoever runs the server." : "Ask whoever runs the server for one. It is forgotten when this page is closed.");
    return true;
  }

  #askKey(why) {
    const form = this.$(".key");
    const asked = !form.hidden;
    form.hidden = why === null;
    this.$(".why").textContent = why ?? "";
    this.#setPhase(this.#phase);
    if (asked && why === null) this.$("[data-do=files]").focus();
    else if (asked) this.$("#key").select();
  }

  // Choosing

  #listen(root) {
    const actions = {
      files: () => this.$(".files").click(),
      folder: () => this.$(".folder").click(),
      clear: () => { this.chosen.clear(); this.$("[data-do=files]").focus(); },
      cancel: () => this.cancel(),
      retry: () => this.#retry(),
      again: () => { this.reset(); this.$("[data-do=files]").focus(); },
      fetch: () => this.#fetchModels(),
      notice: () => this.#notice(""),
    };
    root.addEventListener("click", (event) => actions[event.target.closest("[data-do]")?.dataset.do]?.());
    for (const input of [this.$(".files"), this.$(".folder")]) {
      input.onchange = () => { this.add(input.files); input.value = ""; };
    }
    this.$("[data-do=folder]").hidden = !("webkitdirectory" in this.$(".folder"));
    this.$(".options").onsubmit = (event) => { event.preventDefault(); this.start(); };
    this.$(".key").onsubmit = (event) => {
      event.preventDefault();
      this.#typedKey = this.$("#key").value.trim();
      this.#restart();
    };
    this.$(".filters").onchange = (event) => this.results.show(event.target.value);
    for (const link of [this.$(".archive"), this.$(".save")]) link.onclick = (event) => this.#download(event);
    root.addEventListener("error", ({ target }) => { if (target.localName === "img") this.#mend(target); }, true);
    this.#listenToDrops((over) => this.$(".root").classList.toggle("over", over));
  }

  #listenToDrops(over) {
    const holdsFiles = (event) => event.dataTransfer.types.includes("Files");
    this.addEventListener("dragover", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = this.#open ? "copy" : "none";
      over(this.#open);
    });
    this.addEventListener("dragleave", (event) => { if (!this.contains(event.relatedTarget)) over(false); });
    this.addEventListener("drop", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      over(false);
      if (this.#open) this.#dropped(event.dataTransfer);
    });
  }

  /** Whether photos are taken now. */
  get #open() { return this.#phase === "choosing" || this.#phase === "finished"; }

  async #dropped(transfer) {
    // Entries are gone after the first await.
    const found = [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
    const pairs = [];
    for (const one of found) {
      if (one instanceof File) pairs.push([one.name, one]);
      else for await (const pair of walk(one)) {
        pairs.push(pair);
        if (pairs.length % 500 === 0) this.#tell(`Reading folders, ${plural(pairs.length, "file")} so far.`);
      }
    }
    this.#take(pairs);
  }

  #pasted(event) {
    const typing = event.composedPath()[0].closest?.("input:not([type=checkbox], [type=radio], [type=range]), textarea, [contenteditable]");
    const files = [...(event.clipboardData?.files ?? [])];
    if (typing || event.defaultPrevented || !files.length || !this.#open) return;
    event.preventDefault();
    // Every pasted picture is called image.png.
    this.#take(files.map((file) => [file.name === "image.png" ? "Pasted photo.png" : file.name, file]));
  }

  #take(pairs) {
    if (!this.#open) return 0;
    if (this.#phase === "finished") this.reset();
    this.#refused = [];
    const added = this.chosen.add(pairs);
    const not = pairs.length - added;
    this.#tell(`${plural(added, "file")} added${not ? `, ${not} left out or already here` : ""}.`);
    return added;
  }

  #showChosen() {
    const { count } = this.chosen;
    const { ready, keeps, models, items } = this.options;
    this.$(".root").classList.toggle("full", count > 0);
    this.$("[data-do=files]").classList.toggle("primary", !count);
    this.$(".bar").hidden = !count;
    this.$(".total").textContent = `${this.#noun} · ${bytes(this.chosen.bytes)}`;
    const go = this.$(".go button");
    go.disabled = !count || !ready;
    go.textContent = count ? `Process ${this.#noun}` : "Process photos";
    const hint = !ready && items.length ? "Choose at least one model." : !keeps && models.length > 1 ? `Every photo with ${models.length} models, side by side.` : "";
    this.$(".go .hint").textContent = hint;
    this.#showRefused();
  }

  /** A ZIP holds we do not know how many, so with one it is files that are counted. */
  get #noun() { return plural(this.chosen.count, [...this.chosen.files.values()].some(isZip) ? "file" : "photo"); }

  #showUpload(uploaded, total) {
    const seconds = (performance.now() - this.began) / 1000;
    const share = total ? uploaded / total : 0;
    const sent = share >= 1;
    this.$(".run h2").textContent = sent ? "Checking the photos" : `Uploading ${this.#noun}`;
    this.#bar(share, sent);
    const speed = seconds > 1 && !sent ? uploaded / seconds : 0;
    this.#meta([`${bytes(uploaded)} of ${bytes(total)}`, speed && `${bytes(speed)}/s`, speed && `about ${duration((total - uploaded) / speed)} left`].filter(Boolean).join(" · "));
    this.#fire("progress", { phase: "uploading", uploaded, total, job: null, transport: "" });
  }

  // A job, running and finished

  #follow(job) {
    this.#job = job;
    this.#refused = job.refused;
    this.#remember(job.id);
    this.#notice("");
    this.feed?.stop();
    this.feed = new Feed(this.api, {
      onEvent: (event) => this.#event(event),
      onTransport: () => { this.#draw(); this.#progress(); },
      onFinal: () => this.#finish(),
      onGone: (problem) => { if (problem.status === 404) this.reset(); this.#failed(problem); },
      renewLinks: async () => (await this.#fetchJob(job.id)).links,
    });
    this.results.show();
    if (FINAL.has(job.state)) return this.#conclude(job);
    this.#setPhase("running");
    this.#tell("The job is under way.");
    this.feed.follow(job.links);
    this.#loadModels();
  }

  #event(event) {
    this.#job = { ...this.#job, ...event.job, links: this.#job.links, refused: this.#job.refused };
    if (event.type === "snapshot") this.results.snapshot(event.states);
    else this.results.changed(event.tasks, event.state);
    this.#draw();
    this.#progress();
  }

  /** A job with some of its tasks. The links that come with it are the newest. */
  async #fetchPage(id, query) {
    const asked = Date.now(); // performance.now() may stand still while the computer sleeps
    const answer = await this.api.json(`jobs/${encodeURIComponent(id)}`, { query });
    if (this.#job?.id === id) {
      this.#job = { ...this.#job, links: answer.links };
      this.linksAt = asked;
    }
    return answer;
  }

  async #fetchJob(id) {
    const { tasks, next, ...job } = await this.#fetchPage(id, { limit: 1 });
    return job;
  }

  /** The address of a link. One token signs all links of a job, so the newest one goes for the old links too. */
  #url(link) {
    const url = this.api.url(link);
    const token = this.#job && this.api.url(this.#job.links.archive).searchParams.get("token");
    if (token && url.searchParams.has("token")) url.searchParams.set("token", token);
    return url;
  }

  /** A picture did not load: its link may have expired. The job is asked for a new one, once for all that fail. */
  async #mend(image) {
    const { src } = image;
    if (!this.#job || !src.includes("token=")) return;
    if (this.#url(src).href === src) {
      this.renewing ??= this.#fetchJob(this.#job.id).finally(() => setTimeout(() => { this.renewing = null; }, LINKS_MS));
      await this.renewing.catch(() => {});
    }
    const { href } = this.#url(src);
    if (href !== src && image.src === src) image.src = href;
  }

  async #finish() {
    const { id } = this.#job;
    const { api } = this;
    const wanted = () => this.#job?.id === id && this.#current(api);
    for (let failures = 0; wanted(); failures += 1) {
      try {
        const job = await this.#fetchJob(id);
        if (!wanted()) return;
        if (FINAL.has(job.state)) this.#conclude(job);
        else this.feed.follow(job.links); // tried again from elsewhere meanwhile
        return;
      } catch (problem) {
        if (!wanted()) return;
        if (!problem.passing) return this.#failed(problem);
        this.#meta(CONNECTION_LOST, true);
        await pause(backoff(failures));
      }
    }
  }

  #conclude(job) {
    this.#job = job;
    const focus = this.shadowRoot.activeElement?.matches("[data-do=cancel], h2");
    this.#setPhase("finished");
    if (focus) this.$(".archive:not([hidden]), [data-do=again]").focus();
    this.#tell(this.$(".run h2").textContent);
    this.#progress();
    this.#fire("done", { job });
  }

  async #retry() {
    const job = await this.#post(this.#job.links.retry, this.$("[data-do=retry]"));
    if (!job || !this.isConnected) return;
    this.#setPhase("running");
    this.feed.follow(job.links);
    this.$(".run h2").focus();
  }

  async #post(link, button) {
    button.disabled = true;
    try {
      this.#job = await this.api.json(link, { method: "POST" });
      return this.#job;
    } catch (problem) {
      if (problem.status === 0) problem.advice = `Press “${button.textContent}” again when it is back.`;
      this.#failed(problem);
      return null;
    } finally {
      button.disabled = false;
      this.#draw();
    }
  }

  /** Links expire: where they are not quite new, the job is asked for new ones before a download. */
  async #download(event) {
    const link = event.currentTarget;
    link.href = this.#url(link.href);
    if (Date.now() - this.linksAt < LINKS_MS) return;
    event.preventDefault();
    const { href } = link;
    const { id } = this.#job;
    try {
      await this.#fetchJob(id);
      if (this.#job?.id === id) h("a", { href: this.#url(href), download: "" }).click();
    } catch (problem) { this.#failed(problem); }
  }

  /** Nothing of the job has begun: it may be models that it waits for. */
  get #waits() {
    const counts = this.#job?.counts;
    return Boolean(counts && this.#phase === "running" && counts.queued && !counts.running && !counts.done);
  }

  get #missing() {
    const wanted = this.#waits ? this.#job.recipe.models ?? [] : [];
    return this.options.items.filter((model) => wanted.includes(model.name) && model.state !== "ready");
  }

  async #fetchModels() {
    for (const model of this.#missing) {
      if (model.state === "failed") await this.api.json(`models/${model.name}/download`, { method: "POST" }).catch((problem) => this.#failed(problem));
    }
    this.#loadModels();
  }

  /** Soon, once, however many events come. */
  #draw() {
    this.drawing ??= requestAnimationFrame(() => { this.drawing = null; this.#showRun(); });
  }

  #showRun() {
    const job = this.#job;
    if (!job || !["running", "finished"].includes(this.#phase)) return;
    const { counts } = job;
    const total = sum(Object.values(counts));
    const over = total - counts.queued - counts.running;
    const final = this.#phase === "finished";
    const show = (selector, shown) => { this.$(selector).hidden = !shown; };
    this.$(".run h2").textContent = counted(job, total);
    this.#bar(total ? over / total : 0, !final && !over);
    show(".progress", !final);
    if (final) this.#meta(ended(job));
    else if (!this.transport && this.feed?.cuts) this.#meta(CONNECTION_LOST, true);
    else this.#meta(this.#runWords(job));
    show(".archive", final && counts.done);
    this.$(".archive").href = this.#url(job.links.archive);
    this.$(".archive").textContent = job.output_bytes ? `Download ZIP (${bytes(job.output_bytes)})` : "Download ZIP";
    show("[data-do=retry]", final && counts.failed);
    this.$("[data-do=retry]").textContent = `Retry ${counts.failed.toLocaleString("en")} failed`;
    show("[data-do=again]", final);
    show("[data-do=fetch]", this.#missing.some((model) => model.state === "failed"));
    show("[data-do=cancel]", !final);
    this.$("[data-do=cancel]").disabled = job.state === "cancelling";
    this.#showFilters(counts, total);
    this.#showRefused();
    const quarter = Math.floor((4 * over) / total);
    if (!final && quarter > this.quarter) this.#tell(this.$(".run h2").textContent);
    this.quarter = quarter;
  }

  #runWords(job) {
    if (job.state === "cancelling") return "Cancelling: what is running now is finished first.";
    if (this.#missing.length) return this.#missing.map((model) => `${model.name}: ${modelWords(model)}`).join(" · ");
    if (this.#waits) return "Waiting for its turn.";
    const { photos_per_s: speed, remaining_s: left_s } = job;
    return [speed && `${speed < 10 ? speed.toFixed(1) : Math.round(speed)} photos/s`, left_s && `about ${duration(left_s)} left`].filter(Boolean).join(" · ");
  }

  #showFilters(counts, total) {
    const group = this.$(".filters");
    const wanted = [["", "All", total], ...["done", "failed", "skipped", "cancelled"].filter((state) => counts[state]).map((state) => [state, state[0].toUpperCase() + state.slice(1), counts[state]])];
    group.hidden = wanted.length < 3;
    const states = wanted.map(([state]) => state).join();
    if (states !== group.dataset.states) {
      group.dataset.states = states;
      group.replaceChildren(...wanted.map(([value]) => h("label", {}, h("input", { type: "radio", name: "filter", value, checked: value === this.results.filter }), h("span"))));
    }
    wanted.forEach(([, word, count], place) => { group.children[place].lastChild.textContent = `${word} ${count.toLocaleString("en")}`; });
  }

  #showRefused() {
    const all = [...this.chosen.left, ...this.#refused];
    const part = this.$(".refused");
    if (part.hidden !== !all.length) part.open = all.length <= 5;
    part.hidden = !all.length;
    const text = JSON.stringify(all);
    if (text === this.refusedText) return;
    this.refusedText = text;
    part.querySelector("summary").textContent = `${plural(all.length, "file")} not accepted`;
    part.querySelector("ul").replaceChildren(...all.slice(0, 500).map((one) => h("li", {}, one.name, h("span", { textContent: `${one.message} ${one.advice}` }))));
  }

  // Small things

  #setPhase(phase) {
    const begins = phase !== this.#phase;
    this.#phase = phase;
    const asks = !this.$(".key").hidden;
    this.$(".choose").hidden = asks || phase !== "choosing";
    this.$(".run").hidden = asks || phase === "choosing";
    if (begins) {
      this.quarter = 0;
      const cancel = this.$("[data-do=cancel]");
      for (const other of this.$(".actions").children) other.hidden = other !== cancel;
      cancel.textContent = phase === "uploading" ? "Cancel upload" : "Cancel job";
      cancel.disabled = false;
      this.$(".filters").hidden = true;
      this.$(".progress").hidden = false;
      this.#showRefused();
    }
    this.#showRun();
  }

  #bar(share, busy) {
    const bar = this.$(".progress");
    bar.style.setProperty("--share", share);
    bar.classList.toggle("busy", busy);
    bar.setAttribute("aria-valuenow", Math.round(share * 100));
  }

  #meta(text, lost = false) {
    const meta = this.$(".meta");
    if (meta.textContent !== text) meta.textContent = text;
    if (lost && !meta.classList.contains("lost")) this.#tell(text);
    meta.classList.toggle("lost", lost);
  }

  /** Show what went wrong, and tell the page; a missing key is asked for. */
  #failed(problem) {
    if (!(problem instanceof Problem)) throw problem;
    const { code, message, advice, files } = problem;
    if (!this.#keyIsWrong(problem)) this.#notice(`${message} ${advice}`);
    this.#fire("error", { code, message, advice, files });
  }

  #notice(text) {
    this.$(".notice").hidden = !text;
    this.$(".notice p").textContent = text;
  }

  /** For those who listen to the page rather than look at it. */
  #tell(text) { this.$(".sr").textContent = text; }

  #progress() { this.#fire("progress", { phase: this.#phase, uploaded: 0, total: 0, job: this.#job, transport: this.transport }); }

  #fire(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }

  #remember(id) {
    if ((id ?? "") === this.job) return;
    this.#reflect("job", id);
    this.#fire("job", { id });
  }

  #reflect(name, value) {
    if (value === null || value === undefined || value === "") this.removeAttribute(name);
    else this.setAttribute(name, value);
  }
}

/** `26 of 40 done, 2 failed`. */
function counted({ counts, needs_look: looks }, total) {
  const parts = [`${counts.done.toLocaleString("en")} of ${total.toLocaleString("en")} done`];
  for (const state of ["failed", "skipped", "cancelled"]) if (counts[state]) parts.push(`${counts[state].toLocaleString("en")} ${state}`);
  if (looks) parts.push(`${looks} ${looks === 1 ? "needs" : "need"} a look`);
  return parts.join(", ");
}

/** `Done · took 12 s`. */
function ended({ state, started_at: from, finished_at: to }) {
  const took_s = from && to ? (Date.parse(to) - Date.parse(from)) / 1000 : 0;
  const word = { done: "Done", failed: "Failed", cancelled: "Cancelled; what was finished is kept" }[state];
  return took_s > 0 ? `${word} · took ${duration(took_s)}` : word;
}

function modelWords({ state, fraction, download_mb: mb, problem }) {
  if (state === "downloading") return `downloading, ${Math.round(fraction * 100)} % of ${mb} MB`;
  if (state === "checking") return "being checked";
  if (state === "failed") return [problem?.message, problem?.advice].filter(Boolean).join(" ") || "could not be downloaded";
  return state === "ready" ? "" : `${mb} MB to fetch`;
}

function h(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  const { part, ...others } = properties;
  if (part) node.setAttribute("part", part);
  Object.assign(node, others);
  node.append(...children.filter(Boolean));
  return node;
}

function image(url, className) { return h("img", { className, alt: "", loading: "lazy", decoding: "async", src: url.href }); }

function sum(numbers) { return numbers.reduce((all, one) => all + one, 0); }

/** How far from the left of a node the pointer is, 0 to 100. */
function shareAt(node, event) {
  const { left, width } = node.getBoundingClientRect();
  return Math.min(100, Math.max(0, ((event.clientX - left) / width) * 100));
}

/** The files below a dropped entry with their paths; null for one that cannot be read. */
async function* walk(entry, folder = "") {
  const path = folder + entry.name;
  try {
    if (entry.isFile) {
      yield [path, await new Promise((resolve, reject) => { entry.file(resolve, reject); })];
      return;
    }
    const reader = entry.createReader();
    for (;;) { // a reader gives a hundred at a time
      const some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
      if (!some.length) return;
      for (const one of some) yield* walk(one, `${path}/`);
    }
  } catch {
    yield [path, null];
  }
}

/** Why a file is not sent, where that is plain before it is. */
function whyNot(file) {
  if (!file) return { message: "It cannot be read.", advice: "Check that it still exists and that you may open it, then add it again." };
  const kind = { video: "a video", audio: "a sound" }[file.type.split("/")[0]];
  return kind ? { message: `It is ${kind}, not a photo.`, advice: "It was left out." } : null;
}

function pause(ms) { return new Promise((resolve) => { setTimeout(resolve, ms); }); }

/** 1 s, 2 s, 4 s … 30 s, each up to a fifth shorter, so that many clients do not come back at once. */
function backoff(failures) { return Math.min(30_000, 1000 * 2 ** failures) * (1 - Math.random() / 5); }

/** crypto.randomUUID is missing on plain http addresses. */
function randomId() { return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join(""); }

function same(one, other) { return one.size === other.size && one.lastModified === other.lastModified; }

function isZip(file) { return /\.zip$/i.test(file.name) || file.type === "application/zip"; }

function suffix(name) { return /\.(\w{1,5})$/.exec(name)?.[1] ?? "file"; }

function numbered(name, n) {
  const dot = name.lastIndexOf(".");
  return dot > name.lastIndexOf("/") + 1 ? `${name.slice(0, dot)} (${n})${name.slice(dot)}` : `${name} (${n})`;
}

function listed(all) { return all.length > 3 ? `${all.slice(0, 3).join(", ")} and ${all.length - 3} more` : all.join(", "); }

function plural(count, one, many = `${one}s`) { return `${count.toLocaleString("en")} ${count === 1 ? one : many}`; }

function bytes(count) {
  let size = count;
  const units = ["B", "kB", "MB", "GB"];
  while (size >= 1000 && units.length > 1) { size /= 1000; units.shift(); }
  return `${size >= 10 || units[0] === "B" ? Math.round(size) : size.toFixed(1)} ${units[0]}`;
}

function duration(seconds) {
  if (seconds < 10) return `${Number.isInteger(seconds) ? seconds : seconds.toFixed(seconds < 1 ? 2 : 1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min${whole % 60 && whole < 600 ? ` ${whole % 60} s` : ""}`;
  return `${Math.floor(minutes / 60)} h${minutes % 60 ? ` ${minutes % 60} min` : ""}`;
}

if (globalThis.customElements && !customElements.get("photo-processor")) customElements.define("photo-processor", PhotoProcessor);

export { PhotoProcessor };
