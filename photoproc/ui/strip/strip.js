// Small pictures of photos, one of them chosen (trigger `choose`: its id). `data.photos`: [{id, name, about, source,
// reason}]; `reason` says why there is no picture. `data.upload`: a batch, which the tab remembers.
// A picture that does not come is asked for again as a problem document, which says in words what is wrong with it.

const strips = new WeakMap();
const PATIENCE_MS = 2000;
const NOT_THE_PHOTOS_FAULT = [401, 403, 404, 410, 429];

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".pp");
  const list = root.querySelector("ul");
  matchTheme(root);
  if (data.upload) forTab("photoproc-upload", data.upload);
  let strip = strips.get(parentElement);
  if (!strip) {
    strips.set(parentElement, (strip = { known: new Map() }));
    list.addEventListener("click", (event) => strip.take(event.target.closest("li")));
    list.addEventListener("keydown", (event) => step(list, event, strip.take));
  }
  strip.take = (item) => {
    if (!item || item.getAttribute("aria-selected") === "true") return;
    mark(list, item);
    setTriggerValue("choose", item.dataset.id);
  };
  list.setAttribute("aria-label", data.label);
  const count = () => sumUp(root);
  inPlace(list, strip.known, data.photos, (photo) => card(photo, count));
  mark(list, strip.known.get(data.chosen)?.node ?? list.firstElementChild);
  count();
}

function mark(list, chosen) {
  for (const item of list.children) {
    item.setAttribute("aria-selected", String(item === chosen));
    item.tabIndex = item === chosen ? 0 : -1;
  }
}

function step(list, event, take) {
  const here = event.target.closest("li");
  const to = {
    ArrowRight: here?.nextElementSibling, ArrowLeft: here?.previousElementSibling,
    Home: list.firstElementChild, End: list.lastElementChild, Enter: here, " ": here,
  }[event.key];
  if (!to) return;
  event.preventDefault();
  to.focus();
  take(to);
}

function card(photo, changed) {
  const item = make("li");
  item.role = "option";
  item.dataset.id = photo.id;
  item.title = `${photo.name} · ${photo.about}`;
  const stage = make("div", "stage");
  item.append(stage, make("span", "name", photo.name));
  if (!photo.source) {
    tell(item, "No picture", photo.reason);
    return item;
  }
  const image = make("img");
  image.alt = photo.name;
  image.decoding = "async";
  image.src = photo.source;
  let again = true;
  image.addEventListener("error", async () => {
    const found = await reason(photo.source);
    // Uploads that just became a job are gone: the page is about to be another one, without a word.
    if (found !== null && !found.damaged) await new Promise((done) => setTimeout(done, PATIENCE_MS));
    if (!item.isConnected) return;
    if (found === null && again) {
      again = false;
      image.src = `${photo.source}&again=1`;
      return;
    }
    item.classList.toggle("damaged", Boolean(found?.damaged));
    tell(item, found?.damaged ? "This photo will fail" : "No small picture", found?.words ?? "");
    changed();
  });
  stage.append(image);
  return item;
}

function tell(item, title, words) {
  item.classList.add("bad");
  item.querySelector(".stage").replaceChildren(make("b", "", title), words);
}

async function reason(source) {
  try {
    const answer = await fetch(source);
    if (answer.ok) return null;
    const problem = await answer.json();
    const damaged = answer.status < 500 && !NOT_THE_PHOTOS_FAULT.includes(answer.status);
    return { damaged, words: [problem.title, problem.detail].filter(Boolean).join(" ") };
  } catch {
    return { damaged: false, words: "It could not be loaded." };
  }
}

function sumUp(root) {
  const names = [...root.querySelectorAll("li.damaged .name")].map((name) => name.textContent);
  const sum = root.querySelector(".sum");
  sum.hidden = !names.length;
  const others = names.length > 1 ? ` and ${names.length - 1} more` : "";
  sum.textContent = names.length
    ? `${names.length === 1 ? "1 photo is" : `${names.length} photos are`} damaged and will fail: ${names[0]}${others}`
    : "";
}
