"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const bodies = [...table.tBodies];
  const original = bodies.map((body) => [...body.rows]);
  const headings = [...table.tHead.rows[0].cells];
  const key = (row, column) => {
    const cell = row.cells[column];
    if (!("value" in cell.dataset)) return cell.dataset.text ?? cell.textContent.trim();
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  };
  const compare = (a, b) => typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
  headings.forEach((heading, column) => {
    const button = heading.querySelector("button");
    button.addEventListener("click", () => {
      const first = button.dataset.first;
      const other = first === "ascending" ? "descending" : "ascending";
      const next = { none: first, [first]: other, [other]: "none" }[heading.getAttribute("aria-sort")];
      for (const each of headings) each.setAttribute("aria-sort", each === heading ? next : "none");
      const sign = next === "ascending" ? 1 : -1;
      bodies.forEach((body, index) => {
        const rows = [...original[index]];
        if (next !== "none") {
          rows.sort((one, two) => {
            const floors = two.classList.contains("floor") - one.classList.contains("floor");
            const a = key(one, column), b = key(two, column);
            if (floors || a === null || b === null) return floors || (a === null) - (b === null);
            return sign * compare(a, b);
          });
        }
        body.append(...rows);
      });
    });
  });
}
