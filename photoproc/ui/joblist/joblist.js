// The list of jobs, updated in place. `data.jobs`:
// [{id, title, when, exact, photos, models, said, done, failed, other, size, thumbnails}].
// A click opens a job without reloading the page; the address still works in a new tab.

const lists = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector("ul");
  let rows = lists.get(parentElement);
  if (!rows) lists.set(parentElement, (rows = new Map()));
  const wanted = new Set(data.jobs.map((job) => job.id));
  for (const [id, row] of rows) {
    if (!wanted.has(id)) { row.node.remove(); rows.delete(id); }
  }
  data.jobs.forEach((job, place) => {
    const text = JSON.stringify(job);
    let row = rows.get(job.id);
    if (!row || row.text !== text) {
      const node = line(job, setTriggerValue);
      if (row) row.node.replaceWith(node);
      rows.set(job.id, (row = { node, text }));
    }
    if (root.children[place] !== row.node) root.insertBefore(row.node, root.children[place] ?? null);
  });
}

function line(job, setTriggerValue) {
  const link = make("a");
  link.href = `?job=${job.id}`;
  link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    setTriggerValue("open", job.id);
  });
  const strip = make("span", "strip");
  for (const source of job.thumbnails) {
    const image = make("img");
    image.loading = "lazy";
    image.alt = "";
    image.src = source;
    strip.append(image);
  }
  for (let left = 3 - job.thumbnails.length; left > 0; left--) strip.append(make("i"));
  const title = make("span", "title", job.title);
  title.title = job.title;
  const when = make("span", "muted", job.when);
  when.title = job.exact;
  const state = make("span", "state");
  const track = make("span", "track");
  for (const part of ["done", "failed", "other"]) {
    const bar = make("b", part);
    bar.style.width = `${job[part] * 100}%`;
    track.append(bar);
  }
  state.append(track, make("span", "muted", job.said));
  const models = make("span", "muted hide", `${job.photos} · ${job.models}`);
  models.title = job.models;
  link.append(strip, title, when, models, state, make("span", "muted end hide", job.size));
  const item = make("li");
  item.append(link);
  return item;
}

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}
