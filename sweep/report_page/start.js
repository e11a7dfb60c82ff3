// Statistics are CSV files shown as they are; then everything is started.
function parseCsv(text) {
  const rows = [];
  let row = [];
  for (const match of text.matchAll(/("(?:[^"]|"")*"|[^",\n]*)(,|\n|$)/g)) {
    if (match[0] === "" && match.index >= text.length) break;
    row.push(match[1].startsWith('"') ? match[1].slice(1, -1).replaceAll('""', '"') : match[1]);
    if (match[2] !== ",") { rows.push(row); row = []; }
  }
  return rows;
}

// Longer than six signs, numbers are shortened for reading; the files have them in full.
function readable(text) {
  const value = Number(text);
  if (text === "" || Number.isNaN(value) || Number.isInteger(value) || text.length <= 6) return text;
  return Math.abs(value) >= 1e-3 ? value.toFixed(4) : value.toExponential(2);
}

function startStatistics(data) {
  const select = find("#statistics-file");
  let grid;
  let rows = [];
  let words = [];
  const show = () => {
    const [header, ...body] = parseCsv(data.statistics[select.value]);
    rows = body;
    const isNumber = header.map((_, c) => body.length > 0 && body.every((row) => row[c] === "" || !Number.isNaN(Number(row[c]))));
    const columns = header.map((title, c) => ({
      title: title.replaceAll("_", " "), number: isNumber[c], text: (r) => readable(rows[r][c]),
      value: (r) => (rows[r][c] === "" ? null : isNumber[c] ? Number(rows[r][c]) : rows[r][c].toLowerCase()),
    }));
    const accepts = (r) => words.every((word) => rows[r].some((text) => text.toLowerCase().includes(word)));
    find("#statistics-text").textContent = select.selectedOptions[0].dataset.text;
    grid = new Grid(find("#statistics-grid"), { columns, count: rows.length, accepts, label: select.value });
  };
  select.addEventListener("change", show);
  find("#statistics-filter").addEventListener("input", (event) => {
    words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    grid.update();
  });
  find("#statistics-latex").addEventListener("click", () => copyText(grid.latex(`${select.value} of study ${data.study}.`, `${data.study}-${select.value}`), "LaTeX of this page"));
  show();
}

const data = JSON.parse(find("#data").textContent);
startTheme();
startTabs();
startTables(data.latex);
startCells(data);
startEncoders(data);
startStatistics(data);
for (const button of findAll("[data-copy]")) button.addEventListener("click", () => copyText(button.dataset.copy, "Command"));
startParts();
