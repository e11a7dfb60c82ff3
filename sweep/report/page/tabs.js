// One table at a time; arrow keys move between the tabs, and #panel-table3 opens one.
function startTabs() {
  const list = find("#tables .tabs");
  const tabs = findAll("[role=tab]", list);
  const panels = findAll(".paper-table");
  if (!tabs.length) return;
  list.hidden = false;
  const show = (id, focus = false) => {
    const base = id.replace(/-all$/, "");
    for (const panel of panels) panel.hidden = panel.dataset.table !== id;
    for (const tab of tabs) {
      const chosen = tab.id === `tab-${base}`;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      if (chosen) tab.setAttribute("aria-controls", `panel-${id}`);
      if (chosen && focus) tab.focus();
    }
  };
  for (const panel of panels) panel.setAttribute("role", "tabpanel");
  tabs.forEach((tab, place) => {
    tab.addEventListener("click", () => show(tab.id.slice(4)));
    tab.addEventListener("keydown", (event) => {
      const last = tabs.length - 1;
      const to = { ArrowRight: place === last ? 0 : place + 1, ArrowLeft: place === 0 ? last : place - 1, Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      show(tabs[to].id.slice(4), true);
    });
  });
  for (const button of findAll(".paper-table .variant")) {
    button.addEventListener("click", () => {
      show(button.dataset.show);
      find(`#panel-${button.dataset.show} .variant`).focus();
    });
  }
  const named = location.hash.startsWith("#panel-") && panels.some((panel) => `#${panel.id}` === location.hash);
  show(named ? location.hash.slice(7) : tabs[0].id.slice(4));
}
