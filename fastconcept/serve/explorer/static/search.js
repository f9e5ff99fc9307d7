// The search box: a combobox over all synsets of WordNet, with the text itself as a phrase at the end.

import { latest } from "./api.js";
import { complain, find, later, make, say } from "./dom.js";

export function searchBox(choose, { phrases = true } = {}) {
  const input = find("#query"), list = find("#found"), search = latest();
  let chosen = -1, entries = [];

  function close() {
    list.hidden = true;
    chosen = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function mark(index) {
    chosen = index;
    [...list.children].forEach((option, k) => option.setAttribute("aria-selected", String(k === index)));
    const option = list.children[index];
    option?.scrollIntoView({ block: "nearest" });
    if (option) input.setAttribute("aria-activedescendant", option.id);
  }

  function take(entry) {
    close();
    input.value = "";
    choose(entry);
  }

  function option(entry, k) {
    const rest = entry.phrase ? "as a phrase, ranked among the concepts" : entry.definition;
    const more = entry.phrase ? [] : [make("small", {}, entry.in_bank ? entry.wnid : `${entry.wnid} · not in the bank`)];
    return make("li", { id: `found-${k}`, role: "option", "aria-selected": "false",
      onpointerdown: (event) => event.preventDefault(), onpointermove: () => k !== chosen && mark(k), onclick: () => take(entry) },
      make("span", { class: "row" }, make("b", {}, entry.phrase ? `“${entry.title}”` : entry.words.slice(0, 3).join(", ")), ...more),
      make("span", { class: "soft" }, rest));
  }

  const look = later(110, async () => {
    const text = input.value.trim();
    if (!text) return close();
    try {
      const { concepts } = await search("search", { q: text });
      if (input.value.trim() !== text) return;
      entries = [...concepts, ...(phrases ? [{ name: text, title: text, phrase: true }] : [])];
      list.replaceChildren(...entries.map(option));
      if (!entries.length) list.append(make("li", { class: "soft" }, `No concept has “${text}” in its words or its definition.`));
      list.hidden = false;
      input.setAttribute("aria-expanded", "true");
      mark(entries.length ? 0 : -1);
      say(`${concepts.length} concepts found`);
    } catch (error) {
      complain(error);
    }
  });

  input.addEventListener("input", look);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", async (event) => {
    const { key } = event;
    if (key === "Escape") { close(); input.value = ""; }
    if (list.hidden) return;
    if (key === "ArrowDown" || key === "ArrowUp") {
      event.preventDefault();
      mark((chosen + (key === "ArrowDown" ? 1 : entries.length - 1)) % entries.length);
    } else if (key === "Enter" && entries[chosen]) {
      event.preventDefault();
      take(entries[chosen]);
    }
  });
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && !event.target.closest?.("input, textarea")) {
      event.preventDefault();
      input.focus();
    }
  });
}
