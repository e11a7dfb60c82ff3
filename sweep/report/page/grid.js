// A table of many rows: only one page of it is ever in the document, so 100,000 rows sort and filter at once.
// columns: {title, number, wrap, text(row), value(row), className(row)}; accepts(row) says what the filters let through.
class Grid {
  constructor(root, { columns, count, accepts, open, label, pageSize = 50 }) {
    Object.assign(this, { columns, count, accepts, open, label, pageSize });
    this.page = 0;
    this.sortColumn = null;
    this.order = "none";
    this.head = make("tr");
    columns.forEach((column, place) => {
      const button = make("button", { type: "button", textContent: column.title });
      const head = make("th", { scope: "col", "aria-sort": "none", className: column.number ? "number" : "" }, button);
      button.addEventListener("click", () => this.sort(place));
      this.head.append(head);
    });
    this.body = make("tbody");
    const table = make("table", { className: "numbers plain grid" }, make("thead", {}, this.head), this.body);
    this.back = make("button", { type: "button", textContent: "Previous" });
    this.next = make("button", { type: "button", textContent: "Next" });
    this.where = make("span", { "aria-live": "polite" });
    this.back.addEventListener("click", () => this.turn(-1));
    this.next.addEventListener("click", () => this.turn(1));
    const scroll = make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": label }, table);
    root.replaceChildren(scroll, make("div", { className: "pager" }, this.back, this.next, this.where));
    this.update();
  }

  update() {
    this.rows = [];
    for (let row = 0; row < this.count; row += 1) if (this.accepts(row)) this.rows.push(row);
    if (this.order !== "none") {
      const { value } = this.columns[this.sortColumn];
      const values = new Array(this.count);
      for (const row of this.rows) values[row] = value(row);
      const sign = this.order === "ascending" ? 1 : -1;
      this.rows.sort((a, b) => compare(values[a], values[b], sign) || a - b);
    }
    this.page = 0;
    this.draw();
  }

  sort(place) {
    const head = this.head.cells[place];
    this.order = nextOrder(head, !this.columns[place].number);
    this.sortColumn = place;
    for (const other of this.head.cells) other.setAttribute("aria-sort", other === head ? this.order : "none");
    this.update();
  }

  turn(by) {
    this.page += by;
    this.draw();
  }

  shown() {
    return this.rows.slice(this.page * this.pageSize, (this.page + 1) * this.pageSize);
  }

  draw() {
    this.body.replaceChildren(...this.shown().map((row) => this.line(row)));
    const first = this.page * this.pageSize;
    const last = Math.min(first + this.pageSize, this.rows.length);
    const all = this.rows.length.toLocaleString("en");
    const of = this.rows.length === this.count ? "" : ` (${this.count.toLocaleString("en")} without filter)`;
    this.where.textContent = this.rows.length ? `${(first + 1).toLocaleString("en")} to ${last.toLocaleString("en")} of ${all}${of}` : `No row${of}`;
    this.back.disabled = this.page === 0;
    this.next.disabled = last >= this.rows.length;
  }

  line(row) {
    const line = make("tr");
    this.columns.forEach((column, place) => {
      const text = column.text(row);
      if (place === 0) {
        const shown = this.open ? make("button", { type: "button", className: "open", textContent: text }) : text;
        if (this.open) shown.addEventListener("click", () => this.open(row));
        line.append(make("th", { scope: "row", title: text }, shown));
      } else {
        const inside = column.className ? make("span", { className: column.className(row), textContent: text }) : text;
        const cell = make("td", { className: column.number ? "" : column.wrap ? "text wrap" : "text" }, inside);
        if (!column.number && text.length > 20) cell.title = text;  // it may be cut
        line.append(cell);
      }
    });
    return line;
  }

  latex(caption, label) {
    const columns = this.columns.map((column) => (column.number ? "r" : "l")).join("");
    const lines = [latexLine(this.columns.map((column) => latexText(column.title))), "\\midrule"];
    for (const row of this.shown()) lines.push(latexLine(this.columns.map((column) => latexText(column.text(row)))));
    return latexTable(caption, label, columns, lines);
  }
}
