// The cells of the plan: list, filters, and one cell's whole story.
const STATUSES = ["done", "failed", "missing", "damaged"];
const columnTitle = ([protocol, percent], alone) => (alone ? protocol : `${protocol} (${percent}%)`);
const percent = (value) => (value === null ? "-" : (value / 1000).toFixed(2));

// Of many cells all but names lies packed in elements of its own, and is unpacked when it is shown.
async function unpack(id) {
  const text = atob(find(`#${id}`).textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return JSON.parse(await new Response(stream).text());
}

async function listed(cells) {
  if (!cells.chunk) return { ...cells, count: cells.key.length, keyOf: (i) => cells.key[i] };
  const { keys, ...columns } = await unpack("cells-list");
  return { ...cells, ...columns, keyOf: (i) => keys.slice(12 * i, 12 * i + 12) };
}

// What only a cell's dialog shows, and its place in it. The last one that was unpacked is kept.
let unpacked = [-1, null];
async function detailOf(cells, i) {
  if (!cells.chunk) return [cells, i];
  const chunk = Math.floor(i / cells.chunk);
  if (unpacked[0] !== chunk) unpacked = [chunk, await unpack(`cells-${chunk}`)];
  return [unpacked[1], i % cells.chunk];
}

// `LP` for a protocol that knows no other share of the labels, as the tables have it.
function evaluationTitles(columns) {
  const protocols = columns.map(([protocol]) => protocol);
  return columns.map((column) => columnTitle(column, protocols.filter((p) => p === column[0]).length === 1 && column[1] === 100 && column[0] !== "FT"));
}

function cellNames(cells) {
  const titles = evaluationTitles(cells.columns);
  return {
    titles,
    method: (i) => cells.rows[cells.row[i]][1],
    dataset: (i) => cells.datasets[cells.dataset[i]][1],
    title: (i) => titles[cells.column[i]],
    status: (i) => STATUSES[cells.status[i]],
    full: (i) => `${cells.rows[cells.row[i]][0]}-p${cells.pretrainSeed[i]}-${cells.datasets[cells.dataset[i]][0]}-${cells.columns[cells.column[i]].join("")}-s${cells.seed[i]}`,
  };
}

async function startCells(data) {
  if (data.cells.chunk && !globalThis.DecompressionStream) {
    find("#cells-grid").append(make("p", { className: "empty", textContent: "This browser is too old to show so many cells; results.csv has them." }));
    return;
  }
  const cells = await listed(data.cells);
  const names = cellNames(cells);
  const columns = [
    { title: "Method", text: names.method, value: (i) => names.method(i).toLowerCase() },
    { title: "Dataset", text: names.dataset, value: names.dataset },
    { title: "Evaluation", text: names.title, value: (i) => cells.column[i] },
    { title: "Seed", number: true, text: (i) => String(cells.seed[i]), value: (i) => cells.seed[i] },
    { title: "Macro AUROC, %", number: true, text: (i) => percent(cells.macro[i]), value: (i) => cells.macro[i] },
    { title: "State", text: names.status, value: (i) => cells.status[i], className: (i) => `status ${names.status(i)}` },
    { title: "Images", number: true, text: (i) => cells.images[i]?.toLocaleString("en") ?? "-", value: (i) => cells.images[i] },
    { title: "Key", text: cells.keyOf, value: cells.keyOf },
  ];
  if (cells.pretrainSeed.some((seed) => seed !== cells.pretrainSeed[0])) {
    columns.splice(4, 0, { title: "Pretraining", number: true, text: (i) => String(cells.pretrainSeed[i]), value: (i) => cells.pretrainSeed[i] });
  }
  const fill = (id, texts) => texts.forEach((text, value) => find(id).append(make("option", { value, textContent: text })));
  fill("#cells-dataset", cells.datasets.map((dataset) => dataset[1]));
  fill("#cells-column", names.titles);
  fill("#cells-status", STATUSES);
  let wanted = ["", "", "", []];
  const accepts = (i) => {
    const [dataset, column, status, words] = wanted;
    if (dataset !== "" && cells.dataset[i] !== Number(dataset)) return false;
    if (column !== "" && cells.column[i] !== Number(column)) return false;
    if (status !== "" && cells.status[i] !== Number(status)) return false;
    if (!words.length) return true;
    const text = `${names.method(i)} ${names.full(i)} ${cells.keyOf(i)}`.toLowerCase();
    return words.every((word) => text.includes(word));
  };
  const show = (i) => showCell(data, cells, names, i);
  const grid = new Grid(find("#cells-grid"), { columns, count: cells.count, accepts, open: show, label: "Table of cells" });
  const filter = () => {
    wanted = ["#cells-dataset", "#cells-column", "#cells-status"].map((id) => find(id).value);
    wanted.push(find("#cells-filter").value.toLowerCase().split(/\s+/).filter(Boolean));
    grid.update();
  };
  for (const id of ["#cells-dataset", "#cells-column", "#cells-status", "#cells-filter"]) find(id).addEventListener("input", filter);
  find("#cells-latex").addEventListener("click", () => copyText(grid.latex(`Cells of study ${data.study}.`, `${data.study}-cells`), "LaTeX of this page"));
  const linked = () => {
    if (!location.hash.startsWith("#cell-")) return;
    const key = location.hash.slice(6);
    for (let i = 0; i < cells.count; i += 1) if (cells.keyOf(i) === key) return show(i);
  };
  addEventListener("hashchange", linked);
  linked();
}

function openDetail(title, ...nodes) {
  find("#detail-title").textContent = title;
  find("#detail-body").replaceChildren(...nodes.filter(Boolean));
  if (!find("#detail").open) find("#detail").showModal();
  find("#detail").scrollTop = 0;
}

function facts(pairs) {
  const list = make("dl", { className: "facts" });
  for (const [name, value] of pairs) if (value !== null && value !== undefined && value !== "") list.append(make("dt", { textContent: name }), make("dd", {}, value));
  return list;
}

function smallTable(header, rows, label) {
  const head = make("tr", {}, ...header.map((text, i) => make("th", { scope: "col", className: i ? "number" : "", textContent: text })));
  const lines = rows.map((row) => make("tr", {}, make("th", { scope: "row", textContent: row[0] }), ...row.slice(1).map((text) => make("td", { textContent: text }))));
  const table = make("table", { className: "numbers plain" }, make("thead", {}, head), make("tbody", {}, ...lines));
  return make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": label }, table);
}

function commandBox(text) {
  const button = make("button", { type: "button", className: "copy", textContent: "Copy" });
  button.addEventListener("click", () => copyText(text, "Command"));
  return make("div", { className: "command" }, make("code", { textContent: text }), button);
}

function folded(title, text) {
  return make("details", {}, make("summary", { textContent: title }), make("pre", { tabIndex: 0, textContent: text }));
}

// Results count epochs from 0, people from 1.
function epochText(place, count) {
  if (place === null || place < 0) return null;
  return count ? `${place + 1} of ${count}` : String(place + 1);
}

const short = (value) => (value === null ? "-" : Number.isInteger(value) ? String(value) : value.toPrecision(4));

function logNodes(logs, i, place) {
  const heading = make("h3", { textContent: "Training log" });
  if (!logs) return [heading, make("p", { className: "empty", textContent: `The logs of all trainings are too long for a page; this one is "history" in ${place}/result.json.` })];
  if (!logs.entries[i]) return [];
  const [fields, epochs] = logs.entries[i];
  const names = logs.fields[fields];
  const line = (epoch) => epoch.map((value, f) => short(names[f] === "epoch" && value !== null ? value + 1 : value));
  return [heading, smallTable(names.map((name) => name.replaceAll("_", " ")), epochs.map(line), "Training log")];
}

function failureNodes(failure, status) {
  if (!failure) return [];
  return [make("h3", { textContent: status === "damaged" ? "What is damaged" : "Why it failed" }), make("pre", { tabIndex: 0, textContent: failure[1] || failure[0] })];
}

async function showCell(data, cells, names, i) {
  const [detail, at] = await detailOf(cells, i);
  const key = cells.keyOf(i);
  const folder = `${data.storage}/cells/${names.full(i)}-${key}`;
  const counts = detail.counts[at] === null ? [] : detail.countLists[detail.counts[at]];
  const findings = counts.map(([finding, positive, negative], f) => [spelled(finding), detail.aurocs[at][f] === null ? "undefined" : percent(detail.aurocs[at][f]), String(positive), String(negative)]);
  const failure = key in cells.failures.of ? cells.failures.texts[cells.failures.of[key]] : null;
  const subset = detail.subset[at] === null ? null : detail.subsets[detail.subset[at]];
  const [row] = cells.rows[cells.row[i]];
  const [source] = cells.datasets[cells.dataset[i]];
  openDetail(
    `${names.method(i)}, ${names.dataset(i)}, ${names.title(i)}, seed ${cells.seed[i]}`,
    facts([
      ["State", make("span", { className: `status ${names.status(i)}`, textContent: names.status(i) })],
      ["Macro AUROC", cells.macro[i] === null ? null : `${(cells.macro[i] / 1000).toFixed(3)}%`],
      ["Key", make("code", { textContent: key })],
      ["Training images", cells.images[i] === null ? null : cells.images[i].toLocaleString("en")],
      ["SHA-256 of their ids", subset && make("code", { textContent: subset })],
      ["Best epoch", epochText(detail.epoch[at], detail.epochs[at])],
      ["Time", detail.seconds[at] === null ? null : `${detail.seconds[at]} s`],
      ["Device", detail.device[at]],
      ["No positive in training", (detail.without[at] || []).join(", ").replaceAll("_", " ")],
      ["Folder", make("code", { textContent: folder })],
      ["Ray's logs", make("code", { textContent: data.logFolder })],
    ]),
    make("h3", { textContent: cells.status[i] === 0 ? "Compute this one cell again" : "Compute this one cell" }),
    commandBox(`${data.redo} ${key}`),
    ...failureNodes(failure, names.status(i)),
    findings.length ? make("h3", { textContent: "Findings" }) : null,
    findings.length ? smallTable(["Finding", "AUROC, %", "Positive", "Negative"], findings, "Findings") : null,
    ...logNodes(cells.logs, i, folder),
    make("h3", { textContent: "Recipe" }),
    folded(`Evaluation on ${source}`, JSON.stringify(data.recipes.datasets[source], null, 1)),
    folded(`Encoder ${row}`, JSON.stringify(data.recipes.rows[row], null, 1)),
  );
}

function startEncoders(data) {
  for (const button of findAll("[data-encoder]")) {
    const i = Number(button.dataset.encoder);
    const [name, row, status, key, folder] = data.encoders.rows[i];
    const failure = data.encoderFailures[name];
    button.addEventListener("click", () => openDetail(
      `Encoder ${name}`,
      facts([["State", status], ["Key", make("code", { textContent: key })], ["Folder", make("code", { textContent: `${data.storage}/${folder}` })], ["Ray's logs", make("code", { textContent: data.logFolder })]]),
      ...failureNodes(failure && [failure.error, failure.traceback], status),
      ...logNodes(data.encoders.logs, i, `${data.storage}/${folder}`),
      make("h3", { textContent: "Recipe" }), folded(row, JSON.stringify(data.recipes.rows[row], null, 1)),
    ));
  }
}
