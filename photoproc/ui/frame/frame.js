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
  return () => document.removeEventListener("click", chosen, true);
}
