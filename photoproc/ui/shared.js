// What our components have in common. Names that a user gave are set as text, never as HTML.

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

// Make the children of `root` be `items`, each with an `id`, drawing only what changed since the last time.
function inPlace(root, known, items, draw) {
  const wanted = new Set(items.map((item) => item.id));
  for (const [id, kept] of known) {
    if (!wanted.has(id)) { kept.node.remove(); known.delete(id); }
  }
  items.forEach((item, place) => {
    const text = JSON.stringify(item);
    let kept = known.get(item.id);
    if (!kept || kept.text !== text) {
      const node = draw(item);
      if (kept) kept.node.replaceWith(node);
      known.set(item.id, (kept = { node, text }));
    }
    if (root.children[place] !== kept.node) root.insertBefore(kept.node, root.children[place] ?? null);
  });
}

// Say to the style sheet whether the theme is dark: light text means that it is.
function matchTheme(root) {
  const found = getComputedStyle(root).color.match(/\d+/g)?.slice(0, 3).map(Number) ?? [0, 0, 0];
  root.classList.toggle("dark", found.reduce((sum, part) => sum + part, 0) > 382);
}

function remembered(key, otherwise) {
  try { return localStorage.getItem(key) ?? otherwise; } catch { return otherwise; }
}

function remember(key, value) {
  try { localStorage.setItem(key, value); } catch { /* private window: forgotten, no harm */ }
}

// What this tab keeps over a reload; without a value, what it has kept.
function forTab(key, value) {
  try {
    if (value === undefined) return sessionStorage.getItem(key);
    sessionStorage.setItem(key, value);
  } catch { /* private window: kept until the page goes */ }
  return null;
}


// What is open over a page is in its address, as `name`. Opening it is a step of the browser's history, so that Back closes it
// and Forward opens it again; `moved` is told what the address says then. Streamlit, which would draw the page anew,
// hears only of steps that change more than that (and what is named in `beside`).
class Step {
  constructor(root, name, beside, moved) {
    Object.assign(this, { name, beside, leaving: false, next: null });
    this.note();
    const step = (event) => {
      if (!root.isConnected) return window.removeEventListener("popstate", step, true);
      const { around, next, leaving } = this;
      this.note();
      if (this.around === around) event.stopImmediatePropagation();
      Object.assign(this, { leaving: false, next: null });
      if (!leaving) moved(this.value);
      else if (next !== null) this.set(next);
    };
    window.addEventListener("popstate", step, true); // capturing: before Streamlit's own
  }

  get value() { return new URLSearchParams(location.search).get(this.name) || null; }

  // Remember the rest of the address; to be called whenever it may have changed.
  note() {
    const url = new URL(location.href);
    for (const name of [this.name, ...this.beside]) url.searchParams.delete(name);
    this.around = url.pathname + url.search;
  }

  set(value) {
    if (this.leaving) return void (this.next = value);
    const before = this.value;
    if ((value === null ? null : String(value)) === before) return;
    if (value === null && history.state?.photoprocOpen) {
      this.leaving = true;
      return history.back();
    }
    const url = new URL(location.href);
    if (value === null) url.searchParams.delete(this.name);
    else url.searchParams.set(this.name, String(value));
    if (before === null) history.pushState({ ...history.state, photoprocOpen: true }, "", url);
    else history.replaceState(history.state, "", url);
    this.note();
  }
}
