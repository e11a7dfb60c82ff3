// Light, dark, or as the system has it; the choice is kept where the browser allows it.
const THEMES = ["system", "light", "dark"];

function startTheme() {
  let chosen = "system";
  try { chosen = localStorage.getItem("radsweep-theme") || chosen; } catch { /* no storage for this page */ }
  const show = () => {
    document.documentElement.dataset.theme = chosen;
    find("#theme .theme-name").textContent = chosen[0].toUpperCase() + chosen.slice(1);
    find("#theme").setAttribute("aria-label", `Colours: ${chosen}. Change`);
  };
  find("#theme").addEventListener("click", () => {
    chosen = THEMES[(THEMES.indexOf(chosen) + 1) % THEMES.length];
    try { localStorage.setItem("radsweep-theme", chosen); } catch { /* as above */ }
    show();
  });
  show();
}

// Mark the part of the page that is being read.
function startParts() {
  const links = new Map(findAll(".parts a").map((link) => [link.hash.slice(1), link]));
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const [id, link] of links) {
        if (id === entry.target.id) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    }
  }, { rootMargin: "-15% 0px -75% 0px" });
  findAll("main > section").forEach((section) => watch.observe(section));
}
