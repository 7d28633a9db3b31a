# SPDX-License-Identifier: Apache-2.0
"""Figures into SVG, by gnuplot."""
import os
import subprocess

COLOURS = ("#7f7f7f", "#b0b0b0", "#bcbd22", "#dbdb8d", "#1f77b4", "#17becf", "#2ca02c", "#d62728")


def quoted(text):
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def draw(path, script):
    done = subprocess.run(["gnuplot"], input=f"set terminal svg size 900,480 font 'sans,12' background 'white'\n"
                          f"set output {quoted(path)}\n{script}", capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"gnuplot: {done.stderr}")


def block(name, lines):
    return f"${name} << EOD\n" + "\n".join(lines) + "\nEOD\n"


def subjects_of(short):
    names = []
    for subjects in short["rows"].values():
        names += [name for name in subjects if name not in names and not name.endswith("-again")]
    return names


def common(short):
    return (f"set title {quoted(short['title'] + ', ' + short['where'])} noenhanced\nset ylabel {quoted(short['unit'] + ', logarithmic')}\n"
            "set logscale y\nset grid y\nset key outside right noenhanced\n")


def bars(short, path):
    """A group for each work, a bar for each subject: the median, with a line from the tenth percentile to the 99th."""
    names = subjects_of(short)
    script = common(short) + "set style fill solid 0.8\nset xtics rotate by -20 noenhanced\nset boxwidth 0.9\n"
    tics, width = [], len(names) + 1
    for at, work in enumerate(short["rows"]):
        tics.append(f"{quoted(work)} {at * width + (len(names) - 1) / 2}")
    for index, name in enumerate(names):
        lines = [f"{at * width + index} {cells[name]['median']} {cells[name]['p10']} {cells[name]['p99']}"
                 for at, cells in enumerate(short["rows"].values()) if name in cells]
        script += block(f"d{index}", lines)
    script += f"set xtics ({', '.join(tics)})\nplot " + ", ".join(
        f"$d{index} using 1:2 with boxes lc rgb '{COLOURS[index % len(COLOURS)]}' title {quoted(name)}, "
        f"$d{index} using 1:2:3:4 with yerrorbars lc rgb 'black' pt 0 notitle" for index, name in enumerate(names))
    draw(path, script + "\n")


def lines(short, path):
    """How many at once against the rate; a row's name is `WORK, N at once`."""
    script, plots = common(short) + "set logscale x 2\nset xlabel 'devices at once'\n", []
    points = {}
    for row, cells in short["rows"].items():
        work, number = row.split(", ")
        for name, cell in cells.items():
            points.setdefault((work, name), []).append(f"{number.split()[0]} {cell['median']} {cell['min']} {cell['p99']}")
    works = sorted({work for work, _ in points})
    for index, ((work, name), rows) in enumerate(points.items()):
        script += block(f"d{index}", rows)
        colour = COLOURS[(0, 2, 4, 7, 1, 3, 5, 6)[subjects_of(short).index(name) % 8]]
        plots.append(f"$d{index} using 1:2 with linespoints lc rgb '{colour}' pt 7 ps 0.5 dt {1 + works.index(work)} "
                     f"title {quoted(f'{work}, {name}')}")
    draw(path, script + "plot " + ", ".join(plots) + "\n")


def plot(short, path):
    """Nothing, if the table is not one to draw."""
    if short.get("plot"):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        {"bars": bars, "lines": lines}[short["plot"]](short, path)
