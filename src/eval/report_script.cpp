#include "eval/report_parts.h"

namespace mose::eval::report {

// Sorts tables by a click on a column's head, and filters and sorts the items. The page can be read
// without it.
std::string script() {
  return R"js((() => {
  "use strict";
  // Numbers are in data-v ("" where there is none: always last); other cells sort as text.
  const valueOf = cell => {
    if (!cell) return null;
    if (cell.dataset.v !== undefined) return cell.dataset.v === "" ? null : Number(cell.dataset.v);
    return cell.textContent.trim().toLowerCase();
  };
  const compare = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (a < b ? -1 : a > b ? 1 : 0);
  };
  const reorder = (parent, children, key, sign) => {
    const rows = children.map((node, index) => ({node, index, value: key(node)}));
    rows.sort((a, b) => compare(a.value, b.value, sign) || a.index - b.index);
    parent.append(...rows.map(row => row.node));
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const numeric = [...table.tBodies[0].rows].some(row => row.cells[column]?.dataset.v !== undefined);
        const before = head.getAttribute("aria-sort");
        const descending = before ? before === "ascending" : numeric;
        heads.forEach(other => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        const body = table.tBodies[0];
        reorder(body, [...body.rows], row => valueOf(row.cells[column]), descending ? -1 : 1);
      });
    });
  }

  for (const form of document.querySelectorAll("form.filter")) {
    const list = document.getElementById(form.dataset.list);
    const entries = [...list.children];
    const counter = form.querySelector("output");
    form.hidden = false;
    const apply = () => {
      const words = (form.elements.text?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const entry of entries) {
        const fits = ["task", "kind", "class"].every(name => {
          const wanted = form.elements[name]?.value;
          return !wanted || (entry.dataset[name] ?? "").split(" ").includes(wanted);
        });
        const text = entry.textContent.toLowerCase();
        const visible = fits && words.every(word => text.includes(word));
        entry.hidden = !visible;
        shown += visible;
      }
      counter.textContent = `${shown} of ${entries.length}`;
    };
    form.addEventListener("submit", event => event.preventDefault());
    form.addEventListener("input", apply);
    form.elements.sort?.addEventListener("change", event => {
      const [key, order] = event.target.value.split(" ");
      reorder(list, entries, node => {
        const value = node.dataset[key] ?? "";
        return value === "" ? null : key === "scene" ? value : Number(value);
      }, order === "down" ? -1 : 1);
    });
    apply();
  }
})();
)js";
}

}  // namespace mose::eval::report
