// The maps one level below a concept, best first, and the path from it to the root.

import { find, make } from "./dom.js";
import { paint } from "./paint.js";

const SHOWN = 5; // steps of the path that are shown at once

// A card: its map, its words, and how sure the model is of it.
export function card(concept, { painted, current, open, compare }) {
  const canvas = make("canvas", { "aria-hidden": "true" });
  painted(canvas, concept);
  const below = concept.below ? `${concept.below.toLocaleString("en")} below` : "";
  const numbers = concept.constant ? "the same everywhere" : `rank ${concept.rank.toLocaleString("en")}`;
  return make("li", { "data-name": concept.name },
    make("button", { type: "button", class: "card map", "aria-current": current ? "true" : null, onclick: open,
      title: concept.definition, "aria-label": `${concept.title}: ${numbers}. ${concept.definition}${below && `. ${below}`}` },
      canvas,
      make("span", { class: "row" }, make("b", {}, concept.title), concept.below ? make("span", { class: "chevron", "aria-hidden": "true" }, "›") : null),
      make("span", { class: "soft" }, [numbers, below].filter(Boolean).join(" · "))),
    compare && make("button", { type: "button", class: "plain beside", onclick: compare, title: `Compare with ${concept.title}`,
      "aria-label": `Compare with ${concept.title}` }, "◨"));
}

export function painter(photograph, size) {
  return (canvas, concept) => {
    if (!photograph) Object.assign(canvas, { width: 240, height: Math.max(1, Math.round((240 * size.height) / size.width)) });
    paint(canvas, photograph, concept, size, { opacity: 0.85, threshold: 0, box: false });
  };
}

export function skeleton(count) {
  return Array.from({ length: count }, () => make("li", { class: "ghost", "aria-hidden": "true" }, make("div", { class: "card map" }, make("span", { class: "picture" }), make("span"), make("span"))));
}

export function showPath(path, go) {
  const list = find("#path");
  const step = ({ name, title }, last) =>
    make("li", {}, make("button", { type: "button", class: "link", title: name, "aria-current": last ? "page" : null, onclick: () => go(name) }, title));
  const steps = path.map((entry, k) => step(entry, k === path.length - 1));
  const hidden = steps.length > SHOWN ? steps.splice(0, steps.length - SHOWN + 1) : [];
  const all = make("li", {}, make("button", { type: "button", class: "link", "aria-current": path.length ? null : "page", onclick: () => go("") }, "All concepts"));
  if (!hidden.length) return list.replaceChildren(all, ...steps);
  const more = make("li", {}, make("button", { type: "button", class: "link", "aria-label": `Show ${hidden.length} more steps`,
    onclick: () => more.replaceWith(...hidden) }, "…"));
  list.replaceChildren(all, more, ...steps);
}
