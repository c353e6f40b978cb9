// What Streamlit's sidebar does not do by itself: a page that is open already opens anew (Jobs, from within a job, is
// the list), and on a phone, where it lies over the page, it goes away once a page is chosen.

export default function () {
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
