// What Streamlit's sidebar does not do by itself: a page that is open already opens anew (Jobs, from within a job, is
// the list), and on a phone, where it lies over the page, it goes away once a page is chosen. Who had to sign in
// first is taken on to where they wanted to go: sign-in by itself leads to the first page.

const WAY = "photoproc-way";

function rememberWay() {
  try { sessionStorage.setItem(WAY, location.pathname + location.search); } catch { /* they find it by hand */ }
}

function goTheWay() {
  let way = null;
  try {
    way = sessionStorage.getItem(WAY);
    sessionStorage.removeItem(WAY);
  } catch { /* nothing was remembered */ }
  if (way && way !== location.pathname + location.search && location.pathname === "/" && !location.search) {
    location.replace(location.origin + way);
  }
}

// Where the server is gone, Streamlit asks in a dialog whether it runs, in the words of who writes programs with it.
// Only the text of its own node is changed, which is all that it would change itself.
const GONE = ["Is Streamlit still running?", "Streamlit server is not responding."];
const SAID = "The server does not answer. Once it is back this page goes on by itself, and so do jobs that were accepted.";

function sayPlainly() {
  for (const dialog of document.querySelectorAll("[role=dialog]")) {
    const texts = document.createTreeWalker(dialog, NodeFilter.SHOW_TEXT);
    for (let text = texts.nextNode(); text; text = texts.nextNode()) {
      if (!GONE.some((words) => text.nodeValue.startsWith(words))) continue;
      text.nodeValue = SAID;
      const code = text.parentElement.nextElementSibling;
      if (code) code.style.display = "none";
    }
  }
}

export default function ({ data }) {
  if (data.signedOut) rememberWay();
  else goTheWay();
  const chosen = (event) => {
    const link = event.target.closest?.("[data-testid=stSidebarNavLink]");
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    if (link.getAttribute("aria-current") === "page" && location.search) {
      event.preventDefault();
      event.stopImmediatePropagation();
      history.pushState({}, "", link.href);
      window.dispatchEvent(new PopStateEvent("popstate"));
    }
    if (window.innerWidth < 768) document.querySelector("[data-testid=stSidebarCollapseButton] button")?.click();
  };
  document.addEventListener("click", chosen, true);
  const dialogs = new MutationObserver(sayPlainly);
  dialogs.observe(document.body, { childList: true, subtree: true });
  return () => {
    document.removeEventListener("click", chosen, true);
    dialogs.disconnect();
  };
}
