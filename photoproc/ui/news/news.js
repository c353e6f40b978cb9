// Hands on what is new of a gallery to it, see gallery.js. It is kept as well, for a gallery that is drawn later.

export default function ({ data }) {
  globalThis.photoprocNews = data;
  document.dispatchEvent(new Event("photoproc-news"));
}
