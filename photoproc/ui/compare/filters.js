// Which photos are shown and in what order: by name, warning, model and tag. All of it is in the address.

const FILTERS = ["find", "by", "warning", "model", "tag"];
const LOOKS = "look", FAILED = "failed";

class Filters {
  constructor(root, changed, forget) {
    Object.assign(this, { changed, forget, forgotten: null, data: null });
    this.controls = Object.fromEntries([...root.querySelectorAll("[data-filter]")].map((one) => [one.dataset.filter, one]));
    this.values = Object.fromEntries(FILTERS.map((name) => [name, inAddress(name) ?? ""]));
    this.chip = root.querySelector(".bar .chip");
    this.clearing = root.querySelector(".bar .clear");
    this.sorting = root.querySelector(".sort");
    for (const [name, control] of Object.entries(this.controls)) {
      control.addEventListener(control.tagName === "INPUT" ? "input" : "change", () => this.choose({ [name]: control.value }));
    }
    this.controls.find.value = this.values.find;
    this.chip.addEventListener("click", () => this.drop());
    this.clearing.addEventListener("click", () => this.clear());
  }

  choose(values) {
    Object.assign(this.values, values);
    address(values);
    this.changed();
  }

  // All but the order.
  clear() {
    const none = { find: "", warning: "", model: "", tag: "" };
    this.controls.find.value = "";
    if (this.chosen) this.drop();
    this.choose(none);
    this.controls.find.focus();
  }

  drop() {
    this.forgotten = this.data.chosen.turn;
    this.forget(this.forgotten);
    this.changed();
  }

  get chosen() {
    const { chosen } = this.data;
    return chosen && chosen.turn !== this.forgotten ? chosen : null;
  }

  // The items to show, in order. They come worst first; another order is made only where one was chosen.
  of(items, data) {
    this.data = data;
    this.offer(items, data);
    const found = items.filter((item) => this.fits(item)), { model } = this.values;
    if (!this.order && !model) return found;
    const failed = (item) => Number(Boolean(model) && item.shots.some((shot) => shot.model === model && shot.failed));
    return found.sort((one, other) => failed(other) - failed(one) || (other.uncertain !== null) - (one.uncertain !== null) || this.far(other) - this.far(one));
  }

  // The model that photos are sorted by, if any.
  get order() {
    if (this.data.models.length < 3) return "";
    return this.values.by || this.values.model;
  }

  far(item) {
    return (this.order ? item.apart[this.order] : item.disagreement) ?? -1;
  }

  fits(item) {
    const { find, warning, model, tag } = this.values, { chosen } = this;
    const name = item.name.toLowerCase();
    return (!chosen || chosen.ids.includes(item.id))
      && find.toLowerCase().split(/\s+/).every((word) => name.includes(word))
      && (!warning || warned(item, warning))
      && (!model || item.shots.some((shot) => shot.model === model && (shot.failed || shot.looks)))
      && (!tag || item.tags.some((one) => same(one, tag)));
  }

  offer(items, data) {
    const count = (fits) => items.filter(fits).length;
    const codes = [LOOKS, FAILED, ...Object.keys(data.codes)].map((code) => [code, count((item) => warned(item, code))]);
    const words = { [LOOKS]: "Needs a look", [FAILED]: "Failed", ...data.codes };
    this.options("warning", "Any warning", codes.filter(([, many]) => many).map(([code, many]) => [code, `${words[code]} (${many})`]), (code) => words[code] ?? code);
    const troubled = (name) => count((item) => item.shots.some((shot) => shot.model === name && (shot.failed || shot.looks)));
    this.options("model", "Any model", data.models.map((name) => [name, troubled(name)]).filter(([, many]) => many)
      .map(([name, many]) => [name, `${name} failed or needs a look (${many})`]), (name) => `${name} failed or needs a look`);
    const tags = new Map();
    for (const tag of items.flatMap((item) => item.tags)) {
      const folded = tag.toLowerCase(), [name, many] = tags.get(folded) ?? [tag, 0];
      tags.set(folded, [name, many + 1]);
    }
    this.known = [...tags.values()].map(([tag]) => tag).sort((one, other) => one.localeCompare(other));
    this.options("tag", "Any tag", this.known.map((tag) => [tag.toLowerCase(), `${tag} (${tags.get(tag.toLowerCase())[1]})`]), (tag) => tag);
    this.options("by", "all models", data.models.map((name) => [name, `${name} against the others`]), (name) => name);
    this.sorting.hidden = data.models.length < 3;
    this.chip.hidden = !this.chosen;
    if (this.chosen) {
      this.chip.replaceChildren(make("span", "", this.chosen.label), make("span", "x", "×"));
      this.chip.setAttribute("aria-label", `Show all photos, not only: ${this.chosen.label}`);
    }
    this.clearing.hidden = !["find", "warning", "model", "tag"].some((name) => this.values[name]);
  }

  // What can be chosen; what is chosen stays there, also where nothing is like that any more.
  options(name, all, pairs, word) {
    const control = this.controls[name];
    let value = this.values[name];
    if (name === "tag") value = value.toLowerCase();
    if (value && !pairs.some(([known]) => known === value)) pairs.push([value, `${word(value)} (0)`]);
    control.hidden = !pairs.length;
    control.classList.toggle("on", Boolean(value) && name !== "by");
    const now = JSON.stringify(pairs);
    // A list that is open would close if it were made anew.
    if (control.dataset.of !== now && (control.getRootNode().activeElement !== control || control.value !== value)) {
      control.dataset.of = now;
      control.replaceChildren(new Option(all, ""), ...pairs.map(([known, text]) => new Option(text, known)));
    }
    if (control.value !== value) control.value = value;
  }
}

function warned(item, code) {
  if (code === LOOKS) return item.looks;
  if (code === FAILED) return item.shots.some((shot) => shot.failed);
  return item.codes.includes(code);
}

function same(one, other) {
  return one.toLowerCase() === other.toLowerCase();
}
