// Tables 1 to 9 are in the page as it comes; here they are sorted, filtered and copied.
function startTables(latexFiles) {
  for (const panel of findAll(".paper-table")) {
    const tables = findAll("table.numbers", panel);
    for (const table of tables) {
      table.original = findAll("tbody", table);
      findAll("thead th", table).forEach((head, column) => {
        find("button", head).addEventListener("click", () => sortTable(table, head, column));
      });
    }
    const filter = find(".filter", panel);
    filter.addEventListener("input", () => filterTables(panel, tables, filter.value));
    find(".latex", panel).addEventListener("click", () => {
      const untouched = !filter.value && tables.every((table) => !table.sorted);
      copyText(untouched ? latexFiles[panel.dataset.table] : shownLatex(panel, tables), "LaTeX");
    });
  }
}

function sortValue(body, column) {
  const cell = body.rows[0].cells[column];
  if (column === 0) return cell.textContent.toLowerCase();
  return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
}

// Empty values stay last in either direction.
function compare(a, b, sign) {
  if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
  return a < b ? -sign : a > b ? sign : 0;
}

function nextOrder(head, isText) {
  const first = isText ? "ascending" : "descending";
  const second = isText ? "descending" : "ascending";
  return { none: first, [first]: second, [second]: "none" }[head.getAttribute("aria-sort")];
}

function sortTable(table, head, column) {
  const order = nextOrder(head, column === 0);
  for (const other of findAll("thead th", table)) other.setAttribute("aria-sort", other === head ? order : "none");
  table.sorted = order !== "none";
  let bodies = table.original;
  if (table.sorted) {
    const sign = order === "ascending" ? 1 : -1;
    const rows = bodies.filter((body) => body.classList.contains("row"));
    const means = rows.filter((body) => body.classList.contains("mean"));
    const sorted = rows.filter((body) => !means.includes(body)).map((body) => [sortValue(body, column), body]);
    sorted.sort((a, b) => compare(a[0], b[0], sign));
    bodies = [...sorted.map(([, body]) => body), ...means];
  }
  for (const body of table.original) body.remove();
  table.append(...bodies);
  announce(table.sorted ? `Sorted by ${find("button", head).textContent.trim()}, ${order}.` : "Original order.");
}

function filterTables(panel, tables, text) {
  const wanted = text.trim().toLowerCase();
  let shown = 0;
  for (const table of tables) {
    let group = null;
    let inGroup = 0;
    const close = () => { if (group) group.hidden = inGroup === 0; };
    for (const body of table.original) {
      if (body.classList.contains("group")) {
        close();
        [group, inGroup] = [body, 0];
      } else {
        body.hidden = wanted !== "" && !body.dataset.name.toLowerCase().includes(wanted);
        if (!body.hidden) { inGroup += 1; shown += 1; }
      }
    }
    close();
  }
  find(".none", panel).hidden = shown > 0 || wanted === "";
}

function cellLatex(cell) {
  const mark = find("sup", cell);
  const text = latexText([...cell.childNodes].filter((node) => node !== mark).map((node) => node.textContent).join(""));
  const emphasised = cell.classList.contains("best") ? `\\textbf{${text}}` : text;
  return mark ? `${emphasised}$^{${mark.textContent}}$` : emphasised;
}

function rowLatex(row) {
  const cells = [...row.cells].map(cellLatex);
  if (row.classList.contains("reference")) cells[0] = `\\quad ${cells[0]}`;
  return latexLine(cells);
}

function shownLatex(panel, tables) {
  const width = find("thead tr", tables[0]).cells.length;
  const lines = [];
  tables.forEach((table, number) => {
    if (number) lines.push("\\midrule");
    lines.push(`\\multicolumn{${width}}{c}{${latexText(table.dataset.title)}} \\\\`, "\\midrule");
    lines.push(latexLine([...find("thead tr", table).cells].map((head) => latexText(find("button", head).textContent))), "\\midrule");
    for (const body of table.tBodies) {
      if (body.hidden || body.classList.contains("group")) continue;
      if (body.classList.contains("mean")) lines.push("\\midrule");
      lines.push(...[...body.rows].map(rowLatex));
    }
  });
  const caption = find(".caption", panel).textContent;
  return latexTable(caption, panel.dataset.table, `l${"r".repeat(width - 1)}`, lines);
}
