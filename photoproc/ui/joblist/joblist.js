// The list of jobs, updated in place. `data.jobs`:
// [{id, title, when, exact, owner, photos, models, said, done, failed, other, size, thumbnails}].
// A click opens a job without reloading the page; the address still works in a new tab.

const lists = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  let rows = lists.get(parentElement);
  if (!rows) lists.set(parentElement, (rows = new Map()));
  inPlace(parentElement.querySelector("ul"), rows, data.jobs, (job) => line(job, setTriggerValue));
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
  const when = make("span", "when");
  when.append(make("span", "muted", job.when));
  if (job.owner) when.append(make("span", "muted", `by ${job.owner}`));
  when.title = job.owner ? `${job.exact}, by ${job.owner}` : job.exact;
  const state = make("span", "state");
  const track = make("span", "track");
  for (const part of ["done", "failed", "other"]) {
    const bar = make("b", part);
    bar.style.width = `${job[part] * 100}%`;
    track.append(bar);
  }
  const said = make("span", "muted", job.said);
  said.title = job.said;
  state.append(track, said);
  const models = make("span", "muted hide", `${job.photos} · ${job.models}`);
  models.title = job.models;
  link.append(strip, title, when, models, state, make("span", "muted end hide", job.size));
  const item = make("li");
  item.append(link);
  return item;
}
