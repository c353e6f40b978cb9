// The tags of the photo in the viewer: its folders, which stay, and those that people gave it.

class TagRow {
  constructor(row, button, { edit, known, item, tagged, left }) {
    Object.assign(this, { row, button, edit, known, item, tagged, left });
    this.input = row.querySelector("input");
    this.chips = row.querySelector(".chips");
    this.said = row.querySelector(".refused");
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.input.addEventListener("change", () => { if (this.offered(this.input.value)) this.add(); });
    this.chips.addEventListener("click", (event) => {
      const chip = event.target.closest("[data-tag]");
      if (chip) this.send("DELETE", chip.dataset.tag).then(() => this.input.focus());
    });
  }

  get open() { return !this.row.hidden; }

  toggle(open = !this.open) {
    this.row.hidden = !open;
    this.button.setAttribute("aria-expanded", String(open));
    if (open) this.input.focus();
    else this.left();
  }

  show(item) {
    const many = item.tags.length;
    this.button.hidden = !this.edit() && !many;
    this.button.textContent = many ? `Tags ${many}` : "Tags";
    this.input.hidden = !this.edit();
    if (this.shown !== item.id) this.said.textContent = "";
    this.shown = item.id;
    this.chips.replaceChildren(...item.tags.map((tag, place) => this.chip(tag, place < item.fixed)));
    const offered = this.known().filter((tag) => !item.tags.some((one) => same(one, tag)));
    this.row.querySelector("datalist").replaceChildren(...offered.map((tag) => new Option(tag, tag)));
  }

  chip(tag, fixed) {
    const chip = make("span", "chip"), word = make("span", "", tag);
    chip.append(word);
    if (fixed) chip.title = "The folder it came in";
    else if (this.edit()) {
      const off = make("button", "x", "×");
      off.type = "button";
      off.dataset.tag = tag;
      off.setAttribute("aria-label", `Take away the tag ${tag}`);
      chip.append(off);
    }
    return chip;
  }

  offered(text) {
    return [...this.row.querySelectorAll("option")].some((one) => one.value === text);
  }

  key(event) {
    if (event.key === "Enter") this.add();
    else if (event.key === "Escape") this.toggle(false);
    else if (event.key === "Backspace" && !this.input.value) {
      const last = this.item();
      if (last.tags.length > last.fixed) this.send("DELETE", last.tags.at(-1));
    } else return;
    event.preventDefault();
  }

  add() {
    const tag = this.input.value.trim();
    if (!tag) return;
    // These would be parts of an address.
    if (/[/\\]/.test(tag) || tag === "." || tag === "..") this.said.textContent = "A tag is without “/” and “\\”, and not only dots.";
    else {
      this.input.value = "";
      this.send("PUT", tag);
    }
  }

  async send(method, tag) {
    const { base, key } = this.edit(), { id } = this.item();
    this.said.textContent = "";
    try {
      const answer = await fetch(`${base}/${id}/tags/${encodeURIComponent(tag)}`, { method, headers: { "X-Api-Key": key } });
      const told = await answer.json();
      if (answer.ok) return this.tagged(id, told);
      this.said.textContent = `${told.title} ${told.detail}`.trim();
    } catch {
      this.said.textContent = `“${tag}” could not be kept: the server does not answer. Try again in a moment.`;
    }
    if (method === "PUT" && !this.input.value) this.input.value = tag; // to be mended, not typed again
  }
}
