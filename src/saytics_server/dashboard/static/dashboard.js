// What the pages do beyond links and forms: copying, tabs, the live list's manners, the event
// sheet, and what is said when the server does not answer. No framework; htmx does the requests.
(() => {
  "use strict";

  const byId = (id) => document.getElementById(id);
  const say = (words) => { byId("announcement").textContent = words; };

  // Numbers come with English separators; readers get their own.
  const parts = new Intl.NumberFormat().formatToParts(12345.6);
  const part = (type, otherwise) => parts.find((found) => found.type === type)?.value ?? otherwise;
  const separators = { ",": part("group", ""), ".": part("decimal", ".") };
  const localise = (text) => text.replace(/[.,]/g, (found) => separators[found]);

  function localiseNumbers(root) {
    if (separators[","] === "," && separators["."] === ".") return;
    for (const number of root.querySelectorAll("data.number:not([data-localised])")) {
      number.dataset.localised = "";
      number.textContent = localise(number.textContent);
      number.title = localise(number.title);
    }
  }

  // Copying. Browsers offer the clipboard to secure pages only; elsewhere the text is selected.
  async function copy(button) {
    const source = byId(button.dataset.copy);
    const words = button.querySelector("span");
    const before = words.dataset.before ?? words.textContent;
    words.dataset.before = before;
    try {
      await navigator.clipboard.writeText(source.textContent);
      words.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      words.textContent = document.execCommand("copy") ? "Copied" : "Selected: press Ctrl+C";
    }
    say(words.textContent);
    setTimeout(() => { words.textContent = before; }, 2000);
  }

  // Language tabs, remembered in a cookie so that the server shows the right one at once.
  function selectTab(tab) {
    for (const other of tab.parentElement.children) {
      const selected = other === tab;
      other.setAttribute("aria-selected", String(selected));
      other.tabIndex = selected ? 0 : -1;
      byId(other.getAttribute("aria-controls")).hidden = !selected;
    }
    document.cookie = `saytics_language=${tab.dataset.language}; path=/; max-age=31536000; samesite=lax`;
  }

  function moveTab(event, tab) {
    const tabs = [...tab.parentElement.children];
    const index = tabs.indexOf(tab);
    const target = {
      ArrowLeft: tabs.at(index - 1),
      ArrowRight: tabs[(index + 1) % tabs.length],
      Home: tabs[0],
      End: tabs.at(-1),
    }[event.key];
    if (!target) return;
    event.preventDefault();
    selectTab(target);
    target.focus();
  }

  // The live list stands still while it is paused, pointed at, or read in the sheet: nothing
  // moves under the pointer. What came meanwhile follows at once.
  const ROWS_KEPT = 100;
  let paused = false;
  let pointedAt = false;

  function liveState() {
    const words = byId("live-words");
    if (!words) return;
    const held = paused || pointedAt;
    byId("live-state").classList.toggle("paused", held);
    words.textContent = paused ? "Paused" : pointedAt ? "Held while you point" : "Live";
  }

  function togglePause(button) {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    button.querySelector("span").textContent = paused ? "Go on" : "Pause";
    liveState();
  }

  function mayPoll(element) {
    if (document.hidden) return false;
    if (element.id !== "arrivals-poll") return true;
    return !paused && !pointedAt && !byId("event-dialog").open;
  }

  function trimArrivals() {
    const list = byId("arrivals");
    while (list && list.children.length > ROWS_KEPT) list.lastElementChild.remove();
  }

  // Figures follow what arrives, but calmly: soon after the first event, then at most every ten
  // seconds. The first wait covers the two seconds until an event is counted.
  const VISIBLE_AFTER_MS = 2200;
  const REFRESH_EVERY_MS = 10_000;
  let refreshTimer = null;
  let refreshedAt = -Infinity;

  function refreshSoon() {
    if (refreshTimer !== null) return;
    const wait = Math.max(VISIBLE_AFTER_MS, refreshedAt + REFRESH_EVERY_MS - performance.now());
    refreshTimer = setTimeout(() => {
      refreshTimer = null;
      const busy = document.querySelector("[data-figure]:hover, [data-figure]:focus-within");
      if (busy || document.hidden) return refreshSoon();
      refreshedAt = performance.now();
      document.querySelectorAll("[data-figure]").forEach((figure) => htmx.trigger(figure, "again"));
    }, wait);
  }

  function replaceBody(figure, templateId) {
    const title = figure.querySelector("h2");
    figure.replaceChildren(title, byId(templateId).content.cloneNode(true));
  }

  function showError(event) {
    const { elt, xhr, target } = event.detail;
    if (elt.matches("[data-poll]")) return lost(true);
    const figure = target?.closest?.("[data-figure]") ?? elt.closest("[data-figure]");
    const ours = xhr?.getResponseHeader("Saytics-Fragment") === "error";
    if (figure) {
      replaceBody(figure, "unreachable");
      if (ours) figure.querySelector(".state").outerHTML = xhr.responseText;
    } else if (ours && elt.matches("form")) {
      elt.querySelector(".state")?.remove();
      elt.insertAdjacentHTML("beforeend", xhr.responseText);
    } else {
      lost(true);
    }
  }

  function lost(state) {
    const notice = byId("connection");
    if (notice && notice.hidden === state) notice.hidden = !state;
  }

  function again(button) {
    const figure = button.closest("[data-figure]");
    if (figure) htmx.trigger(figure, "again");
    else button.closest("form")?.requestSubmit();
  }

  function cancel(button) {
    const figure = button.closest("[data-figure]");
    htmx.trigger(figure, "htmx:abort");
    replaceBody(figure, "cancelled");
  }

  function openPanel(id) {
    const panel = byId(id);
    if (panel) panel.open = true;
    const sidebar = byId("sidebar");
    if (sidebar.matches(":popover-open")) sidebar.hidePopover();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy], [data-again], [data-cancel], [data-open], #pause, [role=tab], a[href='#set-up']");
    document.querySelectorAll("details.menu[open]").forEach((menu) => {
      if (!menu.contains(event.target)) menu.open = false;
    });
    if (!button) return;
    if (button.dataset.copy) copy(button);
    else if ("again" in button.dataset) again(button);
    else if ("cancel" in button.dataset) cancel(button);
    else if (button.id === "pause") togglePause(button);
    else if (button.role === "tab") selectTab(button);
    else openPanel("set-up");
  });

  document.addEventListener("keydown", (event) => {
    if (event.target.role === "tab") moveTab(event, event.target);
    const menu = event.key === "Escape" && event.target.closest?.("details.menu[open]");
    if (menu) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  // Only a mouse rests on something without meaning to press it.
  document.addEventListener("pointerover", (event) => {
    const over = event.pointerType === "mouse" && Boolean(event.target.closest?.("#arrivals"));
    if (over === pointedAt) return;
    pointedAt = over;
    liveState();
  });

  // Open tables stay open when their figure comes anew.
  let openTables = [];
  document.addEventListener("htmx:beforeSwap", (event) => {
    openTables = [...event.detail.target.querySelectorAll("details.behind[open]")].map((table) => table.id);
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    openTables.forEach((id) => { const table = byId(id); if (table) table.open = true; });
    trimArrivals();
    if (event.detail.target.id === "event-detail") {
      const dialog = byId("event-dialog");
      if (!dialog.open) dialog.showModal();
      dialog.scrollTop = 0;
    }
    if (event.detail.target.id === "first-event") {
      say("First event received.");
      refreshSoon();
    }
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.elt.matches("[data-poll]") && !mayPoll(event.detail.elt)) event.preventDefault();
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful) lost(false);
  });
  for (const kind of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(kind, showError);
  }
  document.addEventListener("arrived", refreshSoon);
  document.addEventListener("DOMContentLoaded", () => {
    byId("event-dialog")?.addEventListener("click", (event) => {
      // A click on the dialog itself is one on its backdrop: everything inside has its own element.
      const box = event.currentTarget.getBoundingClientRect();
      if (event.target === event.currentTarget && event.clientX < box.left) event.currentTarget.close();
    });
    if (location.hash === "#set-up") openPanel("set-up");
  });
  htmx.onLoad(localiseNumbers);
})();
