// Statistics are CSV files; here their columns are put into words and percent, the first ones shown, the others asked for.
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
  return Math.abs(value) >= 1e-3 ? value.toFixed(2) : value.toExponential(2);
}

const hundred = (text) => (100 * Number(text)).toFixed(2);
const signedHundred = (text) => `${Number(text) < 0 ? "−" : "+"}${hundred(text).replace("-", "")}`;
const pText = (text) => (Number(text) < 0.001 ? "< 0.001" : Number(text).toFixed(3));
const spelled = (text) => text.charAt(0).toUpperCase() + text.slice(1).replaceAll("_", " ").toLowerCase();

// Kind of a column -> its text; the texts of its fields are given, the first of them not empty.
const WRITERS = {
  text: (text) => text,
  words: (text) => text.replaceAll("_", " "),
  count: (text) => (Number.isInteger(Number(text)) ? Number(text).toLocaleString("en") : text),
  number: readable,
  percent: hundred,
  points: signedHundred,
  half: (text) => `± ${hundred(text)}`,
  mean: (text, half) => (half === "" ? hundred(text) : `${hundred(text)} ± ${hundred(half)}`),
  range: (low, high) => `${hundred(low)} to ${hundred(high)}`,
  p: pText,
  verdict: (p) => (Number(p) < 0.05 ? "yes" : "no"),
};
const NUMBERS = ["count", "number", "percent", "points", "half", "mean", "range", "p"];

function statisticsColumns(data, file, header, wanted) {
  const names = { method: new Map(data.cells.rows), dataset: new Map(data.cells.datasets), evaluation: new Map() };
  const titles = evaluationTitles(data.cells.columns);
  data.cells.columns.forEach((column, c) => names.evaluation.set(column.join(" "), titles[c]));
  const writers = {
    ...WRITERS,
    method: (text) => names.method.get(text) ?? text,
    dataset: (text) => names.dataset.get(text) ?? text,
    evaluation: (protocol, share) => names.evaluation.get(`${protocol} ${share}`) ?? `${protocol} (${share}%)`,
    value: (text) => data.statisticsShown.words[text] ?? spelled(text),
  };
  const column = ([title, kind, fields]) => {
    const at = fields.map((field) => header.indexOf(field));
    const number = NUMBERS.includes(kind);
    return {
      title, number, wrap: kind === "value",
      get: (row) => (row[at[0]] === "" ? "" : writers[kind](...at.map((c) => row[c]))),
      value: (row) => (row[at[0]] === "" ? null : number ? Number(row[at[0]]) : writers[kind](...at.map((c) => row[c])).toLowerCase()),
      sure: kind === "verdict" ? (row) => (row[at[0]] !== "" && Number(row[at[0]]) < 0.05 ? "sure" : "") : null,
    };
  };
  return data.statisticsShown.columns[file].filter(([, , fields, first]) => (first || wanted) && header.includes(fields[0])).map(column);
}

// A column that never varies is said once, above.
function withoutConstant(columns, rows) {
  const constant = (column) => rows.length > 1 && rows.every((row) => column.get(row) === column.get(rows[0]));
  const shown = columns.filter((column, place) => place === 0 || !constant(column));
  const said = columns.filter((column) => !shown.includes(column) && column.get(rows[0]) !== "");
  return [shown, said.map((column) => `${column.title} ${column.get(rows[0])}`).join("; ")];
}

function startStatistics(data) {
  const select = find("#statistics-file");
  if (!select.options.length) return;
  const more = find("#statistics-more");
  let grid;
  let words = [];
  const show = () => {
    const [header, ...rows] = parseCsv(data.statistics[select.value]);
    const columns = statisticsColumns(data, select.value, header, more.getAttribute("aria-pressed") === "true");
    const [shown, said] = withoutConstant(columns, rows);
    const text = select.selectedOptions[0].dataset.text;
    find("#statistics-text").textContent = said ? `${text} In every row: ${said}.` : text;
    // What is written, and the names in the file, are both found.
    const texts = (r) => `${shown.map((column) => column.get(rows[r])).join(" ")} ${rows[r].join(" ")}`.toLowerCase();
    grid = new Grid(find("#statistics-grid"), {
      columns: shown.map(({ title, number, wrap, get, value, sure }) => ({
        title, number, wrap, text: (r) => get(rows[r]), value: (r) => value(rows[r]), className: sure && ((r) => sure(rows[r])),
      })),
      count: rows.length,
      accepts: (r) => !words.length || words.every((word) => texts(r).includes(word)),
      label: select.selectedOptions[0].textContent,
    });
  };
  select.addEventListener("change", show);
  more.addEventListener("click", () => {
    more.setAttribute("aria-pressed", String(more.getAttribute("aria-pressed") !== "true"));
    show();
  });
  find("#statistics-filter").addEventListener("input", (event) => {
    words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    grid.update();
  });
  find("#statistics-latex").addEventListener("click", () => copyText(grid.latex(`${select.selectedOptions[0].textContent} of study ${data.study}.`, `${data.study}-${select.value}`), "LaTeX of this page"));
  show();
}
