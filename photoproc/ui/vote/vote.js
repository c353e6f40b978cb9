// Two cutouts of one photo; which is better? `data`: {address, voting, ranking, opaque}: the job's address in the API, a link that
// lets people vote on it and opens nothing that tells models, the page of its ranking, and whether no backdrop shows through.
// Two ballots are at hand, the shown one and the next with its pictures loaded, so that the next pair is there at once. What was
// said is kept until the server has it, over reloads as well; the server counts what is said of a ballot once.

const booths = new WeakMap();
const BACKDROPS = ["checker", "white", "black"];
const CHOICES = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie", t: "tie", " ": "tie", x: "both_bad" };
const LOOK_MS = 300; // nobody judges faster: what comes sooner is the rest of a double click
const HOLD_MS = 250; // a key held longer zooms while it is held
const RANK_MS = 4000;
const GONE = "This job is not there any more: it was deleted. Choose another comparison to vote on.";
const EXPIRED = "This page was open for long and asks for a new link. What you have said is kept. If this stays, reload the page.";
const OFFLINE = "The server does not answer. What you have said is kept here and sent when it is back.";

export default function ({ data, parentElement, setTriggerValue }) {
  let booth = booths.get(parentElement);
  if (!booth) booths.set(parentElement, (booth = new Booth(parentElement.querySelector(".pp"))));
  booth.renew = () => setTriggerValue("renew", Date.now());
  booth.update(data);
}

class Booth {
  constructor(root) {
    Object.assign(this, { root, hands: [], pending: [], done: [], votes: null, left: null, enough: false, spot: { x: 0.5, y: 0.5 } });
    this.find = (what) => root.querySelector(what);
    this.panes = this.find(".panes");
    this.voter = remembered("photoproc-voter", "");
    this.backdrop = remembered("photoproc-backdrop", "checker");
    this.find(".who").addEventListener("submit", (event) => this.enter(event));
    // A button that was clicked would take the space bar to itself.
    root.addEventListener("mousedown", (event) => event.target.closest("button") && event.preventDefault());
    root.addEventListener("click", (event) => this.click(event));
    this.panes.addEventListener("pointerdown", (event) => { this.down = { x: event.clientX, y: event.clientY }; });
    this.panes.addEventListener("pointermove", (event) => this.point(event));
    const key = (event) => {
      if (root.isConnected) this.key(event);
      else for (const kind of ["keydown", "keyup"]) document.removeEventListener(kind, key);
    };
    for (const kind of ["keydown", "keyup"]) document.addEventListener(kind, key);
  }

  update(data) {
    const renewed = this.data && this.data.voting !== data.voting;
    const first = !this.data;
    this.data = data;
    if (data.name) this.voter = data.name; // as signed in, whoever sat here before
    this.find("[data-do=rename]").hidden = Boolean(data.name);
    matchTheme(this.root);
    this.find(".over a").href = data.ranking;
    this.find("[data-do=backdrop]").hidden = data.opaque;
    this.turn(this.backdrop);
    if (first) this.begin();
    else if (renewed) { this.send(); this.fill(); }
  }

  begin() {
    this.pending = JSON.parse(forTab(this.kept) ?? "[]");
    this.notes = new Notes(this.find(".note"), `photoproc-notes ${this.data.address}`);
    this.send();
    if (this.voter) this.start();
    else this.stage("who");
  }

  get kept() { return `photoproc-votes ${this.data.address}`; }

  // What is shown of the three: the question for a name, a pair, or that there are no more.
  stage(which) {
    for (const name of ["who", "booth", "over"]) this.find(`.${name}`).hidden = name !== which;
    this.find(".foot").hidden = which === "who";
    this.find(".looks").hidden = which !== "booth";
    if (which === "who") { this.find("input").value = this.voter; this.find("input").focus(); }
  }

  enter(event) {
    event.preventDefault();
    this.voter = this.find("input").value.trim();
    if (!this.voter) return;
    remember("photoproc-voter", this.voter);
    Object.assign(this, { hands: [], done: [] });
    this.start();
  }

  start() {
    this.find(".as .name").textContent = this.voter;
    this.find(".which").hidden = true;
    this.through = false;
    this.stage("booth");
    this.show();
    this.fill();
    this.rank();
  }

