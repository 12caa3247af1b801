"""Plots of an experiment as SVG. One colour a series; light and dark pages alike get a white ground."""
import math

COLOURS = ["#0b6e99", "#c25b12", "#3a7d44", "#7a3e9d", "#a33", "#666", "#b58900", "#2aa198", "#d33682", "#000"]


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def ticks(low, high, count=5):
    step = 10 ** math.floor(math.log10((high - low) / count))
    for factor in (1, 2, 5, 10):
        if (high - low) / (step * factor) <= count:
            step *= factor
            break
    at = math.ceil(low / step - 1e-9) * step
    while at <= high + 1e-9:
        yield round(at, 10)
        at += step


def dots(title, axis, rows):
    """Rows of (label, mean, half width): a dot and its interval each."""
    rows = [row for row in rows if row[1] is not None]
    low = min(mean - (half or 0) for _, mean, half in rows)
    high = max(mean + (half or 0) for _, mean, half in rows)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 1
    low, high = low - pad, high + pad
    left, width, top, line = 250, 460, 40, 24
    x = lambda v: left + width * (v - low) / (high - low)
    bottom = top + line * len(rows)
    out = [f'<text x="10" y="20" font-weight="bold">{escape(title)}</text>']
    for t in ticks(low, high):
        out.append(f'<line x1="{x(t):.1f}" y1="{top - 8}" x2="{x(t):.1f}" y2="{bottom}" stroke="#ddd"/>'
                   f'<text x="{x(t):.1f}" y="{bottom + 16}" text-anchor="middle">{t:g}</text>')
    for i, (label, mean, half) in enumerate(rows):
        y = top + line * i + line / 2
        out.append(f'<text x="{left - 12}" y="{y + 4}" text-anchor="end">{escape(label)}</text>')
        if half is not None:
            out.append(f'<line x1="{x(mean - half):.1f}" y1="{y}" x2="{x(mean + half):.1f}" y2="{y}" stroke="{COLOURS[0]}" stroke-width="2"/>')
        out.append(f'<circle cx="{x(mean):.1f}" cy="{y}" r="4.5" fill="{COLOURS[0]}"/>')
    out.append(f'<text x="{left + width / 2}" y="{bottom + 34}" text-anchor="middle">{escape(axis)}</text>')
    return svg(left + width + 20, bottom + 44, out)


def curves(title, axis, names, series):
    """Series of (label, [(mean, half) or None at each name]): lines with intervals over equally spaced points."""
    known = [p for _, points in series for p in points if p and p[0] is not None]
    low = min(m - (h or 0) for m, h in known)
    high = max(m + (h or 0) for m, h in known)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 1
    low, high = low - pad, high + pad
    left, width, top, height = 70, 440, 40, 240
    x = lambda i: left + width * (i + 0.5) / len(names)
    y = lambda v: top + height * (high - v) / (high - low)
    out = [f'<text x="10" y="20" font-weight="bold">{escape(title)}</text>']
    for t in ticks(low, high):
        out.append(f'<line x1="{left}" y1="{y(t):.1f}" x2="{left + width}" y2="{y(t):.1f}" stroke="#ddd"/>'
                   f'<text x="{left - 8}" y="{y(t) + 4:.1f}" text-anchor="end">{t:g}</text>')
    for i, name in enumerate(names):
        out.append(f'<text x="{x(i):.1f}" y="{top + height + 18}" text-anchor="middle">{escape(name)}</text>')
    for k, (label, points) in enumerate(series):
        colour, shift = COLOURS[k % len(COLOURS)], 5 * (k - (len(series) - 1) / 2)
        there = [(x(i) + shift, *p) for i, p in enumerate(points) if p and p[0] is not None]
        out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="' +
                   " ".join(f"{a:.1f},{y(m):.1f}" for a, m, _ in there) + '"/>')
        for a, m, h in there:
            if h is not None:
                out.append(f'<line x1="{a:.1f}" y1="{y(m - h):.1f}" x2="{a:.1f}" y2="{y(m + h):.1f}" stroke="{colour}"/>')
            out.append(f'<circle cx="{a:.1f}" cy="{y(m):.1f}" r="3.5" fill="{colour}"/>')
        out.append(f'<text x="{left + width + 14}" y="{top + 16 + 20 * k}" fill="{colour}">{escape(label)}</text>')
    out.append(f'<text x="{left + width / 2}" y="{top + height + 38}" text-anchor="middle">{escape(axis)}</text>')
    return svg(left + width + 240, top + height + 48, out)


def svg(width, height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="13">\n'
            f'<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n")
