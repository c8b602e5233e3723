"use strict";
{
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  function makeSortable(table) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    const order = (row, column) => {
      const value = row.cells[column].dataset.order;
      return heads[column].classList.contains("number") ? Number(value) : value;
    };
    heads.forEach((head, column) => {
      const button = make("button", { type: "button", textContent: head.textContent.trim(), title: head.title });
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const numeric = head.classList.contains("number");
        // the largest number is what a reader looks for first, and the first letter of a word
        const first = numeric ? "descending" : "ascending";
        const second = numeric ? "ascending" : "descending";
        const direction = head.getAttribute("aria-sort") === first ? second : first;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", direction);
        const sign = direction === "ascending" ? 1 : -1;
        const rows = [...body.rows].sort((one, other) => {
          const [a, b] = [order(one, column), order(other, column)];
          return sign * (numeric ? a - b : a.localeCompare(b));
        });
        body.append(...rows);
      });
    });
  }

  function makeFilterable(table) {
    const rows = [...table.tBodies[0].rows];
    const heads = [...table.tHead.rows[0].cells];
    const bar = make("div", { className: "filters" });
    const search = make("input", { type: "search", placeholder: "any text" });
    const shown = make("output", { className: "quiet" });
    const selects = new Map();
    bar.append(make("label", {}, "Rows with", search));
    heads.forEach((head, column) => {
      const values = [...new Set(rows.map((row) => row.cells[column].textContent))];
      if (!("filtered" in head.dataset) || values.length < 2) return;
      const select = make("select", {}, make("option", { value: "", textContent: "all" }));
      select.append(...values.map((value) => make("option", { value, textContent: value })));
      selects.set(column, select);
      bar.append(make("label", {}, head.textContent.trim(), select));
    });
    const update = () => {
      const wanted = search.value.trim().toLowerCase();
      let count = 0;
      for (const row of rows) {
        const chosen = [...selects].every(
          ([column, select]) => !select.value || row.cells[column].textContent === select.value,
        );
        row.hidden = !(chosen && row.textContent.toLowerCase().includes(wanted));
        count += row.hidden ? 0 : 1;
      }
      shown.textContent = count === rows.length ? `${count} rows` : `${count} of ${rows.length} rows`;
    };
    bar.append(shown);
    bar.addEventListener("input", update);
    table.closest(".table").before(bar);
    update();
  }

  async function unpack(figures) {
    const bytes = Uint8Array.from(atob(figures.dataset.packed), (letter) => letter.charCodeAt(0));
    delete figures.dataset.packed;
    const drawn = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    figures.innerHTML = await new Response(drawn).text();
  }

  function makeChoosable(section) {
    const drawings = [...section.querySelectorAll("figure[data-choice]")];
    const choices = drawings.map((drawing) => JSON.parse(drawing.dataset.choice));
    if (!choices.length) return;
    const first = drawings.findIndex((drawing) => "first" in drawing.dataset);
    const chosen = { ...choices[Math.max(first, 0)] };
    const buttons = [];
    const gap = make("p", { className: "quiet", hidden: true, textContent: "No run of this choice is done." });
    section.querySelector("figure").before(gap);
    const update = () => {
      drawings.forEach((drawing, index) => {
        drawing.hidden = Object.entries(chosen).some(([key, value]) => choices[index][key] !== value);
        if (!drawing.hidden) drawing.querySelectorAll("[data-packed]").forEach(unpack);
      });
      gap.hidden = drawings.some((drawing) => !drawing.hidden);
      for (const [button, key, value] of buttons) button.setAttribute("aria-pressed", String(chosen[key] === value));
    };
    for (const key of Object.keys(chosen)) {
      const values = [...new Set(choices.map((choice) => choice[key]))];
      if (values.length < 2) continue;
      const bar = make("div", { className: "chooser", role: "group", ariaLabel: `Choose the ${key}` });
      for (const value of values) {
        const button = make("button", { type: "button", textContent: value });
        button.addEventListener("click", () => {
          chosen[key] = value;
          update();
        });
        buttons.push([button, key, value]);
        bar.append(button);
      }
      gap.before(bar);
    }
    update();
  }

  function makeThemeButton(button) {
    const themes = ["system", "light", "dark"];
    let current = 0;
    button.hidden = false;
    button.addEventListener("click", () => {
      current = (current + 1) % themes.length;
      document.documentElement.dataset.theme = themes[current];
      button.textContent = `Colours: ${themes[current]}`;
    });
  }

  document.querySelectorAll(".table table").forEach(makeSortable);
  document.querySelectorAll("table[data-filterable]").forEach(makeFilterable);
  document.querySelectorAll("section[data-choosable]").forEach(makeChoosable);
  for (const details of document.querySelectorAll("details")) {
    details.addEventListener("toggle", () => details.querySelectorAll(":scope > [data-packed]").forEach(unpack));
  }
  makeThemeButton(document.querySelector(".theme"));
}