  async call(method, path, body) {
    let answer;
    try {
      answer = await fetch(`${this.data.address}${path}${path.includes("?") ? "&" : "?"}token=${this.data.voting}`, {
        method, body: body && JSON.stringify(body), headers: body ? { "Content-Type": "application/json" } : {}, signal: AbortSignal.timeout(20000),
      });
    } catch { throw { again: true, text: OFFLINE }; }
    if (answer.ok) return answer.json();
    const { code, title, detail } = await answer.json().catch(() => ({}));
    if (answer.status >= 500 && !code) throw { again: true, text: OFFLINE };
    const expired = code === "link_expired" || code === "link_invalid";
    if (expired && this.asked !== this.data.voting) { this.asked = this.data.voting; this.renew(); } // `update` brings it
    throw { again: answer.status >= 500 || answer.status === 429, code, expired, title: title ?? "The server refused it.",
      text: expired ? EXPIRED : `${title ?? "The server refused it."} ${detail ?? ""}` };
  }

  // Have two ballots at hand.
  async fill() {
    if (this.filling) return;
    this.filling = true;
    const { voter } = this;
    for (let tries = 1; this.hands.length < 2 && this.root.isConnected && voter === this.voter;) {
      try {
        const besides = [...this.hands.map((one) => one.id), ...this.pending.map((one) => one.ballot)].slice(-8);
        const found = await this.call("POST", "/ballots", { voter, besides });
        if (voter !== this.voter) break;
        tries = 1;
        this.calm();
        this.votes ??= found.votes;
        this.left = found.remaining + this.hands.length;
        this.progress();
        if (!found.ballot) { this.through = true; break; }
        if ([...this.hands, ...this.pending.map((one) => ({ id: one.ballot }))].some((one) => one.id === found.ballot.id)) continue;
        this.hands.push(held(found.ballot));
        if (this.hands.length === 1) this.show();
      } catch (problem) {
        if (problem.code === "not_found") { this.end(GONE, true); break; }
        if (problem.code === "cutout_gone") { // for a moment, mostly
          if (tries > 2) this.trouble(problem.text);
          await pause(tries++);
          continue;
        }
        this.trouble(problem.text);
        if (problem.code === "voter_name") { this.stage("who"); break; }
        if (!problem.again && problem.code !== "nothing_to_vote") break;
        await pause(tries++);
      }
    }
    this.filling = false;
    if (voter !== this.voter) return this.fill();
    if (this.through && !this.hands.length) this.end("You have voted on all pairs there are. Thank you. More is known when others vote too, or of more photos.");
  }

  end(text, gone) {
    this.stage("over");
    this.find(".over .lead").textContent = text;
    this.showKeys(false);
    this.find(".over a").hidden = Boolean(gone);
    if (gone) Object.assign(this, { hands: [], done: [] });
    this.buttons();
  }

  // Both cutouts at once, as soon as they are there: small if need be, whole when they have come.
  async show() {
    const ballot = this.hands[0];
    this.panes.classList.toggle("waiting", !ballot || !ballot.shown);
    this.zoom(false);
    this.buttons();
    if (!ballot) return;
    try {
      const [images, whole] = await ballot.soon;
      if (this.hands[0] !== ballot) return;
      this.place(ballot, images, whole);
      if (!whole) this.place(ballot, await ballot.whole, true);
    } catch {
      if (this.hands[0] !== ballot || ballot.shown) return; // a small one stays
      this.trouble("The pictures of this pair did not arrive. Trying again …");
      await pause(2);
      if (this.hands[0] !== ballot) return;
      this.hands.shift(); // its cutouts may be gone: the server says what is next
      this.show();
      this.fill();
    }
  }

  place(ballot, images, whole) {
    if (this.hands[0] !== ballot) return;
    const frame = [0, 1].map((axis) => Math.max(ballot.left_wh[axis], ballot.right_wh[axis]));
    ["left", "right"].forEach((side, number) => {
      const fit = this.find(`[data-side=${side}] .fit`), image = images[number], [wide, high] = ballot[`${side}_wh`];
      fit.style.setProperty("--ratio", String(frame[0] / frame[1]));
      image.style.width = `${(100 * wide) / frame[0]}%`;
      image.style.height = `${(100 * high) / frame[1]}%`;
      image.alt = `The cutout on the ${side}`;
      image.draggable = false;
      image.dataset.ballot = ballot.id;
      fit.replaceChildren(image);
    });
    this.whole = whole;
    this.frame = frame;
    this.find(".photo").textContent = this.find(".photo").title = ballot.photo;
    this.find(".original").src = ballot.links.original;
    this.panes.classList.remove("waiting");
    ballot.shown ??= performance.now();
    this.buttons();
  }

