// Everything is started, each part by itself.
const data = JSON.parse(find("#data").textContent);
startTheme();
startTabs();
startTables(data.latex);
startCells(data);
startEncoders(data);
startStatistics(data);
startCurves(data);
for (const button of findAll("[data-copy]")) button.addEventListener("click", () => copyText(button.dataset.copy, "Command"));
startParts();
