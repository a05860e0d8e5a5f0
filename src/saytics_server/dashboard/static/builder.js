// What a report's builder does beyond a plain form: rows that come, go and move, values offered
// for the property named beside them, a refusal shown at its control, and the way from a number
// to its persons. htmx does the requests; the address holds the question.
(() => {
  "use strict";

  const byId = (id) => document.getElementById(id);
  const form = byId("builder");
  const ask = () => form.dispatchEvent(new Event("change", { bubbles: true }));
  const rowsOf = (button) => button.closest("[data-field]").querySelector("[data-rows]");

  function add(button) {
    const rows = rowsOf(button);
    rows.append(button.closest("[data-field]").querySelector("template").content.cloneNode(true));
    rows.lastElementChild.querySelector("input")?.focus();
  }

  function remove(button) {
    const row = button.closest("[data-row]");
    const rows = row.parentElement;
    const next = row.nextElementSibling ?? row.previousElementSibling;
    if (rows.children.length > Number(rows.dataset.least ?? 0)) row.remove();
    else row.querySelectorAll("input").forEach((field) => { field.value = ""; });
    (next?.querySelector("input") ?? rows.closest("[data-field]").querySelector("[data-add]")).focus();
    ask();
  }

  function move(button, down) {
    const row = button.closest("[data-row]");
    const other = down ? row.nextElementSibling : row.previousElementSibling;
    if (!other) return;
    if (down) other.after(row);
    else other.before(row);
    button.focus();
    byId("announcement").textContent = `Now at place ${[...row.parentElement.children].indexOf(row) + 1}.`;
    ask();
  }

  function persons(button) {
    const address = `${button.closest("[data-persons]").dataset.persons}&cell=${encodeURIComponent(button.dataset.cell)}`;
    htmx.ajax("GET", address, { source: button, target: "#event-detail", swap: "innerHTML" });
  }

  document.addEventListener("click", (event) => {
    // The two parts of a funnel's bar stand for the numbers above and below it.
    const bar = event.target.closest(".funnel-bar");
    if (bar) {
      const left = event.target === bar;
      return bar.closest("li").querySelector(left ? ".funnel-foot .cell" : ".funnel-head .cell")?.click();
    }
    const button = event.target.closest("[data-add], [data-remove], [data-up], [data-down], [data-cell]");
    if (!button) return;
    if ("add" in button.dataset) add(button);
    else if ("remove" in button.dataset) remove(button);
    else if ("cell" in button.dataset) persons(button);
    else move(button, "down" in button.dataset);
  });

  // Values are offered for the property of the same row, and names beyond the first hundreds
  // while they are typed.
  let offered = "";
  function offer(field) {
    const list = byId("property-values");
    const property = field.closest("[data-row]").querySelector(".property").value;
    if (property === offered) return;
    offered = property;
    list.replaceChildren();
    if (property) htmx.ajax("GET", `${list.dataset.address}&property=${encodeURIComponent(property)}`, { target: list, swap: "innerHTML" });
  }
  form.addEventListener("focusin", (event) => {
    if (event.target.matches("[data-values]")) offer(event.target);
  });
  const OFFERED_MAX = 500;
  const TYPED_WAIT_MS = 250;
  let typing = null;
  form.addEventListener("input", (event) => {
    const list = byId("event-names");
    if (!event.target.matches("[data-search=events]") || (list.options.length < OFFERED_MAX && !list.dataset.searched)) return;
    list.dataset.searched = "";
    clearTimeout(typing);
    typing = setTimeout(() => {
      const address = `${list.getAttribute("hx-get")}&search=${encodeURIComponent(event.target.value)}`;
      htmx.ajax("GET", address, { target: list, swap: "innerHTML" });
    }, TYPED_WAIT_MS);
  });

  // A row just added asks nothing yet, and an address holds only what was chosen.
  document.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.elt !== form) return;
    const asked = event.detail.formData;
    const repeated = new Set([...form.querySelectorAll("[data-row] [name]")].map((field) => field.name));
    for (const name of new Set([...asked.keys()])) {
      if (!repeated.has(name) && asked.get(name) === "") asked.delete(name);
    }
    if (asked.get("range") !== "custom") {
      asked.delete("from");
      asked.delete("to");
    }
  });

  function tellRefusal() {
    form.querySelectorAll(".field-error").forEach((words) => { words.hidden = true; });
    form.querySelectorAll("[aria-invalid]").forEach((field) => field.removeAttribute("aria-invalid"));
    const answer = byId("answer");
    const group = answer?.dataset.refused && form.querySelector(`[data-field="${CSS.escape(answer.dataset.refused)}"]`);
    if (!group) return;
    const words = group.closest(".builder-line").querySelector(".field-error");
    words.textContent = byId("told").textContent;
    words.hidden = false;
    const rows = [...group.querySelectorAll("[data-row]")].filter((row) => row.querySelector("input").value);
    const place = rows[Number(answer.dataset.place || -1)] ?? group;
    place.querySelectorAll("input, select").forEach((field) => field.setAttribute("aria-invalid", "true"));
  }
  document.addEventListener("htmx:afterSwap", tellRefusal);
})();