  vote(choice) {
    const ballot = this.hands[0];
    if (!ballot?.shown || performance.now() - ballot.shown < LOOK_MS || !this.showing) return;
    this.hands.shift();
    this.pending.push({ ballot: ballot.id, choice, voter: this.voter, photo: ballot.photo });
    forTab(this.kept, JSON.stringify(this.pending));
    this.left -= 1;
    this.find(".which").open = false;
    this.progress();
    this.show();
    this.send();
    this.fill();
  }

  get showing() { return !this.find(".booth").hidden; }

  async send() {
    if (this.sending) return;
    this.sending = true;
    for (let tries = 1; this.pending.length;) {
      const said = this.pending[0];
      let refused = null;
      try {
        const vote = await this.call("POST", `/ballots/${said.ballot}/vote`, { voter: said.voter, choice: said.choice });
        tries = 1;
        this.calm();
        this.votes += 1;
        if (said.voter === this.voter) this.done.push(said.ballot);
        this.tell(said, vote);
        this.rank();
      } catch (problem) {
        if (problem.expired || problem.again) this.trouble(problem.text);
        if (problem.expired) break;
        if (problem.again) { await pause(tries++); continue; }
        refused = problem;
      }
      this.pending.shift();
      forTab(this.kept, JSON.stringify(this.pending));
      if (refused) this.lose(said, refused);
      this.progress();
      this.buttons();
    }
    this.sending = false;
  }

  // A vote that the server does not take: said until somebody has read it. Its pair is to be had again.
  lose(said, { code, title }) {
    this.notes.add(title, said.photo);
    if (code === "not_found") { this.end(GONE, true); return; }
    if (said.voter !== this.voter || !this.find(".who").hidden) return;
    this.through = false;
    this.hands.splice(1); // asked again, the server says what is next and how many are left
    if (!this.showing) { this.stage("booth"); this.show(); }
    this.fill();
  }

  tell(said, vote) {
    const which = this.find(".which");
    which.hidden = false;
    which.open = false;
    const [first, second] = matchMedia("(max-width: 640px)").matches ? ["upper", "lower"] : ["left", "right"];
    const chose = { left: `the ${first} one is better`, right: `the ${second} one is better`, tie: "about the same", both_bad: "both bad" }[vote.choice];
    this.find(".told").textContent = `${said.photo}: ${first} ${vote.left}, ${second} ${vote.right}. You said: ${chose}.`;
  }

  async undo() {
    if (this.pending.length || !this.done.length || this.undoing) return;
    this.undoing = true;
    const ballot = this.done.pop();
    try {
      const again = await this.call("DELETE", `/ballots/${ballot}/vote?voter=${encodeURIComponent(this.voter)}`);
      this.hands.unshift(held(again));
      this.votes -= 1;
      this.left += 1;
      this.find(".which").hidden = true;
      this.stage("booth");
      this.show();
      this.rank();
    } catch (problem) {
      if (problem.again) { this.done.push(ballot); this.unsure = ballot; this.trouble("The vote could not be taken back: the server does not answer. Try again."); }
      else if (problem.expired) { this.done.push(ballot); this.trouble(problem.text); }
      else if (problem.code === "ballot_gone" && ballot === this.unsure) this.tookBack(); // and its answer was lost
      else if (problem.code === "cutout_gone") { this.find(".which").hidden = true; this.notes.add(`The vote was taken back. ${problem.title}`); this.rank(); }
      else this.notes.add(`The vote could not be taken back. ${problem.title}`);
    }
    this.undoing = false;
    this.progress();
    this.buttons();
  }

  tookBack() {
    Object.assign(this, { hands: [], through: false });
    this.votes -= 1;
    this.find(".which").hidden = true;
    this.calm();
    this.stage("booth");
    this.show();
    this.fill();
    this.rank();
  }

  // Whether the votes tell the models apart is asked for now and then: it is computed anew with every vote.
  async rank() {
    if (this.ranking) { this.rankAgain = true; return; }
    this.ranking = true;
    try {
      const answer = await fetch(`${this.data.address}/ballots?token=${this.data.voting}`);
      if (answer.ok) {
        const found = await answer.json();
        Object.assign(this, { votes: found.votes, enough: found.enough });
        this.progress();
      }
    } catch { /* the next vote asks again */ }
    setTimeout(() => {
      this.ranking = false;
      if (this.rankAgain && this.root.isConnected) { this.rankAgain = false; this.rank(); }
    }, RANK_MS);
  }

  progress() {
    if (this.votes === null) return;
    const few = this.votes === 0 ? "No votes yet" : `${plural(this.votes, "vote")}, ${this.enough ? "enough to tell models apart" : "not enough yet to tell the models apart"}`;
    const mine = this.left === null ? "" : ` · ${plural(Math.max(0, this.left), "pair")} left for you`;
    this.find(".count").textContent = few + mine;
  }

