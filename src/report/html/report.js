// Filters of a report. Without this script everything is there to be read, and nothing is filtered.
"use strict";
(() => {
  const form = document.getElementById("filters");
  const { family, status, target, q, differs, clear } = form.elements;
  const fields = { family, status, target, q, differs };
  const shown = document.getElementById("shown");
  const items = [...document.querySelectorAll("[data-case]")];
  const rows = items.filter((item) => item.matches("tr"));
  const sections = [...document.querySelectorAll("section[data-cases]")];

  for (const item of items) {
    const cells = item.dataset.cells.split(" ").map((cell) => cell.split("="));
    item.seen = { cells, text: item.dataset.text.toLowerCase() };
  }

  const state = () => {
    const state = {};
    for (const [name, field] of Object.entries(fields)) {
      const value = field.type === "checkbox" ? (field.checked ? "1" : "") : field.value.trim();
      if (value !== "") state[name] = value;
    }
    return state;
  };

  const matches = (item, want, words) => {
    const { cells, text } = item.seen;
    if (want.family && item.dataset.family !== want.family) return false;
    if (want.differs && !("differs" in item.dataset)) return false;
    // Cells have the number of their target, for its name may have any character.
    const at = String(target.selectedIndex - 1);
    const cell = ([where, what]) =>
      (!want.target || where === at) && (!want.status || what === want.status);
    if ((want.target || want.status) && !cells.some(cell)) return false;
    return words.every((word) => text.includes(word));
  };

  const apply = () => {
    const want = state();
    const words = (want.q || "").toLowerCase().split(/\s+/).filter((word) => word !== "");
    for (const item of items) item.hidden = !matches(item, want, words);
    const filtered = Object.keys(want).length > 0;
    for (const section of sections) {
      const all = [...section.querySelectorAll("article[data-case]")];
      const left = all.filter((item) => !item.hidden).length;
      section.querySelector(".left").textContent = filtered ? ` (${left} shown)` : "";
    }
    const left = rows.filter((row) => !row.hidden).length;
    shown.textContent = `${left} of ${rows.length} scenarios shown`;
    clear.disabled = !filtered;
    return want;
  };

  const remember = (want) => {
    const text = new URLSearchParams(want).toString();
    const hash = text === "" ? "#" : `#?${text}`;
    if (hash !== (location.hash || "#")) history.replaceState(null, "", hash);
  };

  // Where somebody is led to is shown, whatever the filters say, and what it lies in is opened.
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let at = target; at; at = at.parentElement) {
      at.hidden = false;
      if (at.tagName === "DETAILS") at.open = true;
    }
    if (target) {
      const details = target.querySelector(":scope > details");
      if (details) details.open = true;
      target.scrollIntoView();
    }
  };

  const read = () => {
    if (!location.hash.startsWith("#?")) {
      reveal();
      return;
    }
    const want = new URLSearchParams(location.hash.slice(2));
    for (const [name, field] of Object.entries(fields)) {
      if (field.type === "checkbox") field.checked = want.has(name);
      else field.value = want.get(name) || "";
      // A family that this report does not have selects nothing.
      if (field.tagName === "SELECT" && field.selectedIndex < 0) field.value = "";
    }
    apply();
  };

  form.addEventListener("input", () => remember(apply()));
  form.addEventListener("submit", (event) => event.preventDefault());
  clear.addEventListener("click", () => {
    for (const field of Object.values(fields)) {
      if (field.type === "checkbox") field.checked = false;
      else field.value = "";
    }
    remember(apply());
    q.focus();
  });
  addEventListener("hashchange", read);
  // "/" leads to the search, as in many places, where nobody is typing.
  addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
    if (event.key !== "/" || typing || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    q.focus();
  });
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("#failures details")) details.open = true;
  });

  form.hidden = false;
  apply();
  read();
})();
