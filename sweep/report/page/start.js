// Statistics are CSV files shown as they are; then everything is started.
function parseCsv(text) {
  const rows = [];
  let row = [];
  for (const match of text.matchAll(/("(?:[^"]|"")*"|[^",\n]*)(,|\n|$)/g)) {
    if (match[0] === "" && match.index >= text.length) break;
    const value = match[1].startsWith('"') ? match[1].slice(1, -1).replaceAll('""', '"') : match[1];
    row.push(value.replace(/^'(?=[=+\-@\t\r])/, ""));  // an apostrophe keeps spreadsheets from computing a name
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

// What a person reads first comes first: the method by its shown name, then where; a column that never varies is said once.
function readableColumns(header, rows) {
  const at = (name) => header.indexOf(name);
  const isNumber = (c) => rows.length > 0 && rows.every((row) => row[c] === "" || !Number.isNaN(Number(row[c])));
  const plain = (c, title = header[c]) => ({ title: title.replaceAll("_", " "), number: isNumber(c), get: (row) => row[c] });
  const used = new Set();
  const columns = [];
  if (at("display_name") >= 0) {
    columns.push(plain(at("display_name"), "method"));
    [at("method"), at("display_name")].forEach((c) => used.add(c));
  }
  if (at("dataset") >= 0) { columns.push(plain(at("dataset"))); used.add(at("dataset")); }
  if (at("protocol") >= 0 && at("label_percent") >= 0) {
    const [p, share] = [at("protocol"), at("label_percent")];
    columns.push({ title: "evaluation", number: false, get: (row) => (row[p] === "" ? "" : `${row[p]} (${row[share]}%)`) });
    [p, share].forEach((c) => used.add(c));
  }
  header.forEach((_, c) => { if (!used.has(c)) columns.push(plain(c)); });
  const constant = (column) => rows.length > 1 && rows.every((row) => column.get(row) === column.get(rows[0]));
  const shown = columns.filter((column, place) => place === 0 || !constant(column));
  const said = columns.filter((column) => !shown.includes(column) && column.get(rows[0]) !== "");
  return { shown, said: said.map((column) => `${column.title} ${readable(column.get(rows[0]))}`).join(", ") };
}

function startStatistics(data) {
  const select = find("#statistics-file");
  if (!select.options.length) return;
  let grid;
  let rows = [];
  let words = [];
  const show = () => {
    const [header, ...body] = parseCsv(data.statistics[select.value]);
    rows = body;
    const { shown, said } = readableColumns(header, body);
    const columns = shown.map(({ title, number, get }) => ({
      title, number, text: (r) => readable(get(rows[r])),
      value: (r) => (get(rows[r]) === "" ? null : number ? Number(get(rows[r])) : get(rows[r]).toLowerCase()),
    }));
    const accepts = (r) => words.every((word) => rows[r].some((text) => text.toLowerCase().includes(word)));
    const text = select.selectedOptions[0].dataset.text;
    find("#statistics-text").textContent = said ? `${text} In every row: ${said}.` : text;
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