  trouble(text) { this.find(".trouble").hidden = false; this.find(".trouble").textContent = text; }
  calm() { this.find(".trouble").hidden = true; }

  buttons() {
    this.find("[data-do=undo]").disabled = !this.done.length || this.pending.length > 0;
    for (const button of this.root.querySelectorAll("[data-choice]")) button.disabled = this.panes.classList.contains("waiting");
  }

  click(event) {
    const button = event.target.closest("button"), pane = event.target.closest(".pane");
    if (button?.dataset.choice && event.detail < 2) this.vote(button.dataset.choice);
    else if (button?.dataset.do) this.act(button.dataset.do);
    else if (pane && event.detail < 2) {
      const moved = this.down && Math.hypot(event.clientX - this.down.x, event.clientY - this.down.y) > 8;
      if (!moved) { this.aim(event, pane); this.zoom(!this.zoomed); }
    }
  }

  act(what) {
    if (what === "undo") this.undo();
    if (what === "dismiss") this.notes.dismiss();
    if (what === "rename") this.stage("who");
    if (what === "zoom") this.zoom(!this.zoomed);
    if (what === "backdrop" && !this.data.opaque) this.turn(BACKDROPS[(BACKDROPS.indexOf(this.backdrop) + 1) % BACKDROPS.length], true);
    if (what === "original") this.press("original", (this.find(".original").hidden = !this.find(".original").hidden) === false);
    if (what === "keys") this.showKeys(this.find(".keys").hidden);
  }

  showKeys(on) {
    this.find(".keys").hidden = !on;
    this.find("[data-do=keys]").setAttribute("aria-expanded", String(on));
  }

  press(what, on) { this.find(`[data-do=${what}]`).setAttribute("aria-pressed", String(on)); }

  turn(backdrop, chosen) {
    this.backdrop = BACKDROPS.includes(backdrop) ? backdrop : "checker";
    if (chosen) remember("photoproc-backdrop", this.backdrop);
    this.panes.dataset.backdrop = this.data.opaque ? "opaque" : this.backdrop;
  }

  // Zoomed in, both show the part that the pointer is over; in full size, or twice as large where that is more.
  zoom(on) {
    this.zoomed = on && Boolean(this.frame) && !this.panes.classList.contains("waiting");
    const box = this.find(".pane").getBoundingClientRect(), ratio = this.frame ? this.frame[0] / this.frame[1] : 1;
    const z = this.zoomed ? Math.min(8, Math.max(2, this.frame[0] / Math.min(box.width, box.height * ratio))) : 1;
    this.panes.classList.toggle("zoomed", this.zoomed);
    this.panes.style.setProperty("--z", String(z));
    this.panes.style.setProperty("--x", String((0.5 - this.spot.x) * (z - 1)));
    this.panes.style.setProperty("--y", String((0.5 - this.spot.y) * (z - 1)));
    this.press("zoom", this.zoomed);
  }

  aim(event, pane) {
    const box = pane.getBoundingClientRect(), within = (share) => Math.min(1, Math.max(0, share));
    this.spot = { x: within((event.clientX - box.left) / box.width), y: within((event.clientY - box.top) / box.height) };
  }

  point(event) {
    const pane = event.target.closest(".pane");
    if (!pane) return;
    this.aim(event, pane);
    if (this.zoomed) this.zoom(true);
  }

  key(event) {
    const from = event.composedPath()[0], letter = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey || event.metaKey || event.altKey || from.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(from.tagName)) return;
    if (this.find(".foot").hidden) return;
    if (event.type === "keyup") {
      if (letter === "z" && this.pressed && performance.now() - this.pressed > HOLD_MS) this.zoom(false);
      if (letter === "z") this.pressed = null;
      return;
    }
    const pressing = from.closest?.("button, a, summary");
    if (pressing && (letter === " " || letter === "Enter")) {
      if (event.repeat) event.preventDefault();
      return;
    }
    const action = { b: "backdrop", o: "original", u: "undo", "?": "keys" }[letter];
    if (letter in CHOICES && this.showing) { if (!event.repeat) this.vote(CHOICES[letter]); }
    else if (letter === "Escape" && !this.find(".keys").hidden) this.showKeys(false);
    else if (action) { if (!event.repeat) this.act(action); }
    else if (letter === "z" && this.showing) {
      if (!event.repeat) { this.zoom(!this.zoomed); this.pressed = this.zoomed ? performance.now() : null; }
    } else return;
    event.preventDefault();
  }
}
