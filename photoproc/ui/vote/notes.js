// What went wrong for good: said until somebody has read it and dismisses it, over reloads as well. With `photo` it is a vote on it that
// was not counted; several for one reason are one line.
class Notes {
  constructor(root, key) {
    Object.assign(this, { root, key, notes: JSON.parse(forTab(key) ?? "[]") });
    this.show();
  }

  add(text, photo) {
    const last = this.notes.at(-1);
    if (photo && last?.photos && last.text === text) last.photos.push(photo);
    else this.notes.push({ text, photos: photo && [photo] });
    this.show();
  }

  dismiss() {
    this.notes = [];
    this.show();
  }

  show() {
    forTab(this.key, JSON.stringify(this.notes));
    this.root.hidden = !this.notes.length;
    this.root.querySelector(".lines").replaceChildren(...this.notes.map((one) => make("p", "", lineOf(one))));
  }
}

function lineOf({ text, photos }) {
  if (!photos) return text;
  const names = photos.slice(0, 3).map((name) => `“${name}”`).join(", ") + (photos.length > 3 ? " …" : "");
  return photos.length === 1 ? `Your vote on ${names} was not counted. ${text}` : `Your ${photos.length} votes on ${names} were not counted. ${text}`;
}
