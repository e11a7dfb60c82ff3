// Text to the clipboard, and text as LaTeX.
const find = (selector, root = document) => root.querySelector(selector);
const findAll = (selector, root = document) => [...root.querySelectorAll(selector)];

function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

let silence;
function announce(text) {
  find("#live").textContent = text;
  clearTimeout(silence);
  silence = setTimeout(() => { find("#live").textContent = ""; }, 3500);
}

async function copyText(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Older browsers give pages from disk no clipboard; a selection works there. A dialog lets no focus out.
    const area = make("textarea", { value: text, style: "position:fixed;opacity:0" });
    (find("dialog[open]") || document.body).append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    if (!copied) return announce("The browser does not allow copying.");
  }
  announce(`${what} copied.`);
}

const LATEX = {
  "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{", "}": "\\}",
  "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "±": "$\\pm$", "−": "$-$", "×": "$\\times$", "<": "$<$",
  ">": "$>$", "[": "{[}",
};
const latexText = (text) => String(text).replace(/[\\&%$#_{}~^±−×<>[]/g, (sign) => LATEX[sign]).replace(/\s+/g, " ").trim();

// The tabular is put into a box and made smaller where it is wider than the text or higher than four fifths of it.
function latexTable(caption, label, columns, lines) {
  return [
    "% \\usepackage{booktabs,graphicx}", "\\begin{table}[tp]", "\\centering", `\\caption{${latexText(caption)}}`,
    `\\label{tab:${label.replace(/[^A-Za-z0-9_-]/g, "")}}`, "\\fontsize{8}{9.5}\\selectfont\\setlength{\\tabcolsep}{2pt}",
    `\\sbox0{\\begin{tabular}{@{}${columns}@{}}`, "\\toprule", ...lines, "\\bottomrule", "\\end{tabular}}%",
    "\\ifdim\\wd0>\\textwidth\\sbox0{\\resizebox{\\textwidth}{!}{\\usebox0}}\\fi",
    "\\ifdim\\dimexpr\\ht0+\\dp0\\relax>.8\\textheight\\sbox0{\\resizebox*{!}{.8\\textheight}{\\usebox0}}\\fi",
    "\\usebox0", "\\end{table}", "",
  ].join("\n");
}
const latexLine = (cells) => `${cells.join(" & ")} \\\\`;
