// Photos by how much their masks differ, and a viewer in which all models move together.
// `data.models`: names; `data.items`, worst first: [{id, name, ratio, small, photo, heat, disagreement, edge, apart, uncertain, looks, codes,
// tags, fixed, shots}], `fixed` of the tags being folders; `shots` one a model: {model, time, said, failed, looks, full, preview,
// levels, width, ratio, notes}, `levels` [[width, address]] between preview and full; `data.opaque`: no backdrop shows through;
// `data.codes`: a warning's words by its code; `data.chosen`: {label, ids, turn} to show these only, until that turn is “forgotten”; `data.edit`:
// {base, key} of the API where tags are kept. What is shown is in the address (`photo`, `panes`, and what filters.js keeps there).

const comparisons = new WeakMap();

export default function ({ data, parentElement, setStateValue }) {
  let found = comparisons.get(parentElement);
  if (!found) comparisons.set(parentElement, (found = new Compare(parentElement.querySelector(".pp"))));
  found.forget = (turn) => setStateValue("forgotten", turn); // which stays said, whatever run it meets
  found.update(data);
}

class Compare {
  constructor(root) {
    this.root = root;
    this.grid = root.querySelector(".grid");
    this.empty = root.querySelector(".empty");
    this.cards = new Map();
    this.edits = new Map();
    this.heat = root.querySelector("[data-heat]");
    this.filters = new Filters(root, () => this.draw(), (turn) => this.forget(turn));
    this.step = new Step(root, "photo", ["panes"], (id) => this.see(id));
    this.viewer = new Viewer(root.querySelector("dialog"), {
      step: this.step,
      items: () => this.items,
      shown: () => this.shown,
      card: (id) => this.cards.get(id)?.node,
      tagged: (id, found) => this.tagged(id, found),
      known: () => this.filters.known,
    });
    this.heat.checked = remembered("photoproc-heat", "1") === "1";
    this.heat.addEventListener("change", () => {
      remember("photoproc-heat", this.heat.checked ? "1" : "0");
      this.draw();
    });
    this.empty.querySelector("button").addEventListener("click", () => this.filters.clear());
    this.wanted = this.step.value;
  }

  update(data) {
    matchTheme(this.root);
    this.data = data;
    this.draw();
    if (this.wanted !== null) this.see(this.wanted);
  }

  // Open the photo that the address names, as soon as it is there; close the viewer where it names none.
  see(id) {
    this.wanted = id;
    if (id === null) return this.viewer.dialog.close();
    if (!this.items.some((item) => item.id === Number(id))) return;
    this.wanted = null;
    this.viewer.open(Number(id));
  }

  // What was said to the API here is shown until Python tells something newer.
  tagged(id, found) {
    const told = this.data.items.find((item) => item.id === id);
    if (!told) return;
    this.edits.set(id, { over: JSON.stringify(told.tags), tags: found.tags, fixed: found.tags.length - found.given.length });
    this.draw();
  }

  edited(item) {
    const edit = this.edits.get(item.id);
    if (!edit) return item;
    if (edit.over === JSON.stringify(item.tags)) return { ...item, tags: edit.tags, fixed: edit.fixed };
    this.edits.delete(item.id);
    return item;
  }

  draw() {
    this.step.note(); // what is filtered is in the address as well
    const { data } = this, items = (this.items = data.items.map((item) => this.edited(item)));
    this.shown = this.filters.of(items, data);
    this.root.classList.toggle("noheat", !this.heat.checked);
    const count = this.shown.length === items.length ? `${items.length}` : `${this.shown.length} of ${items.length}`;
    this.root.querySelector(".count").textContent = `${count} ${items.length === 1 ? "photo" : "photos"}`;
    const far = (item) => this.filters.far(item), worst = Math.max(0.02, ...items.map(far));
    inPlace(this.grid, this.cards, this.shown.map((item) => ({ ...item, far: far(item), share: far(item) / worst })), (item) => this.card(item));
    this.empty.hidden = this.shown.length > 0 || items.length === 0;
    if (!this.empty.hidden) this.filters.clearing.hidden = true;
    this.viewer.refresh(data);
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
    foot.append(name, make("span", "far", item.far < 0 ? uncompared(item) : percent(item.far)), meter);
    if (item.uncertain !== null) {
      foot.append(make("span", "look", `needs a look: ${item.uncertain[1]} is uncertain, ${item.uncertain[0].toFixed(2)}`));
      foot.lastChild.title = "How much a model disagrees with itself about the photo, mirrored or a little shifted";
    }
    if (item.tags.length) {
      const tags = make("span", "tags", item.tags.join(" · "));
      tags.title = tags.textContent;
      foot.append(tags);
    }
    card.append(stage, foot);
    card.addEventListener("click", () => this.viewer.open(item.id));
    return card;
  }
}

function uncompared({ shots }) {
  const failed = shots.filter((shot) => shot.failed).map((shot) => shot.model);
  if (failed.length === shots.length) return "failed";
  return failed.length ? `not compared: ${failed.join(", ")} failed` : "not compared";
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

function inAddress(name) {
  return new URLSearchParams(location.search).get(name) || null;
}

// Keep some values in the address; those that are empty are taken out.
function address(values) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === "") url.searchParams.delete(name);
    else url.searchParams.set(name, String(value));
  }
  if (url.href !== location.href) history.replaceState(history.state, "", url);
}
