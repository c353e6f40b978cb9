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

