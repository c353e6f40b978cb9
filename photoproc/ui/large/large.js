// The drop-in client of the API, made once and kept while the page around it is drawn again.

export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".pp");
  let client = root.querySelector("photo-processor");
  if (!client) {
    client = make("photo-processor");
    client.setAttribute("key", data.key);
    client.addEventListener("job", (event) => setStateValue("job", event.detail.id));
    root.append(client);
    import(new URL("/api/client/photo-processor.js", location.origin).href);
  }
  if (data.theme) client.setAttribute("theme", data.theme);
}
