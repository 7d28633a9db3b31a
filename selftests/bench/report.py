# SPDX-License-Identifier: Apache-2.0
"""Rounds into figures, figures into text."""
import math

TRUSTED = 1.25  # a floor that differs more from itself says that the machine was too busy


def quantile(values, part):
    """The nearest rank, but for the median of an even number."""
    values, n = sorted(values), len(values)
    if part == 0.5 and n % 2 == 0:
        return (values[n // 2 - 1] + values[n // 2]) / 2
    return values[max(0, math.ceil(part * n) - 1)]


def figures(rounds):
    everything = [value for one in rounds for value in one]
    return {"median": quantile(everything, 0.5), "p10": quantile(everything, 0.1), "p99": quantile(everything, 0.99),
            "min": min(everything), "mean": sum(everything) / len(everything), "values": len(everything)}


def ratio(rounds, floor):
    """Of the medians of all, of the two middle quartiles of the rounds, of the tenth percentiles."""
    of_rounds = sorted(quantile(a, 0.5) / (quantile(b, 0.5) or math.nan) for a, b in zip(rounds, floor))
    ours, theirs = figures(rounds), figures(floor)
    return {"all": ours["median"] / (theirs["median"] or math.nan), "p10": ours["p10"] / (theirs["p10"] or math.nan),
            "quartiles": [of_rounds[(len(of_rounds) - 1) // 4], of_rounds[len(of_rounds) - 1 - (len(of_rounds) - 1) // 4]]}


def digest(table):
    """The table's figures, instead of what was measured."""
    short = {key: value for key, value in table.items() if key != "rows"} | {"rows": {}}
    for work, subjects in table["rows"].items():
        for subject, rounds in subjects.items():
            cell = figures(rounds)
            for key in ("floor", "against"):
                other = subjects.get(table[key])
                if other and subject != table[key]:
                    cell[key] = ratio(rounds, other)
            short["rows"].setdefault(work, {})[subject] = cell
    return short


def number(value):
    digits = 0 if abs(value) >= 10000 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"


def text_of(short):
    """`short` is what digest() gives."""
    heads = ["median", "p10", "p99", "min"]
    lines = [f"{short['title']}" + (f" ({short['unit']})" if short["unit"] else "")]
    columns = "".join(f"{head:>11}" for head in heads)
    if short["floor"]:
        columns += f"   {'x ' + short['floor']:<18} {'half of the rounds':<19}"
    if short["against"]:
        columns += f"   of {short['against']}"
    single = all(cell["values"] == 1 for subjects in short["rows"].values() for cell in subjects.values())
    if not single:
        lines.append(f"  {'':<46}{columns}")
    for work, subjects in short["rows"].items():
        for subject, cell in subjects.items():
            name = f"{work}: {subject}"
            if len(name) > 45:
                lines.append(f"  {work}:")
                name = f"    {subject}"
            if single:
                lines.append(f"  {name:<46}{number(cell['median']):>11}")
                continue
            line = f"  {name:<46}" + "".join(f"{number(cell[head]):>11}" for head in heads)
            if short["floor"]:
                floor = cell.get("floor")
                spread = "({}..{})".format(*(f"{value:.2f}" for value in floor["quartiles"])) if floor else ""
                line += "   {:<18} {:<19}".format(f"{floor['all']:.2f}" if floor else "", spread)
            if short["against"] and "against" in cell:
                line += f"   {cell['against']['all']:.3f} = 1/{1 / cell['against']['all']:.1f}"
            lines.append(line.rstrip())
        again = subjects.get(f"{short['floor']}-again")
        if again and not 1 / TRUSTED <= again["floor"]["all"] <= TRUSTED:
            lines.append(f"  NOISE: {short['floor']} differs from itself by {again['floor']['all']:.2f}; the ratios mean little")
    return "\n".join(lines) + "\n"


def heading(environment):
    return "".join(f"  {key:<12} {value}\n" for key, value in environment.items())
