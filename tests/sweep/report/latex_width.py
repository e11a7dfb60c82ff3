"""How wide and how high is a LaTeX table, by the widths of its font's characters, without a TeX?"""

import re

# cmr8.tfm, of the space to the tilde, in thousandths of the type size. Bold is wider by 154/1000, sizes do not matter.
CMR8 = (
    "354 295 531 885 531 885 826 295 413 413 531 826 295 354 295 531 "
    "531 531 531 531 531 531 531 531 531 531 295 295 826 826 826 502 "
    "826 796 752 767 811 723 693 834 796 383 545 825 664 973 796 826 "
    "723 826 782 590 767 796 796 1091 796 796 649 295 531 295 531 383 "
    "295 531 590 472 590 472 325 531 590 295 325 561 295 885 590 531 "
    "590 561 414 419 413 590 561 767 561 561 472 531 295 531 531"
)
WIDTHS = dict(zip(map(chr, range(32, 127)), (int(width) / 1000 for width in CMR8.split()), strict=True))
SIZES = {r"\tiny": 5.0, r"\scriptsize": 7.0, r"\footnotesize": 8.0, r"\small": 9.0}


def type_sizes(text: str) -> list[float]:
    """Each type size in pt that is asked for; 10 where none is."""
    found = [float(size) for size in re.findall(r"\\fontsize\{([\d.]+)\}", text)]
    found += [size for name, size in SIZES.items() if re.search(re.escape(name) + r"(?![a-z])", text)]
    return found or [10.0]


def tabular_widths(text: str) -> list[float]:
    """Of every tabular in the text, in pt, of columns as wide as their widest cell."""
    size = type_sizes(text)[0]
    separation = re.search(r"\\setlength\{\\tabcolsep\}\{([\d.]+)pt\}", text)
    gap = 2 * (float(separation[1]) if separation else 6.0)
    widths = []
    for body in re.findall(r"\\begin\{tabular\}\{[^\n]*\}\n(.*?)\\end\{tabular\}", text, re.DOTALL):
        columns: dict[int, float] = {}
        spanned = [0.0]
        for line in body.splitlines():
            if not line.endswith(r"\\"):
                continue
            cells = re.split(r"(?<!\\)&", line.removesuffix(r"\\"))
            if r"\multicolumn" in line:
                spanned.append(size * _width(re.sub(r"\\multicolumn\{\d+\}\{c\}", "", cells[1])))
                cells = cells[:1]
            for i, cell in enumerate(cells):
                columns[i] = max(columns.get(i, 0.0), size * _width(cell))
        values = sum(columns.values()) - columns[0] + gap * (len(columns) - 2)
        widths.append(columns[0] + gap + max(values, *spanned))
    return widths


def _width(cell: str) -> float:
    marks = re.findall(r"\$\^\{([a-z]+)\}\$", cell)
    bold = 1.154 if r"\textbf" in cell else 1.0
    plain = re.sub(r"\$\^\{[a-z]+\}\$", "", cell).replace(r"\textbf", "").replace(r"\enspace ", "1")
    plain = re.sub(r"\\text\w+\{\}", "a", plain)
    plain = re.sub(r"\\([&%$#_{}])", lambda found: "b" if found[1] in "{}" else found[1], plain.replace(r"\$", "S"))
    plain = re.sub(r"\\\W\{(\w)\}|\\[a-zA-Z]\{(\w)\}", lambda found: found[1] or found[2], plain)
    plain = re.sub(r"\$[^$]*\$", "+", plain).replace("{", "").replace("}", "").strip()
    plain = re.sub(r"\\[a-zA-Z]+", "w", plain)
    return bold * sum(WIDTHS[char] for char in plain) + 0.45 * sum(map(len, marks))


def height(environment: str) -> float:
    """Of one table environment, in pt, at least: its lines, rules, caption and notes."""
    lines = environment.count("\\\\\n")
    notes = re.findall(r"\\par\\smallskip\{\\raggedright (.*)\\par\}", environment)
    caption = re.search(r"\\caption(?:\[.*?\])?\{(.*)\}", environment)
    paragraphs = sum(-(-8 * _width(note) // 345) * 9.5 + 3 for note in notes)
    caption_lines = -(-10 * 0.94 * _width(caption[1]) // 345) if caption else 0
    return 9.5 * lines + 4 * environment.count("rule") + paragraphs + 12 * caption_lines + 10
